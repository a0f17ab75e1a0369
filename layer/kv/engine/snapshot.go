package engine

import (
	"errors"
	"fmt"
	"slices"

	"usui/layer/kv/disk"
)

// Errors of snapshots.
var (
	ErrSnapshot = errors.New("another backup is under way")
	ErrPlaced   = errors.New("values on a device are not part of the log: a store that has one cannot be backed up online")
	ErrGivenUp  = errors.New("the disk was full, and the backup was given up for writes to go on")
	errNowhere  = errors.New("no such bytes")
)

// Snapshot is the log as it was durable at one moment. As long as it is open, segments that compaction empties keep what they have, so that the
// store takes more room with each write; in the order of the log they are used again when it is closed. A full disk closes it.
type Snapshot struct {
	store *Store
	log   []*segment
	ends  []int
	last  uint64 // number of its last segment
}

// Snapshot makes what was written durable and returns the log that has it. There is one at a time.
func (s *Store) Snapshot() (*Snapshot, error) {
	if s.snapshot != nil {
		return nil, ErrSnapshot
	}
	if s.opt.Device != nil {
		return nil, ErrPlaced
	}
	if err := s.Drain(); err != nil {
		return nil, err
	}
	p := &Snapshot{store: s}
	for i, g := range s.log {
		end := g.end
		if i == len(s.log)-1 && !g.torn {
			end = s.tail
		}
		p.log, p.ends, p.last = append(p.log, g), append(p.ends, end), g.number
	}
	s.snapshot = p
	return p, nil
}

// Ends returns how many bytes each segment has that belong to the log, its header among them. What follows is zeros in a copy.
func (p *Snapshot) Ends() []int { return p.ends }

// SegmentBytes is how long the file of each segment is.
func (p *Snapshot) SegmentBytes() int { return p.store.opt.SegmentBytes }

// Bytes returns n bytes of a segment, or those up to its end. They are valid until the next call of a method of the store that writes or collects.
func (p *Snapshot) Bytes(segment, off, n int) ([]byte, error) {
	switch {
	case p.store.snapshot != p:
		return nil, ErrGivenUp
	case segment < 0 || segment >= len(p.log) || off < 0 || off >= p.ends[segment] || n < 1:
		return nil, errNowhere
	}
	return p.log[segment].view[off : off+min(n, p.ends[segment]-off)], nil
}

// Close lets the segments be used again.
func (p *Snapshot) Close() {
	if p.store.snapshot == p {
		p.store.snapshot = nil
		p.store.release()
	}
}

// release has the keeper free the segments that left the log, oldest first, but for those that a snapshot has and what follows them: after a crash
// they are read as if they had never left.
func (s *Store) release() {
	for len(s.left) > 0 && s.ordered+s.freeing < maxTasks && (s.snapshot == nil || s.left[0].number > s.snapshot.last) {
		s.freeing++
		s.tasks <- task{segment: s.left[0], slot: -1, state: free, base: s.durable.Load()}
		s.left = slices.Delete(s.left, 0, 1)
	}
}

// Held is how many segments wait for a snapshot to be closed.
func (s *Store) Held() int { return len(s.left) }

// Bounds of a copy: how many bytes CopyTo asks for at once, and how many segments a store may have.
const (
	MaxCopy     = 1 << 20
	MaxSegments = 1 << 22 // of 1 MiB, the shortest that servers make, up to the end of addresses
)

// CopyTo makes a store in an empty folder of what read returns of a snapshot: n bytes or fewer of a segment, at off. The other arguments are what
// the snapshot's methods returned; none of them has to be trusted. What was copied is to be verified by [Check].
func CopyTo(folder disk.Folder, segmentBytes int, ends []int, read func(segment, off, n int) ([]byte, error), progress func(done, total int64)) error {
	if segmentBytes < MinSegment || segmentBytes > MaxSegment || segmentBytes%headerCopy != 0 || len(ends) > addressLimit/(segmentBytes/alignment) {
		return fmt.Errorf("%d segments of %d bytes are no store", len(ends), segmentBytes)
	}
	total, done := int64(0), int64(0)
	for i, end := range ends {
		if end < headerSize || end > segmentBytes {
			return fmt.Errorf("%s: ends at byte %d of %d", segmentName(i), end, segmentBytes)
		}
		total += int64(end)
	}
	for i, end := range ends {
		err := copySegment(folder, i, segmentBytes, end, func(off, n int) ([]byte, error) {
			p, err := read(i, off, n)
			if err == nil && (len(p) == 0 || len(p) > n) {
				err = fmt.Errorf("%s: %d bytes at %d instead of %d", segmentName(i), len(p), off, n)
			}
			done += int64(len(p))
			progress(done, total)
			return p, err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func copySegment(folder disk.Folder, slot, size, end int, read func(off, n int) ([]byte, error)) (err error) {
	head, err := read(0, headerSize)
	if err != nil {
		return err
	}
	f, err := folder.Create(segmentName(slot), head, int64(size))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	for off := len(head); off < end; {
		p, err := read(off, min(end-off, MaxCopy))
		if err != nil {
			return err
		}
		if _, err := f.WriteAt(p, int64(off)); err != nil {
			return err
		}
		off += len(p)
	}
	return f.Sync()
}
