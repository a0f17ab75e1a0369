package engine

import (
	"errors"
	"fmt"
)

// group is records that are all there after a crash, or none.
type group struct {
	depth  int // of Begin without End
	size   int // bytes of its records so far
	last   int // where the last one is in the batch
	length int // records
}

// Room is how many bytes of a group an element takes, or, with a value, a key; see [Store.Begin].
func Room(key, value int) int { return pad(recordHeader + idBytes + key + value) }

// Begin begins a group for which n bytes are enough, as [Room] counts them; [Store.End] ends it. After an error there is none, and nothing was
// written. What is written between is there after a crash as a whole or not at all; to others it is visible at once. A group within a group is
// part of it. Between Begin and End none of [Store.Advance], [Store.Tend] and [Store.Drain] is called, and by other ways
// to the store nobody can write.
//
// A group may grow beyond n as long as its segment has room; then a write may fail with [ErrTooLong] and leave a part of the group.
func (s *Store) Begin(n int) error { return s.beginGroup(opPut, n) }

// BeginDeletes is Begin for a group that has nothing but deletions, which go on when the disk is full.
func (s *Store) BeginDeletes(n int) error { return s.beginGroup(opDelete, n) }

func (s *Store) beginGroup(o op, n int) error {
	s.lockLog() // until it ends: its records are one after the other
	begun := false
	defer func() {
		if !begun {
			s.unlockLog()
		}
	}()
	if err := s.roomFor(o, n); err != nil {
		return err
	}
	begun = true
	s.group.depth++
	return nil
}

// roomFor sees to it that a group of n more bytes fits.
func (s *Store) roomFor(o op, n int) error {
	if err := s.Sealed(); err != nil {
		return err
	}
	if err := s.groupFits(o, n); err != nil || s.group.depth > 0 {
		return err
	}
	if err := s.makeRoom(o, n); err != nil {
		return err
	}
	s.bound(s.opt.SegmentBytes / 4 / recordHeader)
	return nil
}

// groupFits says whether n more bytes are too much for a group, or for the segment of the one that has begun.
func (s *Store) groupFits(o op, n int) error {
	if limit := s.opt.SegmentBytes / 4; s.group.size+n > limit {
		return fmt.Errorf("%w: what one command or transaction writes at once has at most %d bytes, not %d", ErrTooLong, limit, s.group.size+n)
	}
	if s.group.depth > 0 && !s.fits(o, n) {
		return fmt.Errorf("%w: the transaction fills its segment", ErrTooLong)
	}
	return nil
}

// End ends what Begin began.
func (s *Store) End() {
	g := &s.group
	if g.depth--; g.depth > 0 {
		return
	}
	if g.length > 0 {
		record(s.batch.records[g.last:]).last(s.batch.segment.seed)
	}
	*g = group{}
	s.mu.Unlock()
}

// leaveGroup gives up a group that was left in the middle, with whatever led there.
func (s *Store) leaveGroup() {
	if s.group.depth == 0 {
		return
	}
	_ = s.seal(errMidway) // each later write returns it
	s.group = group{}
	s.mu.Unlock()
}

var errMidway = errors.New("a command was interrupted in the middle of what it wrote")

// grow takes note of a record that was appended to the batch at an offset.
func (g *group) grow(at, size int) {
	g.last, g.size, g.length = at, g.size+size, g.length+1
}
