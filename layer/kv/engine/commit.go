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

// append adds a record to the batch and returns its address.
func (s *Store) append(o op, hash uint64, expire int64, key, value []byte) (address, error) {
	if s.sealed != nil {
		return 0, s.sealed
	}
	size := pad(recordHeader + len(key) + len(value))
	if size > s.opt.SegmentBytes/4 {
		return 0, ErrTooLong
	}
	if err := s.makeRoom(o, size); err != nil {
		return 0, err
	}
	s.write(o, expire, key, value)
	s.pending[hash%pendingSlots] = s.seq
	return s.addressOf(s.log[len(s.log)-1].slot, s.tail-size), s.sealed
}

func (s *Store) addressOf(slot, off int) address {
	return address((slot*s.opt.SegmentBytes + off) / alignment)
}

// write appends a record for which there is room.
func (s *Store) write(o op, expire int64, key, value []byte) {
	g := s.log[len(s.log)-1]
	if len(s.batch.records) >= batchBytes || s.seq-s.batch.first >= maxBack {
		s.wait()
		s.hand(false)
	}
	s.seq++
	if len(s.batch.records) == 0 {
		s.batch.segment, s.batch.off, s.batch.first = g, s.tail, s.seq
	}
	before := len(s.batch.records)
	s.batch.records = appendRecord(s.batch.records, g.seed, o, s.seq, s.batch.first, expire, key, value)
	s.batch.last = s.seq
	s.tail += len(s.batch.records) - before
	s.used += int64(len(s.batch.records) - before)
	s.stats.Records++
	s.stats.BytesAppended += uint64(len(s.batch.records) - before)
}

// Commit hands what was written since the last batch to the committer, unless that is busy: then the batch goes on growing, and a
// later Commit takes it. It does some compaction, too. A caller who has nothing to do until the batch is durable says wait: then Commit
// returns when it is, and no other goroutine is woken for that.
func (s *Store) Commit(wait bool) {
	if s.sealed == nil {
		s.compact()
	}
	s.hand(wait)
}

// Idle says that there is nothing that Commit would do, now or when a batch is done.
func (s *Store) Idle() bool { return !s.busy && len(s.batch.records) == 0 }

// Busy says that a batch is with the committer.
func (s *Store) Busy() bool { return s.busy }

// hand gives the batch to the committer, if that is idle. If it may wait, or the medium is immediate, it does the committer's work itself.
func (s *Store) hand(wait bool) {
	if s.busy || s.sealed != nil || len(s.batch.records) == 0 {
		return
	}
	old := s.flight.records[:0]
	if cap(old) > keepBytes {
		old = nil
	}
	s.flight, s.batch = s.batch, batch{records: old}
	s.busy = true
	s.handed = time.Now()
	j := job{s.flight.segment.file, s.flight.off, s.flight.records}
	if wait || s.folder.Immediate() {
		s.finish(j.commit())
		return
	}
	s.work <- j
}

// Collect takes what the other goroutines have finished. It does not wait.
func (s *Store) Collect() {
	select {
	case err := <-s.committed:
		s.finish(err)
	default:
	}
	s.collectSegments()
}

// wait waits for the committer, if it is busy.
func (s *Store) wait() {
	if s.busy && s.sealed == nil {
		s.finish(<-s.committed)
	}
}

// finish takes note of a batch that is durable, or never will be.
func (s *Store) finish(err error) {
	if err != nil {
		_ = s.seal(err) // each later write returns it; flight stays, so that reads find its records
		return
	}
	s.busy = false
	s.flight.segment.flushed = s.flight.off + len(s.flight.records)
	s.durable = s.flight.last
	s.took = time.Since(s.handed)
	s.stats.Batches++
}

// Took is how long it took to make the last batch durable.
func (s *Store) Took() time.Duration { return s.took }

// Drain makes all that was written durable.
func (s *Store) Drain() error {
	for s.sealed == nil && !s.Idle() {
		s.wait()
		s.hand(true)
	}
	return s.sealed
}

// job is a batch for the committer.
type job struct {
	file    disk.File
	off     int
	records []byte
}

// committer is the goroutine that writes batches, one at a time.
type committer struct {
	work      chan job
	committed chan error
}

func (c *committer) start(notify func()) {
	c.work, c.committed = make(chan job, 1), make(chan error, 1)
	go c.run(notify)
}

// run ends when work is closed.
func (c *committer) run(notify func()) {
	for j := range c.work {
		c.committed <- j.commit()
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
