package engine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"usui/layer/kv/collection"
	"usui/layer/kv/disktest"
)

// rewrite changes the checkpoint on a disk, if there is a whole one, so that it checks again.
func rewrite(t *testing.T, d *disktest.Disk, change func(c *checkpoint, files *segments)) {
	t.Helper()
	if d.Size(checkpointName) == 0 {
		return
	}
	c, err := decodeCheckpoint(d.Content(checkpointName))
	if err != nil {
		return
	}
	files, err := openSegments(d)
	if err != nil {
		t.Fatal(err)
	}
	change(c, &files)
	var marks []byte
	for _, m := range c.marks {
		marks = m.append(marks)
	}
	w := checkpointWriter{folder: d}
	jobs := []save{{begin: true, parts: [2]part{{kind: partSegments, content: marks}}}}
	for _, p := range c.parts {
		jobs = append(jobs, save{parts: [2]part{p}})
	}
	for _, j := range append(jobs, save{commit: c}) {
		if r := w.do(j); r.err != nil {
			t.Fatal(r.err)
		}
	}
}

// TestTheCrashTestNoticesAWrongCheckpoint has checkpoints that check and are such as one would be that was made or loaded wrongly.
func TestTheCrashTestNoticesAWrongCheckpoint(t *testing.T) {
	for name, change := range map[string]func(c *checkpoint, files *segments){
		"that keeps entries of segments used again": keepUsedAgain,
		"whose place is after the copy": func(c *checkpoint, files *segments) {
			g := files.slots[c.at.slot]
			for range 10 {
				r, ok := parse(g.view[c.at.off:], g.seed)
				if !ok || r.seq() != c.at.seq+1 {
					break
				}
				c.at.seq, c.at.last, c.at.off = r.seq(), c.at.off, c.at.off+r.padded()
			}
			for i := range c.marks {
				if c.marks[i].slot == c.at.slot {
					c.marks[i].end = c.at.off
				}
			}
		},
		"without what was removed": func(c *checkpoint, _ *segments) {
			c.parts = slices.DeleteFunc(c.parts, func(p part) bool { return p.kind == partRemoved })
		},
		"that knows of no collections": func(c *checkpoint, _ *segments) {
			for i := range c.marks {
				c.marks[i].collections = false
			}
		},
	} {
		var err error
		for seed := uint64(0); seed < 10 && err == nil; seed++ {
			err = crashes(seed, 100, disktest.New(), new(met), func(d *disktest.Disk) { rewrite(t, d, change) })
		}
		if err == nil {
			t.Errorf("a checkpoint %s: no violation found, want one", name)
		} else {
			t.Logf("a checkpoint %s: %v", name, err)
		}
	}
}

// TestEntriesOfSegmentsUsedAgainAreDropped has segments be compacted and used again after a checkpoint.
func TestEntriesOfSegmentsUsedAgainAreDropped(t *testing.T) {
	d := disktest.New()
	s := checkpointOf(t, d)
	was := slices.Clone(s.log)
	last := was[len(was)-1].number
	for used := false; !used; used = slices.ContainsFunc(was, func(g *segment) bool { return s.log[len(s.log)-1] == g && g.number > last }) {
		if s.await(); !s.compactOldest() || s.log[0].number == last {
			t.Fatal("no segment was used again")
		}
		for i := range 300 {
			put(t, s, fmt.Sprint("key", i), make([]byte, 100))
		}
		drain(t, s)
	}
	again := open(t, d.Crash(1))
	if again.stats.Loaded == 0 || again.Len() != s.Len() || again.live.Load() != s.live.Load() {
		t.Errorf("Stats() = %+v; want a checkpoint, %d keys and %d bytes live", again.Stats(), s.Len(), s.live.Load())
	}
	if err := balance(again); err != nil {
		t.Error(err)
	}
	left := d.Crash(1)
	rewrite(t, left, keepUsedAgain)
	if _, err := Check(left, nil); !errors.Is(err, ErrDamaged) {
		t.Errorf("with the entries of earlier uses: Check = %v, want %v", err, ErrDamaged)
	}
}

// keepUsedAgain makes entries be kept that lead to an earlier use of a segment.
func keepUsedAgain(c *checkpoint, files *segments) {
	for i, m := range c.marks {
		if m.slot < len(files.slots) && files.slots[m.slot].state == inLog {
			c.marks[i].epoch = files.slots[m.slot].epoch
		}
	}
}

// checkpointOf makes a checkpoint of a store with many keys of both kinds, and writes some more.
func checkpointOf(t *testing.T, d *disktest.Disk) *Store {
	t.Helper()
	s := open(t, d)
	for i := range 12000 {
		put(t, s, fmt.Sprint("key", i), []byte(fmt.Sprint(i)))
	}
	c := s.NewCollection(collection.Hash)
	for i := range 10 {
		if err := s.PutElement(c, fmt.Append(nil, i), []byte("v")); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.PutCollection([]byte("hash"), c, 0); err != nil {
		t.Fatal(err)
	}
	for i := range 2000 {
		put(t, s, fmt.Sprint("last", i), nil)
	}
	if err := spread(s); err != nil {
		t.Fatal(err)
	}
	s.beginCheckpoint()
	put(t, s, "key1", []byte("after"))
	s.finishCheckpoint()
	put(t, s, "key2", []byte("later"))
	drain(t, s)
	return s
}

func TestOpeningReadsTheLogFromACheckpointOn(t *testing.T) {
	d := disktest.New()
	s := checkpointOf(t, d)
	left := d.Crash(1)
	again := open(t, left)
	if st := again.Stats(); st.Loaded == 0 || st.Recovered != uint64(2*pad(recordHeader+4+5)) || again.Len() != s.Len() || again.live.Load() != s.live.Load() || again.used != s.used || again.key != s.key {
		t.Errorf("Stats() = %+v; want a checkpoint and two records of %d keys, %d live bytes of %d", st, s.Len(), s.live.Load(), s.used)
	}
	if err := balance(again); err != nil {
		t.Error(err)
	}
	for k, want := range map[string]string{"key0": "0", "key1": "after", "key2": "later", "key2999": "2999"} {
		if e, ok := again.Get([]byte(k)); !ok || string(e.Value) != want {
			t.Errorf("Get(%q) = %q, %v; want %q", k, e.Value, ok, want)
		}
	}
	if e, ok := again.Get([]byte("hash")); !ok || e.Collection.Elements.Len() != 10 {
		t.Errorf("Get(hash) = %+v, %v; want 10 fields", e, ok)
	}
	if r, err := Check(left, nil); err != nil || r.Ignored != nil || r.Checkpoint != s.Last()-2 {
		t.Errorf("Check = %+v, %v; want a checkpoint of record %d", r, err, s.Last()-2)
	}
}

// TestACheckpointThatDoesNotCheckIsIgnored rots, cuts and exchanges files.
func TestACheckpointThatDoesNotCheckIsIgnored(t *testing.T) {
	d := disktest.New()
	s := checkpointOf(t, d)
	for name, spoil := range map[string]func(left *disktest.Disk){
		"of zeros":           func(left *disktest.Disk) { overwrite(t, left, make([]byte, 2*headerCopy)) },
		"of nothing":         func(left *disktest.Disk) { overwrite(t, left, nil) },
		"that is cut":        func(left *disktest.Disk) { overwrite(t, left, d.Content(checkpointName)[:2*tableBytes]) },
		"with a rotten head": func(left *disktest.Disk) { left.Corrupt(checkpointName, 50) },
		"with a rotten end":  func(left *disktest.Disk) { left.Corrupt(checkpointName, left.Size(checkpointName)-1) },
		"of another log": func(left *disktest.Disk) {
			other := disktest.New()
			checkpointOf(t, other)
			overwrite(t, left, other.Content(checkpointName))
		},
		"of another place": func(left *disktest.Disk) {
			rewrite(t, left, func(c *checkpoint, _ *segments) { c.at.seq += 5 })
		},
		"of other tables": func(left *disktest.Disk) {
			rewrite(t, left, func(c *checkpoint, _ *segments) { c.parts[0].depth++ })
		},
		"with a loop": func(left *disktest.Disk) {
			rewrite(t, left, func(c *checkpoint, _ *segments) {
				words := slices.Clone(c.parts[0].content)
				words[entries*8], words[overflowWord(1)*8+entries*8] = 1, 1
				c.parts[0].content = words
			})
		},
	} {
		left := d.Crash(1)
		spoil(left)
		if r, err := Check(left, nil); err != nil && !errors.Is(err, errTables) || err == nil && r.Ignored == nil {
			t.Errorf("a checkpoint %s: Check = %+v, %v; want to hear of it", name, r, err)
		}
		again := open(t, left)
		if st := again.Stats(); st.CheckpointIgnored != 1 || st.Loaded != 0 || again.Len() != s.Len() || again.live.Load() != s.live.Load() {
			t.Errorf("a checkpoint %s: Stats() = %+v; want it ignored, and %d keys", name, st, s.Len())
		}
		if err := balance(again); err != nil {
			t.Errorf("a checkpoint %s: %v", name, err)
		}
	}
}

func overwrite(t *testing.T, d *disktest.Disk, p []byte) {
	t.Helper()
	f, err := d.Replace(checkpointName)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(p, 0); err != nil {
		t.Fatal(err)
	}
	if err := f.Commit(); err != nil {
		t.Fatal(err)
	}
}

// TestCheckNoticesACheckpointThatLies has a checkpoint that Open would believe.
func TestCheckNoticesACheckpointThatLies(t *testing.T) {
	d := disktest.New()
	checkpointOf(t, d)
	for name, change := range map[string]func(c *checkpoint, files *segments){
		"about live bytes":  func(c *checkpoint, _ *segments) { c.marks[0].live -= 8 },
		"about collections": func(c *checkpoint, _ *segments) { c.marks[0].collections = !c.marks[0].collections },
		"about an end":      func(c *checkpoint, _ *segments) { c.marks[0].end -= 64 },
		"about its key":     func(c *checkpoint, _ *segments) { c.key[0]++ },
		"about what went":   func(c *checkpoint, _ *segments) { c.parts = slices.DeleteFunc(c.parts, removes) },
	} {
		left := d.Crash(1)
		rewrite(t, left, change)
		if r, err := Check(left, nil); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), checkpointName) {
			t.Errorf("a checkpoint that lies %s: Check = %+v, %v; want %v", name, r, err, ErrDamaged)
		}
	}
}

func removes(p part) bool { return p.kind == partRemoved }

// TestARottenRecordIsNoCrash has a record rot that a checkpoint keeps Open from reading.
func TestARottenRecordIsNoCrash(t *testing.T) {
	d := disktest.New()
	s := checkpointOf(t, d)
	_, r := s.lookup(s.hash([]byte("key7")), []byte("key7"))
	g := s.log[0]
	for off := headerSize; ; off += record(g.view[off:]).padded() {
		if string(record(g.view[off:]).key()) == "key7" {
			d.Corrupt(segmentName(g.slot), int64(off+6)) // a length of four megabytes
			break
		}
	}
	again := open(t, d.Crash(1))
	if _, ok := again.Get([]byte("key7")); ok || !errors.Is(again.Sealed(), ErrSealed) || again.Stats().Loaded == 0 {
		t.Errorf("Get(key7) = %v, sealed: %v; want nothing, and a sealed store (record %v)", ok, again.Sealed(), r.seq())
	}
	again.Scan(0, 1<<20, func(k []byte, _ Entry) {
		if string(k) == "key7" {
			t.Error("a scan met the rotten record")
		}
	})
	if err := again.Put([]byte("key8"), nil, 0); !errors.Is(err, ErrSealed) {
		t.Errorf("Put = %v afterwards, want %v", err, ErrSealed)
	}
}

// TestACheckpointComesByItself writes until one is due, and closes a store that has more to say.
func TestACheckpointComesByItself(t *testing.T) {
	d := disktest.New()
	s, err := Open(d, Options{SegmentBytes: MinSegment, every: 100_000, Now: func() int64 { return 1000 }})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 10_000 {
		put(t, s, fmt.Sprint("key", i%3000), make([]byte, 60))
		s.Commit()
		s.Collect()
	}
	s.finishCheckpoint()
	drain(t, s)
	if st := s.Stats(); st.Checkpoints == 0 || st.Checkpoints > 11 || st.CheckpointSyncs < 2*st.Checkpoints || st.CheckpointsFailed != 0 {
		t.Errorf("Stats() = %+v after %d bytes; want at least one checkpoint, at most 11, each with two syncs", st, st.BytesAppended)
	}
	for i := range 10_000 {
		put(t, s, fmt.Sprint("key", i%3000), make([]byte, 60))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again := open(t, d)
	if st := again.Stats(); st.Loaded == 0 || st.Recovered != 0 || st.Keys != 3000 {
		t.Errorf("after Close: Stats() = %+v; want 3000 keys of a checkpoint, and no record behind it", st)
	}
}

// TestACheckpointThatCannotBeWrittenIsNone has each step fail; the one before stays.
func TestACheckpointThatCannotBeWrittenIsNone(t *testing.T) {
	for _, step := range []string{"write", "sync", "name"} {
		d := disktest.New()
		s := checkpointOf(t, d)
		before := d.Content(checkpointName)
		d.Replacing = func(now string) error {
			if now == step {
				return disktest.ErrInjected
			}
			return nil
		}
		s.beginCheckpoint()
		s.finishCheckpoint()
		if st := s.Stats(); st.CheckpointsFailed != 1 || st.Checkpoints != 1 || s.Sealed() != nil {
			t.Errorf("%s fails: Stats() = %+v, sealed: %v; want one that failed, and nothing else", step, st, s.Sealed())
		}
		if got := d.Content(checkpointName); !slices.Equal(got, before) {
			t.Errorf("%s fails: the checkpoint before is not there any more", step)
		}
		d.Replacing = nil
		s.beginCheckpoint()
		if s.finishCheckpoint(); s.Stats().Checkpoints != 2 {
			t.Errorf("%s works again: %+v, want another checkpoint", step, s.Stats())
		}
	}
}

// TestACheckpointWaitsForItsRecords has the last batch before it wait for its sync.
func TestACheckpointWaitsForItsRecords(t *testing.T) {
	d := disktest.New()
	s := checkpointOf(t, d)
	written, release := make(chan bool), make(chan bool)
	d.Written = func() { written <- true; <-release }
	put(t, s, "key3", nil)
	s.beginCheckpoint()
	s.hand()
	<-written
	for c := &s.capture; c.cursor < 1<<tagBits || c.busy; {
		s.saved(<-s.results)
		s.goOn()
	}
	if s.goOn(); s.capture.busy || s.stats.Checkpoints != 1 {
		t.Error("a checkpoint is committed before its records are durable")
	}
	d.Written = nil
	release <- true
	if s.finishCheckpoint(); s.stats.Checkpoints != 2 {
		t.Errorf("%d checkpoints, want 2", s.stats.Checkpoints)
	}
}

func TestClearAbandonsACheckpoint(t *testing.T) {
	d := disktest.New()
	s := checkpointOf(t, d)
	s.beginCheckpoint()
	if err := s.Clear(); err != nil {
		t.Fatal(err)
	}
	put(t, s, "key3", nil)
	s.finishCheckpoint()
	drain(t, s)
	again := open(t, d.Crash(1))
	if s.stats.Checkpoints != 1 || again.Len() != 1 {
		t.Errorf("%d checkpoints, then %d keys; want 1 and 1", s.stats.Checkpoints, again.Len())
	}
}

// TestWritingBesideACheckpoint has a saver that is slower than the writer: what is noted for it stays bounded, and a batch is one write and
// one sync as ever.
func TestWritingBesideACheckpoint(t *testing.T) {
	d := disktest.New()
	s := open(t, d)
	const n = 300_000
	key := make([]byte, 0, 16)
	for i := range n {
		if err := s.Put(fmt.Appendf(key[:0], "%d", i), nil, 0); err != nil {
			t.Fatal(err)
		}
	}
	drain(t, s)
	s.beginCheckpoint()
	s.saved(<-s.results) // and nobody gives it anything to do but who has to wait
	most := 0
	for i := range n {
		if err := s.Put(fmt.Appendf(key[:0], "%d", i), nil, 0); err != nil {
			t.Fatal(err)
		}
		most = max(most, len(s.capture.removed))
	}
	if most != removedLimit {
		t.Errorf("%d bytes of entries were noted at once, want %d", most, removedLimit)
	}
	s.finishCheckpoint()
	s.await()
	writes, syncs := d.Writes, d.Syncs
	s.beginCheckpoint()
	put(t, s, "0", nil)
	drain(t, s)
	put(t, s, "1", nil)
	s.finishCheckpoint()
	if d.Writes-writes != 2 || d.Syncs-syncs != 2 {
		t.Errorf("2 batches beside a checkpoint took %d writes and %d syncs of the log, want 2 and 2", d.Writes-writes, d.Syncs-syncs)
	}
	again := open(t, d.Crash(1))
	if again.Len() != n || again.live.Load() != s.live.Load() || again.stats.Loaded == 0 {
		t.Errorf("after a restart %d keys, %d bytes live, %d bytes loaded; want %d, %d and some", again.Len(), again.live.Load(), again.stats.Loaded, n, s.live.Load())
	}
	if err := balance(again); err != nil {
		t.Error(err)
	}
}

// FuzzOpenFromACheckpoint has checkpoints that check and say anything: each patch of ten bytes is where, and a word. What comes out may be wrong,
// and does not crash.
func FuzzOpenFromACheckpoint(f *testing.F) {
	d := disktest.New()
	s, err := Open(d, Options{SegmentBytes: MinSegment, Now: func() int64 { return 1000 }})
	if err != nil {
		f.Fatal(err)
	}
	c := s.NewCollection(collection.Set)
	for _, err := range []error{
		s.PutElement(c, []byte("e"), nil), s.PutCollection([]byte("s"), c, 0), s.Put([]byte("k"), []byte("v"), 5000), s.Put([]byte("l"), []byte("v"), 0),
	} {
		if err != nil {
			f.Fatal(err)
		}
	}
	s.beginCheckpoint()
	for _, k := range []string{"k", "m"} {
		if err := s.Put([]byte(k), []byte("w"), 0); err != nil {
			f.Fatal(err)
		}
	}
	s.finishCheckpoint()
	first := slices.IndexFunc(s.shards[0].index.tables[0].words, func(w uint64) bool { return w != 0 })
	patch := func(where uint16, word uint64) []byte {
		return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint16(nil, where), word)
	}
	f.Add([]byte{})
	f.Add(patch(0, 8))
	f.Add(patch(6, 1))
	f.Add(patch(0x8000|uint16(first), s.shards[0].index.tables[0].words[first]+1))
	f.Add(patch(0x4000, 7))
	f.Add([]byte("1A00\x00\x00\x00\x00\x00\x00")) // an entry that no key leads to any more
	if err := s.Drain(); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		left := d.Crash(1)
		rewrite(t, left, func(c *checkpoint, _ *segments) {
			for i := range c.parts {
				c.parts[i].content = slices.Clone(c.parts[i].content)
			}
			for ; len(p) >= 10; p = p[10:] {
				where, word := binary.LittleEndian.Uint16(p), binary.LittleEndian.Uint64(p[2:])
				switch content := c.parts[int(where>>14)%len(c.parts)].content; {
				case where&0x8000 != 0 || where>>14 == 1 && len(content) > 0:
					at := int(where&0x3fff) * 8 % len(content)
					binary.NativeEndian.PutUint64(content[at:], word)
				case where%8 == 0:
					c.at.off = int(word % MinSegment)
				case where%8 == 1:
					c.at.seq = word
				case where%8 == 2:
					c.at.last = int(word)
				case where%8 == 3:
					c.at.slot = int(word % 3)
				case where%8 == 4:
					c.marks[0].end = int(word % MinSegment)
				case where%8 == 5:
					c.marks[0].live = int64(word)
				case where%8 == 6:
					c.marks[0].collections = word%2 == 0
				default:
					c.key[0] = word
				}
			}
		})
		if _, err := Check(left, nil); err != nil && !errors.Is(err, ErrDamaged) && !errors.Is(err, errTables) {
			t.Errorf("Check = %v", err)
		}
		s := open(t, left)
		var keys [][]byte
		for cursor, first := uint64(0), true; first || cursor != 0; first = false {
			cursor = s.Scan(cursor, 10, func(k []byte, e Entry) {
				keys = append(keys, slices.Clone(k))
				read(s, e)
			})
		}
		for i, k := range append(keys, []byte("k"), []byte("s")) {
			e, ok := s.Get(k)
			var err error
			switch {
			case ok && e.Collection != nil:
				err = s.PutElement(e.Collection, k, nil)
			case i%2 == 0:
				_, err = s.Delete(k)
			default:
				err = s.Put(k, nil, 0)
			}
			if err != nil && !errors.Is(err, ErrSealed) {
				t.Fatal(err)
			}
		}
		if s.Drain() == nil && s.await() && s.rotate(0) {
			s.compactOldest()
		}
		s.Sweep(0, buckets)
	})
}

// TestNoCheckpointAtTheStartOfASegment rotates by a group that writes nothing: who reads the log without the checkpoint may write that segment anew.
func TestNoCheckpointAtTheStartOfASegment(t *testing.T) {
	s := open(t, disktest.New())
	for i := 0; s.tail+MinSegment/4 <= s.opt.SegmentBytes-s.opt.SegmentBytes/reserve; i++ {
		put(t, s, fmt.Sprint("key", i), make([]byte, 1000))
	}
	drain(t, s)
	s.await()
	if err := s.Begin(MinSegment / 4); err != nil {
		t.Fatal(err)
	}
	s.End()
	s.opt.every = 1
	if s.tail != headerSize || s.due() {
		t.Errorf("at %d, due() = %v; want the start of a segment, and none due", s.tail, s.due())
	}
	put(t, s, "key", nil)
	if !s.due() {
		t.Error("none is due behind the first record")
	}
}

// TestTheLastRecordIsKnownAfterOpening is what a checkpoint is compared with that is made before anything is written.
func TestTheLastRecordIsKnownAfterOpening(t *testing.T) {
	d := disktest.New()
	s := open(t, d)
	for i := range 200 {
		put(t, s, fmt.Sprint("key", i), make([]byte, 1000))
	}
	drain(t, s)
	old := d.Crash(1)
	put(t, s, "key0", []byte("later"))
	drain(t, s)
	left := d.Crash(1)
	again := open(t, left)
	if again.last != s.last || s.last == 0 {
		t.Errorf("the last record is at %d, want %d", again.last, s.last)
	}
	again.beginCheckpoint()
	again.finishCheckpoint()
	overwrite(t, old, left.Content(checkpointName))
	if s := open(t, old); s.Len() != 200 || s.Stats().CheckpointIgnored != 1 {
		t.Errorf("an older log beside the checkpoint has %d keys, %+v; want 200, and the checkpoint ignored", s.Len(), s.Stats())
	}
}

// TestACheckpointLeavesDeadCollectionsAlone has elements in the log whose collections are gone.
func TestACheckpointLeavesDeadCollectionsAlone(t *testing.T) {
	d := disktest.New()
	s := open(t, d)
	for i := range 20 {
		c := s.NewCollection(collection.Set)
		for n := range 10 {
			if err := s.PutElement(c, fmt.Append(nil, "element", n), nil); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.PutCollection([]byte("set"), c, 0); err != nil {
			t.Fatal(err)
		}
		if i == 18 {
			if _, err := s.Delete([]byte("set")); err != nil {
				t.Fatal(err)
			}
		}
	}
	drain(t, s)
	s.beginCheckpoint()
	s.finishCheckpoint()
	left := d.Crash(0)
	files, err := openSegments(left)
	if err != nil {
		t.Fatal(err)
	}
	c, err := decodeCheckpoint(left.Content(checkpointName))
	if err != nil {
		t.Fatal(err)
	}
	r, err := newStore(left, Options{SegmentBytes: MinSegment, Limits: collection.DefaultLimits()})
	if err != nil {
		t.Fatal(err)
	}
	r.slots.Store(&files.slots)
	r.log = files.log
	defer r.shards[0].index.close() // nothing depends on it
	if _, err := r.resume(c, &files); err != nil || r.collections.len() != 1 || r.lastID != s.lastID {
		t.Errorf("%d collections, %d the last, %v; want 1 and %d", r.collections.len(), r.lastID, err, s.lastID)
	}
}

// TestACheckpointGivesItsRoomToWrites has one take the last of it.
func TestACheckpointGivesItsRoomToWrites(t *testing.T) {
	d := disktest.New()
	s := open(t, d)
	for i := range 60 {
		put(t, s, fmt.Sprint("key", i), make([]byte, 1000))
	}
	drain(t, s)
	s.await()
	s.beginCheckpoint()
	s.saved(<-s.results)
	d.Full = func() bool { return d.Replacements > 0 }
	for i := range 400 {
		put(t, s, fmt.Sprint("more", i), make([]byte, 1000))
	}
	if s.capture.active {
		t.Error("the checkpoint goes on")
	}
}
