package engine

import (
	"time"

	"usui/layer/kv/disk"
)

// Bounds of a batch: one that reaches the first goes to the committer even if the caller does not say so; a buffer that grew beyond the
// second is not kept.
const (
	batchBytes = 4 << 20
	keepBytes  = 16 << 20
)

// append adds a record to the batch, to the group if there is one, and returns its address. Readers of keys with that slot of pending wait
// for it.
func (s *Store) append(d *draft, slot uint64) (address, error) {
	if s.sealed != nil {
		return 0, s.sealed
	}
	s.boundRemoved()
	size := d.size()
	if s.group.depth > 0 {
		d.more = true
		if err := s.groupFits(d.op, size); err != nil {
			return 0, err
		}
	} else {
		if size > s.opt.SegmentBytes/4 {
			return 0, ErrTooLong
		}
		if err := s.makeRoom(d.op, size); err != nil {
			return 0, err
		}
		s.bound(1)
	}
	a := s.write(d)
	s.pending[slot] = s.seq
	return a, s.sealed
}

// bound gives the batch to the committer if it is long, or too long for n more records.
func (s *Store) bound(n int) {
	if b := &s.batch; len(b.records) >= batchBytes || len(b.records) > 0 && s.seq+uint64(n)-b.first > maxBack {
		s.wait()
		s.hand()
	}
}

func (s *Store) addressOf(slot, off int) address {
	return address((slot*s.opt.SegmentBytes + off) / alignment)
}

// write appends a record for which there is room, and returns its address.
func (s *Store) write(d *draft) address {
	g := s.log[len(s.log)-1]
	s.seq++
	if len(s.batch.records) == 0 {
		s.batch.segment, s.batch.off, s.batch.first = g, s.tail, s.seq
	}
	before := len(s.batch.records)
	s.batch.records = d.append(s.batch.records, g.seed, s.seq, s.batch.first)
	s.batch.last = s.seq
	size := len(s.batch.records) - before
	if d.more {
		s.group.grow(before, size)
	}
	a := s.addressOf(g.slot, s.tail)
	s.last = s.tail
	s.tail += size
	s.used += int64(size)
	s.capture.unsaved += int64(size)
	g.collections = g.collections || d.headed()
	g.placed = g.placed || d.kind == kindPlaced
	s.stats.Records++
	s.stats.BytesAppended += uint64(size)
	return a
}

// Commit hands what was written since the last batch to the committer, unless that is busy: then the batch goes on growing, and a
// later Commit takes it. It does some compaction, too, and begins a checkpoint when it is time.
func (s *Store) Commit() {
	if s.sealed == nil {
		s.boundRemoved()
		s.compact()
	}
	if s.due() {
		s.beginCheckpoint()
	}
	s.hand()
}

// maxWait is how long a batch may wait at most: no medium that is worth to wait for takes longer.
const maxWait = time.Millisecond

// CanWait says that a batch could go to the committer now, but that the last one, which had several records, came back a shorter time ago than it had taken. Who
// has more to write may let it grow until then: those whose writes have just become durable are about to write again, and else would wait for a batch and a half.
func (s *Store) CanWait() bool {
	return s.Due() && !s.folder.Immediate() && s.flight.last != s.flight.first && time.Since(s.back) < min(s.took, maxWait)
}

// Idle says that there is nothing that Commit would do, now or when a batch is done.
func (s *Store) Idle() bool { return !s.busy && len(s.batch.records) == 0 }

// Due says that there is something that Commit would hand to the committer now: nobody will be told of that.
func (s *Store) Due() bool { return !s.busy && s.sealed == nil && len(s.batch.records) > 0 }

// hand gives the batch to the committer, if that is idle. Where the medium is immediate, it does the committer's work itself.
func (s *Store) hand() {
	if s.busy || s.sealed != nil || len(s.batch.records) == 0 {
		return
	}
	if s.group.depth > 0 {
		panic("BUG: a batch is committed in the middle of a group")
	}
	old := s.flight.records[:0]
	if cap(old) > keepBytes {
		old = nil
	}
	s.flight, s.batch = s.batch, batch{records: old}
	s.busy = true
	j := job{s.flight.segment.file, s.flight.off, s.flight.records}
	if s.folder.Immediate() {
		s.finish(outcome{err: j.commit()})
		return
	}
	s.work <- j
}

// Collect takes what the other goroutines have finished. It does not wait.
func (s *Store) Collect() {
	select {
	case o := <-s.committed:
		s.finish(o)
	default:
	}
	s.collectSegments()
	s.collectCheckpoint()
}

// wait waits for the committer, if it is busy.
func (s *Store) wait() {
	if s.busy && s.sealed == nil {
		s.finish(<-s.committed)
	}
}

// finish takes note of a batch that is durable, or never will be.
func (s *Store) finish(o outcome) {
	if o.err != nil {
		_ = s.seal(o.err) // each later write returns it; flight stays, so that reads find its records
		return
	}
	s.busy = false
	s.back, s.took = o.at, o.took
	s.flight.segment.flushed = s.flight.off + len(s.flight.records)
	s.durable = s.flight.last
	s.stats.Batches++
	s.releaseDeparted()
}

// Drain makes all that was written durable.
func (s *Store) Drain() error {
	for s.sealed == nil && !s.Idle() {
		s.wait()
		s.hand()
	}
	return s.sealed
}

// job is a batch for the committer.
type job struct {
	file    disk.File
	off     int
	records []byte
}

// outcome is what has become of a batch.
type outcome struct {
	err  error
	at   time.Time
	took time.Duration
}

// committer is the goroutine that writes batches, one at a time.
type committer struct {
	work      chan job
	committed chan outcome
}

func (c *committer) start(notify func()) {
	c.work, c.committed = make(chan job, 1), make(chan outcome, 1)
	go c.run(notify)
}

// run ends when work is closed.
func (c *committer) run(notify func()) {
	for j := range c.work {
		began := time.Now()
		err := j.commit()
		now := time.Now()
		c.committed <- outcome{err, now, now.Sub(began)}
		notify()
	}
	close(c.committed)
}

// commit is the one write and the one sync of a batch.
func (j job) commit() error {
	if _, err := j.file.WriteAt(j.records, int64(j.off)); err != nil {
		return err
	}
	return j.file.Sync()
}

// end ends the goroutine and waits for that.
func (c *committer) end() {
	if c.work == nil {
		return
	}
	close(c.work)
	for range c.committed {
	}
}
