package engine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"usui/layer/kv/disk"
)

// A checkpoint that is loaded is the index as it was at its place in the log, but for entries that lead to segments of another epoch, or to none
// of the log: those are dropped. A segment is freed as the oldest one of the log, when what was live in it was written again. So as long as the segment
// of the place is in the log, so is all that was written behind the place, and it is read: the copy of a record, what another client gave the key
// meanwhile, or that it was deleted. Deletions that compaction dropped stood before the place. Either the checkpoint knows of them, because the
// key was not in the index any more, or the segment of the place has left the log, too, and the checkpoint is of no use.
//
// What was put behind the place leads to a segment that the checkpoint does not know, or beyond the end that it knows, and is dropped likewise. Live
// bytes are counted for each segment, so that they stay or go with it.

// openCheckpoint returns the checkpoint of a folder, whose file is to be closed then, or nil if there is none.
func openCheckpoint(folder disk.Folder, name string) (*checkpoint, disk.File, error) {
	if name == "" {
		return nil, nil, nil
	}
	file, err := folder.Open(name)
	if err != nil {
		return nil, nil, err
	}
	var c *checkpoint
	err = disk.Guard("read "+name, func() (err error) {
		file.Prepare(0, len(file.View()))
		c, err = decodeCheckpoint(file.View())
		return err
	})
	return c, file, err
}

// fits compares a checkpoint with the segments that there are, and returns where in the log its place is.
func (c *checkpoint) fits(f *segments) (from int, err error) {
	size := len(f.slots[0].view)
	if c.segmentBytes != size {
		return 0, fmt.Errorf("it is for segments of %d bytes", c.segmentBytes)
	}
	marked := map[int]mark{}
	for _, m := range c.marks {
		if m.end < headerSize || m.end > size || m.end%alignment != 0 || m.live < 0 || m.live > int64(size) {
			return 0, fmt.Errorf("it says that %d bytes are live and the end is %d in %s", m.live, m.end, segmentName(m.slot))
		}
		marked[m.slot] = m
	}
	if at := marked[c.at.slot]; c.at.off != at.end {
		return 0, errors.New("its place is not in the log")
	}
	from = slices.IndexFunc(f.log, func(g *segment) bool { return g.slot == c.at.slot })
	if from < 0 {
		return 0, errors.New("the log begins behind it")
	}
	for _, g := range f.log[:from+1] {
		if m, ok := marked[g.slot]; !ok || m.epoch != g.epoch {
			return 0, errors.New("the log begins behind it")
		}
	}
	g, at := f.log[from], c.at
	if at.last < headerSize || at.last >= at.off {
		return 0, errors.New("its place is not in the log")
	}
	if r, ok := parse(g.view[at.last:at.off], g.seed); !ok || r.seq() != at.seq || at.last+r.padded() != at.off {
		return 0, errors.New("the last record before it is another one")
	}
	return from, nil
}

// resume makes the store what a checkpoint says, as far as it is still true, and returns where in the log it goes on.
func (s *Store) resume(c *checkpoint, f *segments) (from int, err error) {
	if from, err = c.fits(f); err != nil {
		return 0, err
	}
	keep := filter{size: uint64(c.segmentBytes / alignment), ends: make([]uint64, len(f.slots))}
	for _, m := range c.marks {
		if m.slot >= len(f.slots) {
			continue
		}
		if g := f.slots[m.slot]; g.state == inLog && g.epoch == m.epoch {
			keep.ends[m.slot] = uint64(m.end / alignment)
			g.end, g.collections, g.placed = m.end, m.collections, m.placed
			g.flushed.Store(int64(len(g.view)))
			g.live.Store(m.live)
			s.live.Add(m.live)
		}
	}
	s.key = c.key
	if err := s.load(c.parts, &keep); err != nil {
		return 0, err
	}
	s.expiring.Store(int64(keep.expiring))
	return from, s.readCollections(c, f.log[:from+1])
}

// readCollections reads the segments before the place of a checkpoint that have something of collections. Elements are applied of those that were there by
// then: others would be memory for nothing. Some may be gone since, or belong to no key, and are given up at the end. Of keys, those to which the index leads are still there.
func (s *Store) readCollections(c *checkpoint, log []*segment) error {
	for _, g := range log {
		if !g.collections {
			continue
		}
		err := s.records(g, func(r record, a address) error {
			switch {
			case r.op().isElement() && !c.alive[r.id()]: // its collection is gone
				s.lastID = max(s.lastID, r.id())
			case r.op().isElement():
				return s.applyElement(r, a)
			case r.heads():
				return s.adopt(r, a)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// records calls f with the records of a segment, up to its end.
func (s *Store) records(g *segment, f func(r record, a address) error) error {
	for off := headerSize; off < g.end; {
		r, ok := parse(g.view[off:g.end], g.seed)
		if !ok {
			return fmt.Errorf("%w: %s at %#x", ErrDamaged, segmentName(g.slot), off)
		}
		if err := f(r, s.addressOf(g.slot, off)); err != nil {
			return err
		}
		off += r.padded()
	}
	return nil
}

// adopt gives a key of the index its collection. The rest of what enter does was done before the checkpoint.
func (s *Store) adopt(r record, a address) error {
	if _, is := s.leadsTo(r, a); !is {
		return nil
	}
	c, err := s.collectionOf(r)
	if err != nil {
		return err
	}
	c.heads++
	c.pending = s.pendingOf(s.hash(r.key()))
	return nil
}

// filter says which entries of a checkpoint lead to records that may be there.
type filter struct {
	size     uint64   // of a segment, in addresses
	ends     []uint64 // for each slot, behind its last record; 0 if no entry may lead there
	expiring int      // kept entries with an expiry
}

func (f *filter) keeps(entry uint64) bool {
	a := uint64(addressIn(entry))
	slot, off := a/f.size, a%f.size
	if slot >= uint64(len(f.ends)) || off < headerSize/alignment || off+recordHeader/alignment > f.ends[slot] {
		return false
	}
	if entry&expires != 0 {
		f.expiring++
	}
	return true
}

var errTables = errors.New("its tables are none of an index")

// load fills the empty index of each shard. The parts may say anything. They were written by a store that may have had more shards, or fewer.
func (s *Store) load(parts []part, keep *filter) error {
	next := uint32(0)
	for _, p := range parts {
		if p.kind != partTable {
			continue
		}
		if p.prefix != next || p.depth > maxDepth || p.prefix%(1<<(tagBits-p.depth)) != 0 {
			return errTables
		}
		next += 1 << (tagBits - p.depth)
		x := s.indexOf(uint64(p.prefix) << tagShift)
		t, err := x.newTable(uint(p.depth))
		if err != nil {
			return err
		}
		before := keep.expiring
		n, ok := t.load(p.content, p.prefix, keep)
		if !ok {
			return errTables
		}
		if t.depth >= s.skip {
			x.loaded = append(x.loaded, t)
			x.count += n
			x.expiring += keep.expiring - before
			continue
		}
		if err := s.scatter(t); err != nil {
			return err
		}
		x.pool.give(t.memory)
	}
	if next != 1<<tagBits {
		return errTables
	}
	for _, h := range s.shards {
		h.index.settle()
	}
	return s.restore(parts, keep)
}

// scatter gives the entries of a table to the shards to which they belong.
func (s *Store) scatter(t *table) error {
	for b := range buckets {
		var failed error
		t.each(b, func(e uint64) {
			if failed == nil {
				failed = s.insert(e, uint64(b))
			}
		})
		if failed != nil {
			return failed
		}
	}
	return nil
}

// insert adds an entry of a bucket.
func (s *Store) insert(e, bucket uint64) error {
	hash := e>>tagShift<<tagShift | bucket
	return s.indexOf(hash).insert(hash, addressIn(e), e&expires != 0)
}

// settle makes the tables that were loaded, if there are any, those of an empty index.
func (x *index) settle() {
	if len(x.loaded) == 0 {
		return
	}
	x.pool.give(x.tables[0].memory)
	x.tables, x.loaded = x.loaded, nil
	for _, t := range x.tables {
		x.depth = max(x.depth, t.depth)
	}
	x.directory = make([]uint16, 0, 1<<(x.depth-x.skip))
	for n, t := range x.tables {
		for range 1 << (x.depth - t.depth) {
			x.directory = append(x.directory, uint16(n))
		}
	}
}

// restore adds what was removed while the tables were copied.
func (s *Store) restore(parts []part, keep *filter) error {
	for _, p := range parts {
		if p.kind != partRemoved {
			continue
		}
		for w := p.content; len(w) > 0; w = w[removedBytes:] {
			e, bucket := binary.NativeEndian.Uint64(w), binary.NativeEndian.Uint64(w[8:])
			if bucket >= buckets {
				return errTables
			}
			if !keep.keeps(e) {
				continue
			}
			if err := s.insert(e, bucket); err != nil {
				return err
			}
		}
	}
	return nil
}

// load copies what is kept of a table with that first tag. ok is false if the words are none of such a table.
func (t *table) load(words []byte, prefix uint32, keep *filter) (count int, ok bool) {
	var linked [overflows]bool
	last := 0
	word := func(at int) uint64 { return binary.NativeEndian.Uint64(words[at*8:]) }
	for b := range buckets {
		for at := b * bucketWords; ; {
			for i := at; i < at+entries; i++ {
				e := word(i)
				if e == 0 {
					continue
				}
				if (uint32(e>>tagShift)^prefix)>>(tagBits-t.depth) != 0 {
					return 0, false
				}
				if keep.keeps(e) {
					t.words[i] = e
					count++
				}
			}
			link := word(at + entries)
			if link == 0 {
				break
			}
			if link > overflows || linked[link-1] {
				return 0, false
			}
			linked[link-1] = true
			last = max(last, int(link))
			t.used++
			t.words[at+entries] = link
			at = overflowWord(link)
		}
	}
	return count, last == t.used // else a new bucket would be one that is linked
}
