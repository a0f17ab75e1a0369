package engine

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// How room is shared out. Values leave the last part of a segment to deletions, and the last spare to compaction: what is live in a segment
// fits into one.
const (
	spares      = 2
	reserve     = 64 // that part is one in so many
	maxSqueezed = 4
	retryFull   = time.Second // how often a full disk is tried again
)

// makeRoom sees to it that a record of size bytes fits into the last segment.
func (s *Store) makeRoom(o op, size int) error {
	if s.fits(o, size+s.owed(o)) {
		return nil
	}
	if s.await() && s.rotate(1) {
		return nil
	}
	if s.locked != 0 { // what is left to do is for who has the whole store
		s.short = true
		return fmt.Errorf("%w (%v)", ErrFull, s.lastNoRoom)
	}
	if s.snapshot != nil && len(s.left) > 0 { // what it holds is room for a write
		s.snapshot.Close()
		return s.makeRoom(o, size)
	}
	return s.squeeze(o, size)
}

// Short says that a write was refused since [Store.Lock], for want of room that who has the whole store may find by compaction. Whoever gets true is to do that write again
// when he has.
func (s *Store) Short() bool { return s.locked != 0 && s.short }

// Roomy says that there is room for what most commands write, one of each shard. Where there is not, what they do may well be in vain ([Store.Short]). It may be called at any time.
func (s *Store) Roomy() bool { return s.roomy.Load() && !s.crowded.Load() }

// survey is what Roomy says from now on.
func (s *Store) survey() {
	if roomy := len(s.spares) >= spares || s.tail <= s.opt.SegmentBytes/2; roomy != s.roomy.Load() {
		s.roomy.Store(roomy)
	}
}

// fits says whether a record may go to the last segment.
func (s *Store) fits(o op, size int) bool {
	limit := s.opt.SegmentBytes
	if o.adds() {
		limit -= limit / reserve
	}
	return s.tail+size <= limit
}

// owed is what a record leaves free in the last segment for the rest of a victim that has taken the last spare: without it no copy would have room, nothing would be freed, and so no write be taken
// any more. A group has seen to that when it began.
func (s *Store) owed(o op) int {
	if v := &s.victim; o.adds() && s.group.depth == 0 && v.segment != nil && !v.done && len(s.spares) == 0 {
		return v.segment.end - v.off
	}
	return 0
}

// squeeze makes room on a full disk by compaction, if there is something to gain. It does a few segments at a time: reads wait meanwhile.
func (s *Store) squeeze(o op, size int) error {
	for range maxSqueezed {
		if s.Sealed() != nil || len(s.log) < 2 || s.garbage() < int64(s.opt.SegmentBytes/reserve) || !s.compactOldest() {
			break
		}
		if s.fits(o, size+s.owed(o)) {
			return s.Sealed()
		}
		if s.snapshot != nil && len(s.left) > 0 {
			s.snapshot.Close()
		}
		if s.await() && s.rotate(1) {
			return nil
		}
	}
	if s.Sealed() != nil {
		return s.Sealed()
	}
	if s.capture.active { // its file takes room, too
		s.abandonCheckpoint()
		s.failed = time.Time{}
		return s.makeRoom(o, size)
	}
	s.stats.Refused++
	return fmt.Errorf("%w (%v)", ErrFull, s.lastNoRoom)
}

// rotate begins the next segment, if it leaves that many spares.
func (s *Store) rotate(leave int) bool {
	if len(s.spares) <= leave {
		return false
	}
	s.wait() // the batch has to go before another segment's begins
	s.hand()
	if last := s.log[len(s.log)-1]; !last.torn {
		last.end = s.tail
	}
	s.log = append(s.log, s.spares[0])
	s.spares = slices.Delete(s.spares, 0, 1)
	s.tail, s.last = headerSize, 0
	s.order()
	return true
}

// task is what the keeper does to a segment.
type task struct {
	segment      *segment // nil: make one in that slot
	slot         int
	state        state
	number, base uint64
	header       header // that it has then
	err          error
}

// keeper is the goroutine that makes and frees segments.
type keeper struct {
	tasks, kept chan task
	ordered     int       // tasks that will give a spare
	freeing     int       // tasks that will give a free segment
	failed      time.Time // when there was no room
	lastNoRoom  error
}

const maxTasks = 8

func (k *keeper) start(s *Store) {
	k.tasks, k.kept = make(chan task, maxTasks), make(chan task, maxTasks)
	go k.run(s.make, s.opt.Notify)
}

// run ends when tasks is closed.
func (k *keeper) run(create func(slot int, h header) (*segment, error), notify func()) {
	for t := range k.tasks {
		if t.header = newHeader(t.state, t.number, t.base); t.segment == nil {
			t.segment, t.err = create(t.slot, t.header)
		} else {
			t.err = t.segment.use(t.header)
		}
		k.kept <- t
		notify()
	}
	close(k.kept)
}

// end ends the goroutine. Segments that it makes meanwhile are closed: no one else knows them.
func (k *keeper) end() {
	if k.tasks == nil {
		return
	}
	close(k.tasks)
	for t := range k.kept {
		if t.slot >= 0 && t.segment != nil {
			_ = t.segment.file.Close() // it holds nothing
		}
	}
}

// make makes the file of a new slot. The keeper calls it; it uses nothing of s that changes.
func (s *Store) make(slot int, h header) (*segment, error) {
	f, err := s.folder.Create(segmentName(slot), h.encodeTwice(), int64(s.opt.SegmentBytes))
	if err != nil {
		return nil, err
	}
	g := &segment{slot: slot, file: f, view: f.View()}
	g.begin(h)
	return g, nil
}

// addSlot has readers find a new segment.
func (s *Store) addSlot(g *segment) {
	all := append(slices.Clone(*s.slots.Load()), g)
	s.slots.Store(&all)
}

// full says that there was no room a short time ago.
func (s *Store) full() bool { return !s.failed.IsZero() && time.Since(s.failed) < retryFull }

// order has the keeper make a spare if there are too few. When it has, take orders the next.
func (s *Store) order() {
	if len(s.spares) >= spares || s.ordered > 0 || s.freeing == maxTasks || s.Sealed() != nil {
		return // one at a time: should it fail, the numbers have no hole
	}
	t := task{state: inLog, slot: -1, base: s.durable.Load(), number: s.log[len(s.log)-1].number + 1 + uint64(len(s.spares))}
	switch {
	case len(s.free) > 0:
		t.segment = s.free[len(s.free)-1]
		s.free = s.free[:len(s.free)-1]
	case s.full():
		return
	default:
		t.slot = len(*s.slots.Load())
		if (t.slot+1)*(s.opt.SegmentBytes/alignment) > addressLimit {
			s.failed, s.lastNoRoom = time.Now(), errors.New("addresses end at 4 TiB")
			return
		}
	}
	s.ordered++
	s.tasks <- t
}

// collectSegments takes what the keeper has finished.
func (s *Store) collectSegments() {
	for {
		select {
		case t := <-s.kept:
			s.take(t)
		default:
			return
		}
	}
}

// await waits until there are enough spares or none will come.
func (s *Store) await() bool {
	for s.order(); len(s.spares) < spares && s.ordered+s.freeing > 0 && s.Sealed() == nil; s.order() {
		s.take(<-s.kept)
	}
	return len(s.spares) >= spares
}

// take files a segment from the keeper where it belongs. Spares come in the order in which they were ordered.
func (s *Store) take(t task) {
	created := t.slot >= 0
	if !created && t.err == nil {
		t.segment.begin(t.header)
	}
	switch {
	case t.state == inLog:
		s.ordered--
	default:
		s.freeing--
	}
	switch {
	case t.err != nil && created:
		s.failed = time.Now()
		s.stats.NoRoom++
		s.lastNoRoom = t.err
	case t.err != nil:
		_ = s.seal(errors.Join(errors.New("a header could not be written"), t.err)) // each later write returns it
	case t.state == inLog:
		if created {
			s.addSlot(t.segment)
			s.failed = time.Time{}
		}
		s.spares = append(s.spares, t.segment)
		s.survey()
		s.order()
	default:
		s.free = append(s.free, t.segment)
		s.order()
	}
	s.release()
}
