package engine

import (
	"encoding/binary"
	"errors"
	"hash/crc32"

	"usui/layer/kv/disk"
)

// When a checkpoint is made: after so many bytes of the log, or, if that is more, such a part of what is live. At the end of a store it is
// made if there is more to read than such a part of the index: to load a table takes less than to read its records.
const (
	checkpointEvery = 256 << 20
	checkpointShare = 4
)

// removedLimit is how many bytes of removed entries may wait for the saver, before writing waits for it, too.
const removedLimit = 4 << 20

// capture is the index as it is at one moment, while it is copied bit by bit and goes on changing. A table is copied as it is when its turn
// comes. What was put after the moment is left out when the checkpoint is loaded: it is told by its address. What was removed or replaced after the
// moment, in a table not copied yet, is noted, at most once for each key that was there. So the sum is exact, and no table is copied in haste
// because somebody writes to it.
//
// A table that is split is copied as two, or was copied as one: the cursor goes by tags, as that of a scan does.
type capture struct {
	active    bool // from begin until the saver has ended the file, one way or the other
	busy      bool // the saver has something to do
	abandoned bool
	head      checkpoint
	cursor    uint64 // first tag of the first table that was not copied
	numbers   uint64 // of segments: those below are before the moment; that of head.at is this one
	removed   []byte // entries, as the file has them
	spare     []byte // what removed is exchanged for when the saver gets it
	table     []byte // the copy; the saver has it while it is busy
	unsaved   int64  // bytes of the log since the last moment
}

// position is the end of the log.
func (s *Store) position() position {
	g, off := s.log[len(s.log)-1], s.tail
	if g.torn {
		off = g.end
	}
	return position{g.slot, off, s.seq.Load(), s.last}
}

// due says whether it is time for a checkpoint. None is made at the start of a segment: whoever reads the log without it may write that one anew.
func (s *Store) due() bool {
	every := int64(checkpointEvery)
	if s.opt.every > 0 {
		every = s.opt.every
	}
	c := &s.capture
	return !c.active && s.Sealed() == nil && s.last != 0 && c.unsaved >= max(every, s.live.Load()/checkpointShare)
}

// beginCheckpoint chooses the moment: after the last record. No group is open.
func (s *Store) beginCheckpoint() {
	c := &s.capture
	at := s.position()
	var marks []byte
	for _, g := range s.log {
		m := mark{g.slot, g.epoch, g.live.Load(), g.end, g.collections, g.placed}
		if g.slot == at.slot {
			m.end = at.off
		}
		marks = m.append(marks)
	}
	*c = capture{
		active: true, busy: true, numbers: s.log[len(s.log)-1].number, removed: c.removed[:0], spare: c.spare, table: c.table,
		head: checkpoint{segmentBytes: s.opt.SegmentBytes, key: s.key, at: at},
	}
	if c.table == nil {
		c.table = make([]byte, tableBytes)
	}
	var alive []byte
	for c := range s.collections.all() {
		alive = binary.NativeEndian.AppendUint64(alive, c.id)
	}
	s.saves <- save{begin: true, parts: [2]part{{kind: partSegments, content: marks}, {kind: partAlive, content: alive}}}
}

// replaces notes the entry that next returned, which is about to change.
func (s *Store) replaces(p *place) {
	c := &s.capture
	if !c.active || p.tag < c.cursor {
		return
	}
	e := p.t.words[p.at-1]
	if g, off := s.locate(addressIn(e)); g.number > c.numbers || g.number == c.numbers && off >= c.head.at.off {
		return // it came after the moment
	}
	s.removing.Lock()
	defer s.removing.Unlock()
	c.removed = binary.NativeEndian.AppendUint64(c.removed, e)
	c.removed = binary.NativeEndian.AppendUint64(c.removed, uint64(p.bucket))
	if len(c.removed) >= removedLimit {
		s.crowded.Store(true)
	}
}

// boundRemoved waits for the saver if too much was removed. No walk along entries is under way.
func (s *Store) boundRemoved() {
	for c := &s.capture; len(c.removed) >= removedLimit && c.active && s.Sealed() == nil; {
		if c.busy {
			s.saved(<-s.results)
		}
		s.goOn()
	}
}

// checkpointWaits says that collectCheckpoint has something to do.
func (s *Store) checkpointWaits() bool {
	c := &s.capture
	return c.active && (c.busy && len(s.results) > 0 || !c.busy && (c.abandoned || c.cursor < 1<<tagBits || s.durable.Load() >= c.head.at.seq))
}

// collectCheckpoint takes what the saver has done, and goes on.
func (s *Store) collectCheckpoint() {
	c := &s.capture
	if !c.active {
		return
	}
	if c.busy {
		select {
		case r := <-s.results:
			s.saved(r)
		default:
			return
		}
	}
	s.goOn()
}

// goOn gives the idle saver the next thing to do, if there is one.
func (s *Store) goOn() {
	c := &s.capture
	switch {
	case !c.active:
		return
	case c.abandoned || s.Sealed() != nil:
		s.saves <- save{abandon: true}
	case c.cursor < 1<<tagBits:
		t := s.indexOf(c.cursor << tagShift).tableOf(c.cursor << tagShift)
		copy(c.table, t.memory)
		s.saves <- save{parts: [2]part{
			{kind: partTable, prefix: uint32(c.cursor), depth: uint32(t.depth), content: c.table},
			{kind: partRemoved, content: c.removed},
		}}
		c.removed, c.spare = c.spare[:0], c.removed
		s.crowded.Store(false)
		c.cursor += 1 << (tagBits - t.depth)
	case s.durable.Load() >= c.head.at.seq: // else it would tell of what a crash can take back
		s.saves <- save{commit: &c.head}
	default:
		return
	}
	c.busy = true
}

// saved takes note of what the saver did. A checkpoint that cannot be written is none: the log is there, and the one before.
func (s *Store) saved(r saved) {
	c := &s.capture
	c.busy = false
	s.stats.CheckpointSyncs += r.syncs
	switch {
	case r.err != nil:
		s.stats.CheckpointsFailed++
		s.endCheckpoint()
	case r.done:
		if r.made {
			s.stats.Checkpoints++
		}
		s.endCheckpoint()
	}
}

// endCheckpoint gives the memory back.
func (s *Store) endCheckpoint() {
	s.capture = capture{unsaved: s.capture.unsaved}
	s.crowded.Store(false)
}

// finishCheckpoint waits for the one that is being made.
func (s *Store) finishCheckpoint() {
	for c := &s.capture; c.active; {
		if !c.busy {
			if !c.abandoned {
				_ = s.Drain() // what fails seals the store, and a sealed store abandons its checkpoint
			}
			s.goOn()
		}
		s.saved(<-s.results)
	}
}

// abandonCheckpoint waits until the one that is being made has given its room back. A group may be open.
func (s *Store) abandonCheckpoint() {
	s.capture.abandoned = true
	s.finishCheckpoint()
}

// lastCheckpoint is for a store that ends: what is in it is durable. One that a fault of the device interrupted in the middle of a write has an
// index that does not know what the log has.
func (s *Store) lastCheckpoint() {
	c := &s.capture
	s.abandonCheckpoint()
	if s.Sealed() == nil && s.last != 0 && s.unapplied.Load() == 0 && c.unsaved > int64(s.indexBytes())/checkpointShare {
		s.beginCheckpoint()
		s.finishCheckpoint()
	}
}

// save is something for the saver to do.
type save struct {
	begin, abandon bool
	parts          [2]part // those without content are none
	commit         *checkpoint
}

// saved is what came of it.
type saved struct {
	done  bool // the file is ended
	made  bool // and it is a checkpoint
	syncs uint64
	err   error
}

// saver is the goroutine that writes checkpoints.
type saver struct {
	saves   chan save
	results chan saved
}

func (v *saver) start(folder disk.Folder, notify func()) {
	v.saves, v.results = make(chan save, 1), make(chan saved, 1)
	go v.run(folder, notify)
}

// run ends when saves is closed.
func (v *saver) run(folder disk.Folder, notify func()) {
	w := checkpointWriter{folder: folder}
	for j := range v.saves {
		v.results <- w.do(j)
		notify()
	}
	close(v.results)
}

// end ends the goroutine and waits for that. No checkpoint is being made.
func (v *saver) end() {
	if v.saves == nil {
		return
	}
	close(v.saves)
	for range v.results {
	}
}

// syncEvery is how many bytes of a checkpoint are synced at a time: all of them at once would keep the syncs of the log waiting for long.
const syncEvery = 8 << 20

// checkpointWriter writes one file after the other.
type checkpointWriter struct {
	folder   disk.Folder
	file     disk.Replacement
	off      int64
	unsynced int64
	sum      uint32
}

func (w *checkpointWriter) do(j save) (r saved) {
	if j.begin {
		var err error
		*w = checkpointWriter{folder: w.folder, off: headerCopy}
		if w.file, err = w.folder.Replace(checkpointName); err != nil {
			return saved{err: err}
		}
	}
	r.err = w.write(j, &r)
	if r.err != nil && !r.done {
		r.err = errors.Join(r.err, w.file.Abandon())
	}
	return r
}

func (w *checkpointWriter) write(j save, r *saved) error {
	if j.abandon {
		r.done = true
		return w.file.Abandon()
	}
	for _, p := range j.parts {
		if len(p.content) == 0 {
			continue
		}
		h := p.head()
		w.sum = crc32.Update(w.sum, castagnoli, h[:4])
		for _, b := range [...][]byte{h, p.content} {
			if _, err := w.file.WriteAt(b, w.off); err != nil {
				return err
			}
			w.off += int64(len(b))
			w.unsynced += int64(len(b))
		}
	}
	if w.unsynced >= syncEvery {
		w.unsynced = 0
		r.syncs++
		if err := w.file.Sync(); err != nil {
			return err
		}
	}
	if j.commit == nil {
		return nil
	}
	header := make([]byte, headerCopy)
	copy(header, j.commit.encode(w.off, w.sum))
	if _, err := w.file.WriteAt(header, 0); err != nil {
		return err
	}
	r.done, r.made = true, true // Commit ends the file, whether it fails or not
	r.syncs += 2                // of the file, and of the folder
	return w.file.Commit()
}
