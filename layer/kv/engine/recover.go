package engine

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"usui/layer/kv/collection"
	"usui/layer/kv/disk"
)

// Open reads the log in a folder and returns the store that it describes. The folder becomes the store's. An error that wraps
// [ErrDamaged] says where something is missing that had been acknowledged; nothing was changed then.
func Open(folder disk.Folder, opt Options) (_ *Store, err error) {
	s, err := newStore(folder, opt)
	defer func() {
		if err != nil {
			err = errors.Join(err, s.closeFiles())
		}
	}()
	if err != nil {
		return nil, err
	}
	if s.opt.Notify == nil {
		s.opt.Notify = func() {}
	}
	if s.opt.Limits == nil {
		s.opt.Limits = collection.DefaultLimits()
	}
	files, err := openSegments(folder)
	s.slots.Store(&files.slots)
	if err != nil {
		return nil, err
	}
	if err := s.recover(files); err != nil {
		return nil, err
	}
	s.open = true
	s.committer.start(s.opt.Notify)
	s.keeper.start(s)
	s.saver.start(s.folder, s.opt.Notify)
	s.order()
	s.survey()
	return s, nil
}

func (s *Store) recover(files segments) error {
	start := time.Now()
	if len(files.slots) == 0 {
		return s.begin()
	}
	s.opt.SegmentBytes = len(files.slots[0].view)
	s.log = files.log
	l, err := s.readCheckpointAndLog(files)
	if err != nil {
		return err
	}
	s.discardOrphans()
	if err := files.settle(); err != nil {
		return err
	}
	s.free, s.log = files.free, files.log[:l.last+1]
	s.spares = slices.Clone(files.log[l.last+1:])
	s.seq.Store(l.seq)
	s.handed.Store(l.seq)
	s.durable.Store(l.seq)
	s.last = l.at
	for _, g := range s.log {
		s.used += int64(g.end - headerSize)
	}
	s.capture.unsaved = int64(l.bytes)
	if err := disk.Guard("read the device", s.holdPlaced); err != nil {
		return err
	}
	last := s.log[len(s.log)-1]
	s.tail = last.end
	if last.torn {
		s.tail = s.opt.SegmentBytes // the next write goes to another one
	}
	s.stats.Recovered, s.stats.RecoveryTime = l.bytes, time.Since(start)
	return nil
}

// readCheckpointAndLog reads a checkpoint, if there is one that is true, and the log from there on, or else all of it.
func (s *Store) readCheckpointAndLog(files segments) (*logReader, error) {
	c, file, err := openCheckpoint(s.folder, files.checkpoint)
	if file != nil {
		defer file.Close() // it was only read
	}
	if c != nil && err == nil {
		var l *logReader
		if l, err = s.readLog(files, c); err == nil {
			s.stats.Loaded = uint64(c.bytes)
			return l, nil
		}
	}
	if err != nil { // of whatever kind: if it is the log's, it comes again
		if err := s.startAgain(files); err != nil {
			return nil, err
		}
		s.stats.CheckpointIgnored++
	}
	return s.readLog(files, nil)
}

// readLog reads the log, from a checkpoint on if it is not nil.
func (s *Store) readLog(files segments, c *checkpoint) (*logReader, error) {
	l := &logReader{segments: files, progress: s.opt.Progress}
	err := disk.Guard("read the log", func() error {
		if c != nil {
			from, err := s.resume(c, &files)
			if err != nil {
				return err
			}
			l.goOnFrom(from, c.at)
		}
		return l.read(s.replay)
	})
	if err == nil {
		err = s.Sealed() // a record to which a checkpoint led was none
	}
	return l, err
}

// startAgain forgets what a checkpoint said.
func (s *Store) startAgain(files segments) error {
	s.sealed.Store(nil)
	s.key, s.lastID = newHashKey(), 0
	for _, g := range files.slots {
		g.flushed.Store(0)
		g.end, g.torn, g.collections, g.placed = 0, false, false, false
	}
	return s.forget()
}

// begin makes the first segment of a new store.
func (s *Store) begin() error {
	if s.opt.SegmentBytes == 0 {
		s.opt.SegmentBytes = DefaultSegment
	}
	if s.opt.SegmentBytes < MinSegment || s.opt.SegmentBytes > MaxSegment || s.opt.SegmentBytes%headerCopy != 0 {
		return fmt.Errorf("segments of %d bytes: choose a multiple of %d between %d and %d", s.opt.SegmentBytes, headerCopy, MinSegment, MaxSegment)
	}
	g, err := s.make(0, newHeader(inLog, 1, 0))
	if err != nil {
		return err
	}
	s.addSlot(g)
	s.log, s.tail = []*segment{g}, headerSize
	return nil
}

// Bounds of a segment's size.
const (
	MinSegment = 64 << 10
	MaxSegment = 1 << 30
)

// replay repeats what records did.
func (s *Store) replay(list []located) error {
	for i := range list {
		list[i].hash = s.hash(list[i].record.key())
	}
	for i := range list { // in a loop of its own, short enough that many of its reads are on their way at once
		s.touched += s.indexOf(list[i].hash).touch(list[i].hash)
	}
	for i := range list {
		if err := s.apply(&list[i]); err != nil {
			return err
		}
	}
	return nil
}

// apply repeats what a record did. A value on the device whose time has come stays until it is swept, and a collection until it is looked up: a later record of the key may have given it more
// time, and without the key its elements would be dropped.
func (s *Store) apply(l *located) error {
	r, at := l.record, s.addressOf(l.slot, l.off)
	if r.heads() || r.op().isElement() {
		(*s.slots.Load())[l.slot].collections = true
	}
	if r.placed() {
		(*s.slots.Load())[l.slot].placed = true
	}
	switch {
	case r.op() == opClear:
		return s.forget()
	case r.op().isElement():
		return s.applyElement(r, at)
	}
	if expire := r.expire(); r.op() == opPut && (r.heads() || r.placed() || expire == 0 || expire > s.now()) {
		return s.point(l.hash, r.key(), at)
	}
	if p, old := s.lookup(l.hash, r.key()); old != nil {
		s.drop(&p, old)
	}
	return nil
}

// segments are the files of a folder.
type segments struct {
	slots      []*segment // by slot
	log        []*segment // those in use, in the order of the log
	free       []*segment
	checkpoint string // the file's name, if there is one

	differ []*segment // a crash came between the two copies of their header
}

func openSegments(folder disk.Folder) (f segments, err error) {
	names, err := folder.Names()
	if err != nil {
		return f, err
	}
	if at := slices.Index(names, checkpointName); at >= 0 {
		names = slices.Delete(names, at, at+1)
		f.checkpoint = checkpointName
	}
	names = slices.DeleteFunc(names, func(n string) bool { return n == deviceName })
	for slot, name := range names {
		if name != segmentName(slot) {
			return f, fmt.Errorf("%w: %s is missing before %s", ErrDamaged, segmentName(slot), name)
		}
		file, err := folder.Open(name)
		if err != nil {
			return f, err
		}
		g := &segment{slot: slot, file: file, view: file.View()}
		f.slots = append(f.slots, g)
		if err := f.sort(g); err != nil {
			return f, err
		}
	}
	slices.SortFunc(f.log, func(a, b *segment) int { return cmp.Compare(a.number, b.number) })
	for i, g := range f.log {
		if want := f.log[0].number + uint64(i); g.number != want {
			return f, fmt.Errorf("%w: part %d of the log is missing before %s", ErrDamaged, want, segmentName(g.slot))
		}
	}
	if len(f.slots) > 0 && len(f.log) == 0 {
		return f, fmt.Errorf("%w: none of %d files is part of the log", ErrDamaged, len(f.slots))
	}
	return f, nil
}

// sort reads a segment's header and files it.
func (f *segments) sort(g *segment) error {
	size := len(f.slots[0].view)
	if size < MinSegment {
		return fmt.Errorf("%w: %s has %d bytes, fewer than any segment", ErrDamaged, segmentName(0), size)
	}
	if len(g.view) != size {
		return fmt.Errorf("%w: %s has %d bytes, %s has %d", ErrDamaged, segmentName(g.slot), len(g.view), segmentName(0), size)
	}
	var differ bool
	err := disk.Guard("read "+segmentName(g.slot), func() (err error) {
		differ, err = g.readHeader()
		return err
	})
	if err != nil {
		return err
	}
	if differ {
		f.differ = append(f.differ, g)
	}
	if g.state == inLog {
		f.log = append(f.log, g)
	} else {
		f.free = append(f.free, g)
	}
	return nil
}

// settle makes what was read durable before anyone builds on it: the page cache of a process that died may hold what no sync covered.
func (f *segments) settle() error {
	for _, g := range f.differ {
		if err := g.settle(); err != nil {
			return err
		}
	}
	for _, g := range f.log {
		if err := g.file.Sync(); err != nil {
			return err
		}
	}
	return nil
}

// logReader reads all records of a log.
type logReader struct {
	segments
	progress func(done, total int64)

	seq       uint64 // of the last record
	known     bool   // there was a record
	first     int    // index of the segment to begin with
	off       int    // where in it; 0 is its start
	last      int    // index of the segment to append to
	at        int    // where its last record is; 0 if there is none
	records   uint64
	bytes     uint64
	segmentAt int       // where the last record of the segment is that is being read; 0 if there is none
	remains   int       // segments that end with the remains of a batch
	list      []located // records that f has not got yet; the last ones are of a group that has not ended
	whole     int       // those before, of groups that have
}

// located is a record and where it lies.
type located struct {
	record    record
	slot, off int
	hash      uint64 // for whom the records are
}

// prepared is how much of a segment is read from the medium before it is looked at, at least, but for the end of a long record.
const prepared = 1 << 20

// listed is how many records are given at a time, at least, but for the last ones of a segment.
const listed = 64

// read calls f with all records, some at a time. It returns an error that wraps ErrDamaged if one is missing that had been durable.
func (l *logReader) read(f func([]located) error) error {
	if l.progress == nil {
		l.progress = func(int64, int64) {}
	}
	size := int64(len(l.slots[0].view))
	for i := l.first; i < len(l.log); i++ {
		g, before, known := l.log[i], l.records, l.known
		if !l.known {
			l.seq = max(l.seq, g.base)
		}
		if err := l.readSegment(g, max(l.off, headerSize), f); err != nil {
			return err
		}
		if err := l.lookBefore(i, known); err != nil {
			return err
		}
		if l.records > before || g.torn {
			l.last, l.at = i, l.segmentAt
		}
		l.off, l.segmentAt = 0, 0
		l.progress(int64(i+1)*size, int64(len(l.log))*size)
	}
	for _, g := range l.log[:l.last] {
		g.flushed.Store(int64(len(g.view)))
	}
	if !l.known { // numbers never go back
		for _, g := range l.slots {
			l.seq = max(l.seq, g.base)
		}
	}
	return l.lookAtWitnesses()
}

// lookBefore makes sure that nothing is missing before the first record of a log, if it is in the segment with that index. A log moves on from a segment that has
// records, or the remains of a batch; and the first record of its first segment is record 1.
func (l *logReader) lookBefore(i int, known bool) error {
	if known || !l.known {
		return nil
	}
	first := l.seq - l.records + 1
	if i > 0 && !l.log[i-1].torn || l.log[0].number == 1 && first != 1 {
		return fmt.Errorf("%w: the log begins with record %d in %s, and what was before it is missing", ErrDamaged, first, segmentName(l.log[i].slot))
	}
	return nil
}

// lookAtWitnesses compares the end of the log with what the headers of later segments, spares and free ones know. A log without any record
// may be one whose segments all left it, unless the first is still there.
func (l *logReader) lookAtWitnesses() error {
	if !l.known && l.log[0].number > 1 {
		return nil
	}
	end := l.seq
	if !l.known {
		end = 0
	}
	for _, g := range l.slots {
		if g.base > end {
			return fmt.Errorf("%w: %s says that record %d was durable, and the log ends with record %d", ErrDamaged, segmentName(g.slot), g.base, end)
		}
	}
	return nil
}

// goOnFrom has read begin at a place in the log, which is in the segment of that index.
func (l *logReader) goOnFrom(first int, at position) {
	l.first, l.last, l.off = first, first, at.off
	l.seq, l.known, l.at, l.segmentAt = at.seq, true, at.last, at.last
}

// readSegment reads groups of records, most of which are single ones. The log ends before a group that is not whole.
func (l *logReader) readSegment(g *segment, from int, f func([]located) error) error {
	g.end = from
	g.flushed.Store(int64(len(g.view))) // until its end is known
	off, seq, known := g.end, l.seq, l.known
	l.list, l.whole = l.list[:0], 0
	for ready := off; ; {
		if off >= ready-prepared {
			g.file.Prepare(ready, 2*prepared)
			ready += 2 * prepared
		}
		r, ok := parse(g.view[off:], g.seed)
		if !ok || known && r.seq() != seq+1 {
			break
		}
		seq, known = r.seq(), true
		l.list = append(l.list, located{record: r, slot: g.slot, off: off})
		off += r.padded()
		if r.more() {
			continue
		}
		l.records += uint64(len(l.list) - l.whole)
		l.bytes += uint64(off - g.end)
		l.seq, l.known, g.end, l.whole = seq, known, off, len(l.list)
		l.segmentAt = off - r.padded()
		if l.whole < listed {
			continue
		}
		if err := f(l.list); err != nil {
			return err
		}
		l.list, l.whole = l.list[:0], 0
	}
	g.flushed.Store(int64(g.end))
	if err := f(l.list[:l.whole]); err != nil {
		return err
	}
	return l.lookBehind(g, off)
}

// lookBehind tells a torn batch, which nobody was told of, from a missing record. A batch is written only after the one before it was
// synced, so a record of a later batch proves that what is missing here had been durable. bad is where the first record lies that does not
// check, in the middle of a group perhaps.
func (l *logReader) lookBehind(g *segment, bad int) error {
	missing := l.seq + 1
	for off := g.end; off+recordHeader <= len(g.view); off += alignment {
		p := g.view[off:]
		n := binary.LittleEndian.Uint32(p[4:])
		if n < recordHeader || int(n) > len(p) || l.known && binary.LittleEndian.Uint64(p[8:]) <= l.seq {
			continue // most of what is there: zeros, and records of an earlier use
		}
		r, ok := parse(p, g.seed)
		if !ok {
			continue
		}
		if !l.known && !g.torn { // the log's first batch: whatever its number is, it is the one that is torn
			missing = r.batch()
		}
		if r.batch() > missing {
			return fmt.Errorf("%w: %s at %#x: record %d does not check, and record %d behind it does", ErrDamaged, segmentName(g.slot), bad, missing+uint64(len(l.list)-l.whole), r.seq())
		}
		g.torn = true
		off += r.padded() - alignment
	}
	if g.torn {
		l.remains++
	}
	return nil
}
