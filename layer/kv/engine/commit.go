package engine

import (
	"slices"
	"sync/atomic"
	"time"

	"usui/layer/kv/disk"
)

// Bounds of a batch: one that reaches the first goes to the committer even if the caller does not say so; a buffer that grew beyond the
// second is not kept.
const (
	batchBytes = 4 << 20
	keepBytes  = 16 << 20
)

// batch is records that are written and synced together.
type batch struct {
	segment     *segment
	off         int // of the first record
	first, last uint64
	records     []byte
	buffer      *buffer // by which readers find them
}

// buffer is a batch as readers see it, who have no lock of the log. What was appended does not change but for the end of a group, which nobody else has seen.
type buffer struct {
	segment *segment
	off     int
	records []byte       // with all the room that there is
	end     atomic.Int64 // of those that are there
}

// from is what it has from an offset of a segment on, nil if that is elsewhere.
func (b *buffer) from(g *segment, off int) []byte {
	if b == nil || b.segment != g || off < b.off {
		return nil
	}
	if end := int(b.end.Load()); off < b.off+end {
		return b.records[off-b.off : end]
	}
	return nil
}

// append adds a record to the batch, to the group if there is one, and returns its address. Readers of the keys that have pending, which may be nil, wait for it.
func (s *Store) append(d *draft, pending *uint64) (address, error) {
	if s.locked == 0 {
		s.boundRemoved()
	}
	s.lockLog()
	defer s.unlockLog()
	if err := s.fit(d); err != nil {
		return 0, err
	}
	a := s.write(d)
	if pending != nil {
		*pending = s.wrote
	}
	return a, s.Sealed()
}

// fit makes room for a record.
func (s *Store) fit(d *draft) error {
	if err := s.Sealed(); err != nil {
		return err
	}
	size := d.size()
	if s.group.depth > 0 {
		d.more = true
		return s.groupFits(d.op, size)
	}
	if size > s.opt.SegmentBytes/4 {
		return ErrTooLong
	}
	if err := s.makeRoom(d.op, size); err != nil {
		return err
	}
	s.bound(1)
	return nil
}

// bound gives the batch to the committer if it is long, or too long for n more records.
func (s *Store) bound(n int) {
	if b := &s.batch; len(b.records) >= batchBytes || len(b.records) > 0 && s.seq.Load()+uint64(n)-b.first > maxBack {
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
	seq := s.seq.Load() + 1
	if len(s.batch.records) == 0 {
		s.batch.segment, s.batch.off, s.batch.first = g, s.tail, seq
	}
	size, before := d.size(), len(s.batch.records)
	s.show(size)
	s.batch.records = d.append(s.batch.records, g.seed, seq, s.batch.first)
	s.batch.buffer.end.Store(int64(before + size))
	s.batch.last = seq
	s.seq.Store(seq)
	s.wrote = seq
	s.unapplied.Add(1)
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
	s.survey()
	return a
}

// show sees to it that readers find a batch to which so many bytes are about to be appended.
func (s *Store) show(size int) {
	b := &s.batch
	grown := slices.Grow(b.records, size)
	if len(b.records) > 0 && cap(grown) == cap(b.records) {
		return
	}
	if b.buffer == nil || cap(grown) != cap(b.records) {
		b.buffer = &buffer{} // readers may have the old one
	}
	b.records = grown
	b.buffer.segment, b.buffer.off, b.buffer.records = b.segment, b.off, grown[:cap(grown)]
	b.buffer.end.Store(int64(len(grown)))
	s.growing.Store(b.buffer)
}

// Tend does some compaction, goes on with a checkpoint, and begins one when it is time.
func (s *Store) Tend() {
	s.collectCheckpoint()
	s.tidy()
}

// tidy is Tend without going on with a checkpoint.
func (s *Store) tidy() {
	if s.Sealed() == nil {
		s.boundRemoved()
		s.compact()
	}
	if s.due() {
		s.beginCheckpoint()
	}
}

// maxWait is how long a batch may wait at most: no medium that is worth to wait for takes longer.
const maxWait = time.Millisecond

// canWait says that a batch could go to the committer now, but that the last one, which had several records, came back a shorter time ago than it had taken. Who
// has more to write may let it grow until then: those whose writes have just become durable are about to write again, and else would wait for a batch and a half.
func (s *Store) canWait() bool {
	return s.Due() && !s.folder.Immediate() && s.flight.last != s.flight.first && time.Since(s.back) < min(s.took, maxWait)
}

// Idle says that there is nothing to hand to the committer, now or when a batch is done.
func (s *Store) Idle() bool { return !s.busy && len(s.batch.records) == 0 }

// Due says that there is something that Advance would hand to the committer now: nobody will be told of that. It may be called at any time.
func (s *Store) Due() bool {
	handed := s.handed.Load()
	return s.durable.Load() == handed && s.seq.Load() > handed && s.Sealed() == nil
}

// hand gives the batch to the committer, if that is idle. Where the medium is immediate, it does the committer's work itself.
func (s *Store) hand() {
	if s.busy || s.Sealed() != nil || len(s.batch.records) == 0 {
		return
	}
	if s.group.depth > 0 {
		panic("BUG: a batch is committed in the middle of a group")
	}
	s.flying.Store(s.batch.buffer)
	s.flight, s.batch = s.batch, batch{}
	if b := s.rested(); b != nil {
		s.batch.buffer, s.batch.records = b, b.records[:0]
	}
	s.handed.Store(s.flight.last)
	s.busy = true
	j := job{s.flight.segment.file, s.flight.off, s.flight.records}
	if s.folder.Immediate() {
		s.finish(outcome{err: j.commit()})
		return
	}
	s.work <- j
}

// rested returns a buffer that no reader has any more, nil if there is none.
func (s *Store) rested() *buffer {
	b := s.resting
	if s.rest(); b == nil || s.stirring != 0 {
		return nil
	}
	s.resting = nil
	return b
}

// rest looks for readers of the buffer of the last batch. It is in the view by now, where the next ones find it; who reads has a lock of a shard.
func (s *Store) rest() {
	for i := range s.stirring.numbers() {
		if h := s.shards[i]; h.mu.TryLock() {
			h.mu.Unlock()
			s.stirring &^= 1 << i
		}
	}
}

// Advance takes what the other goroutines have finished, but for a checkpoint, and hands what was written since the last batch to the committer, unless that is busy: then the
// batch goes on growing, and a later Advance takes it. If busy says that somebody may be about to write, a batch is not handed that had better grow. It may be called beside
// others, by who has no lock of a shard.
func (s *Store) Advance(busy bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.collectBatch()
	s.collectSegments()
	s.rest()
	if !busy || !s.canWait() {
		s.hand()
	}
}

// Untended says that there is something for [Store.Tend] to do, which takes the whole store. It may be called beside others.
func (s *Store) Untended() bool {
	if s.Sealed() != nil {
		return s.capture.active
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.compacts() || s.due() || s.checkpointWaits()
}

// Finished says that Advance or Tend have something to take. It may be called at any time.
func (s *Store) Finished() bool { return len(s.committed)+len(s.kept)+len(s.results) > 0 }

func (s *Store) collectBatch() {
	select {
	case o := <-s.committed:
		s.finish(o)
	default:
	}
}

// wait waits for the committer, if it is busy.
func (s *Store) wait() {
	if s.busy && s.Sealed() == nil {
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
	s.flight.segment.flushed.Store(int64(s.flight.off + len(s.flight.records)))
	s.durable.Store(s.flight.last)
	if s.resting, s.stirring = s.flight.buffer, 1<<len(s.shards)-1; cap(s.flight.records) > keepBytes {
		s.resting = nil
	}
	s.stats.Batches++
	s.releaseDeparted()
}

// Drain makes all that was written durable.
func (s *Store) Drain() error {
	for s.Sealed() == nil && !s.Idle() {
		s.wait()
		s.hand()
	}
	return s.Sealed()
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
