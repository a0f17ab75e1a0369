package engine

import (
	"fmt"
	"slices"

	"usui/layer/kv/collection"
)

// compactStep is how many bytes of a victim are looked at in one [Store.Tend].
const compactStep = 256 << 10

// compaction is how far the oldest segment has been looked through.
type compaction struct {
	segment *segment // nil: none
	off     int
	seq     uint64 // once off is at the end: the last copy; when it is durable, the segment is free
	done    bool

	stuck bool  // there was no room for a copy
	live  int64 // by then; once less is, fewer copies are to be made
}

// garbage is how many bytes of records are of no use but to repeat what was done.
func (s *Store) garbage() int64 { return s.used - s.live.Load() }

// compact works on a victim if more than half of the log is garbage.
func (s *Store) compact() {
	if s.compacts() {
		s.step(compactStep)
	}
}

// compacts says that there is a victim to work on, or to choose. One that could not be copied for want of room waits until something was freed.
func (s *Store) compacts() bool {
	if v := &s.victim; v.segment != nil {
		if v.stuck && len(s.spares) == 0 && s.live.Load() >= v.live {
			return false
		}
		return !v.done || s.durable.Load() >= v.seq
	}
	return len(s.log) > 1 && s.garbage() > s.live.Load()+2*int64(s.opt.SegmentBytes)
}

// compactOldest does a whole victim, waits until its file is free for others, and says whether that was possible.
func (s *Store) compactOldest() bool {
	for first := s.log[0]; s.log[0] == first; {
		if !s.step(s.opt.SegmentBytes) || s.Sealed() != nil {
			return false
		}
		s.wait()
		s.hand()
	}
	for s.freeing > 0 {
		s.take(<-s.kept)
	}
	return true
}

// step looks through n bytes of the victim and says false if there was no room for a copy.
func (s *Store) step(n int) bool {
	s.boundRemoved()
	v := &s.victim
	if v.segment == nil {
		*v = compaction{segment: s.log[0], off: headerSize}
	}
	if s.batch.segment == v.segment || s.busy && s.flight.segment == v.segment {
		return true // its last records are not written yet
	}
	for stop := min(v.off+n, v.segment.end); v.off < stop; {
		r, ok := parse(v.segment.view[v.off:], v.segment.seed)
		if !ok {
			_ = s.seal(fmt.Errorf("%w: %s at %#x", ErrDamaged, segmentName(v.segment.slot), v.off)) // each later write returns it
			return false
		}
		before := s.stats.BytesCompacted
		if v.stuck = !s.keep(r, s.addressOf(v.segment.slot, v.off)); v.stuck {
			v.live = s.live.Load()
			return false
		}
		v.off += r.padded()
		if more := int(s.stats.BytesCompacted-before) - r.padded(); more > 0 { // a value came from the device
			stop -= more
		}
	}
	if v.off < v.segment.end {
		return true
	}
	if !v.done {
		v.done, v.seq = true, s.seq.Load()
	}
	if s.durable.Load() >= v.seq {
		s.log = slices.Delete(s.log, 0, 1)
		s.used -= int64(v.segment.end - headerSize)
		s.left = append(s.left, v.segment)
		s.release()
		*v = compaction{}
		s.stats.Compacted++
	}
	return true
}

// keep appends a record of the victim again if it is live. There is no older segment, so that a deletion is dropped.
func (s *Store) keep(r record, a address) bool {
	switch r.op() {
	case opPut:
		return s.keepKey(r, a)
	case opPutElement:
		return s.keepElement(r, a)
	}
	return true
}

func (s *Store) keepElement(r record, a address) bool {
	c := s.collections.get(r.id())
	if c == nil || c.Elements.Find(r.element()) != uint64(a) {
		return true
	}
	again, ok := s.copy(&draft{op: opPutElement, kind: c.Kind, id: c.id, key: r.element(), value: r.value()})
	if ok {
		c.Elements.Set(r.element(), r.value(), uint64(again))
		s.unapplied.Add(-1)
	}
	return ok
}

func (s *Store) keepKey(r record, a address) bool {
	p, is := s.leadsTo(r, a)
	if !is {
		return true
	}
	if e := r.expire(); e != 0 && e <= s.now() && !r.placed() {
		s.drop(&p, r)
		s.expired.Add(1)
		return true
	}
	d := draft{op: opPut, kind: r.kind(), expire: r.expire(), key: r.key()}
	if r.heads() {
		d.id = r.id()
	} else {
		d.value = r.value()
	}
	fetched := false
	if r.placed() && s.opt.Device.Scarce() {
		if v, ok := s.fetch(r); ok { // else its next reader is told
			d.kind, d.value, fetched = collection.String, v, true
		}
	}
	if fetched && len(s.spares) < 2 && !(len(s.spares) == 1 && s.fits(opPut, d.size())) { // the last spare is for what there was
		d.kind, d.value, fetched = kindPlaced, r.value(), false
	}
	again, ok := s.copy(&d)
	if ok {
		s.move(&p, r, again)
		s.unapplied.Add(-1)
		if fetched {
			s.stats.Fetched++
			s.depart(r)
		}
	}
	return ok
}

// copy appends a record of the victim, outside of any group: that it was in one is of no interest once it is durable. ok is false if there is
// no room.
func (s *Store) copy(d *draft) (a address, ok bool) {
	size := d.size()
	if !s.fits(d.op, size) && !s.rotate(0) {
		return 0, false
	}
	s.bound(1)
	s.stats.BytesCompacted += uint64(size)
	return s.write(d), true
}
