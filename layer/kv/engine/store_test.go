package engine

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"usui/layer/kv/disk"
	"usui/layer/kv/disktest"
)

func open(t *testing.T, d disk.Folder) *Store {
	t.Helper()
	return openAt(t, d, func() int64 { return 1000 })
}

func openAt(t *testing.T, d disk.Folder, now func() int64) *Store {
	t.Helper()
	s, err := Open(d, Options{SegmentBytes: MinSegment, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() }) // its error is looked at where it matters
	return s
}

func put(t *testing.T, s *Store, key string, value []byte) {
	t.Helper()
	if err := s.Put([]byte(key), value, 0); err != nil {
		t.Fatalf("Put(%q, %d bytes) = %v", key, len(value), err)
	}
}

func drain(t *testing.T, s *Store) {
	t.Helper()
	if err := s.Drain(); err != nil {
		t.Fatal(err)
	}
}

func TestABatchIsOneWriteAndOneSync(t *testing.T) {
	d := disktest.New()
	s := open(t, d)
	s.await()
	writes, syncs := d.Writes, d.Syncs
	for batch := range 10 {
		for i := range 20 {
			put(t, s, fmt.Sprint(batch, i), make([]byte, 100))
		}
		drain(t, s)
	}
	if d.Writes-writes != 10 || d.Syncs-syncs != 10 {
		t.Errorf("10 batches took %d writes and %d syncs, want 10 and 10", d.Writes-writes, d.Syncs-syncs)
	}
}

func TestABatchMayWaitAsLongAsTheLastOneTook(t *testing.T) {
	s := open(t, disktest.New())
	s.await()
	expect := func(when string, want bool) {
		t.Helper()
		if s.canWait() != want {
			t.Errorf("%s: canWait() = %v, want %v", when, !want, want)
		}
	}
	several := func() {
		put(t, s, "a", nil)
		put(t, s, "b", nil)
	}
	several()
	expect("the first batch", false)
	drain(t, s)
	if s.took >= time.Hour {
		t.Errorf("a batch took %v", s.took)
	}
	s.took, s.back = time.Hour, time.Now().Add(time.Hour) // which is not over while the test runs
	expect("an empty batch", false)
	put(t, s, "c", nil)
	expect("a batch just behind one of several that took long", true)
	s.Commit()
	put(t, s, "d", nil)
	expect("a batch behind one that is on its way", false)
	drain(t, s)
	s.took, s.back = time.Hour, time.Now().Add(time.Hour)
	put(t, s, "e", nil)
	expect("a batch behind one of a single record", false)
	several()
	drain(t, s)
	s.took, s.back = 0, time.Now()
	put(t, s, "f", nil)
	expect("a batch behind one that took no time", false)
	s.took, s.back = time.Hour, time.Now().Add(-maxWait)
	expect("a batch that has waited", false)

	s = open(t, disktest.NewMemory())
	several()
	drain(t, s)
	s.took, s.back = time.Hour, time.Now().Add(time.Hour)
	put(t, s, "c", nil)
	expect("a batch in persistent memory", false)
}

func TestNothingIsDurableBeforeItsSync(t *testing.T) {
	d := disktest.New()
	s := open(t, d)
	put(t, s, "a", []byte("1"))
	s.Commit()
	put(t, s, "b", []byte("2"))
	if e, ok := s.Get([]byte("b")); !ok || string(e.Value) != "2" {
		t.Errorf("Get(b) = %q, %v before its batch is written, want 2", e.Value, ok)
	}
	if s.Durable() != 0 || s.Pending([]byte("b")) != 2 {
		t.Errorf("Durable() = %d, Pending(b) = %d; want 0 and 2", s.Durable(), s.Pending([]byte("b")))
	}
	drain(t, s)
	if s.Durable() != 2 {
		t.Errorf("Durable() = %d after Drain, want 2", s.Durable())
	}
}

func TestAFailedSyncSealsTheStore(t *testing.T) {
	for name, inject := range map[string]func(d *disktest.Disk, f func(int64) bool){
		"write": func(d *disktest.Disk, f func(int64) bool) { d.FailWrite = f },
		"sync":  func(d *disktest.Disk, f func(int64) bool) { d.FailSync = f },
	} {
		d := disktest.New()
		s := open(t, d)
		s.await()
		put(t, s, "a", []byte("1"))
		drain(t, s)
		failed := false
		inject(d, func(off int64) bool { failed = failed || off >= headerSize; return off >= headerSize && failed })
		put(t, s, "b", []byte("2"))
		if err := s.Drain(); !errors.Is(err, ErrSealed) {
			t.Errorf("%s: Drain() = %v, want %v", name, err, ErrSealed)
		}
		inject(d, nil) // the disk works again, and must not be believed
		syncs := d.Syncs
		if err := s.Put([]byte("c"), nil, 0); !errors.Is(err, ErrSealed) {
			t.Errorf("%s: Put = %v afterwards, want %v", name, err, ErrSealed)
		}
		if _, err := s.Delete([]byte("a")); !errors.Is(err, ErrSealed) {
			t.Errorf("%s: Delete = %v afterwards, want %v", name, err, ErrSealed)
		}
		s.Commit()
		s.Collect()
		if e, ok := s.Get([]byte("a")); s.Durable() != 1 || d.Syncs != syncs || !ok || string(e.Value) != "1" {
			t.Errorf("%s: Durable() = %d, %d more syncs, Get(a) = %q; want 1, none and 1", name, s.Durable(), d.Syncs-syncs, e.Value)
		}
	}
}

func TestAFullDiskRefusesWritesAndRecovers(t *testing.T) {
	d := disktest.New()
	full := false
	d.Full = func() bool { return full }
	s := open(t, d)
	s.await()
	full = true
	value := bytes.Repeat([]byte("v"), 1000)
	n := 0
	for ; ; n++ {
		err := s.Put([]byte(fmt.Sprint("key", n)), value, 0)
		if errors.Is(err, ErrFull) {
			break
		}
		if err != nil || n > 1000 {
			t.Fatalf("Put number %d = %v, want %v at some time", n, err, ErrFull)
		}
	}
	drain(t, s)
	if e, ok := s.Get([]byte("key0")); !ok || !bytes.Equal(e.Value, value) {
		t.Errorf("Get(key0) = %d bytes, %v on a full disk; want the value", len(e.Value), ok)
	}
	for i := range n { // deletions go on, and make room
		if was, err := s.Delete([]byte(fmt.Sprint("key", i))); !was || err != nil {
			t.Fatalf("Delete(key%d of %d) = %v, %v on a full disk", i, n, was, err)
		}
	}
	for i := range 10 * n { // what is overwritten makes room, too
		put(t, s, fmt.Sprint("key", i%(n/4)), value)
	}
	drain(t, s)
	if st := s.Stats(); st.Compacted == 0 || st.Refused == 0 || st.Segments > 3 {
		t.Errorf("Stats() = %+v; want compaction, a refusal, and no new segment", st)
	}
	full = false
	for i := range 2 * n {
		if err := s.Put([]byte(fmt.Sprint("more", i)), value, 0); err != nil {
			s.failed = s.failed.Add(-retryFull) // the time after which a full disk is tried again
			put(t, s, fmt.Sprint("more", i), value)
		}
	}
}

func TestCompactionKeepsTheLogSmall(t *testing.T) {
	d := disktest.New()
	s := open(t, d)
	want := map[string]byte{}
	random := rand.New(rand.NewPCG(1, 1))
	for i := range 30000 {
		k := fmt.Sprint("key", random.IntN(500))
		if random.IntN(5) == 0 {
			if _, err := s.Delete([]byte(k)); err != nil {
				t.Fatal(err)
			}
			delete(want, k)
		} else {
			put(t, s, k, bytes.Repeat([]byte{byte(i)}, 100))
			want[k] = byte(i)
		}
		if i%20 == 0 {
			s.Commit()
			drain(t, s)
			s.Collect()
		}
	}
	if st := s.Stats(); st.Segments > 12 || st.Compacted == 0 {
		t.Errorf("Stats() = %+v for %d live bytes; want at most 12 segments", st, st.Live)
	}
	drain(t, s)
	again := open(t, d.Crash(1))
	for _, s := range []*Store{s, again} {
		if s.Len() != len(want) {
			t.Errorf("Len() = %d, want %d", s.Len(), len(want))
		}
		for k, v := range want {
			if e, ok := s.Get([]byte(k)); !ok || !bytes.Equal(e.Value, bytes.Repeat([]byte{v}, 100)) {
				t.Errorf("Get(%q) = %d bytes, %v; want 100 times %d", k, len(e.Value), ok, v)
			}
		}
	}
}

// TestDamageIsRefused rots one byte of each record that is not in the last batch.
func TestDamageIsRefused(t *testing.T) {
	d := disktest.New()
	s := open(t, d)
	var offsets []int
	for i := range 8 {
		offsets = append(offsets, s.tail)
		put(t, s, fmt.Sprint("key", i), make([]byte, 50))
		drain(t, s)
	}
	name := segmentName(0)
	for i, off := range offsets[:7] {
		left := d.Crash(0)
		left.Corrupt(name, int64(off+20+i))
		if r, err := Check(left, nil); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), fmt.Sprintf("%s at %#x", name, off)) || r.Records != uint64(i) {
			t.Errorf("record %d: Check = %+v, %v; want %v at %#x", i, r, err, ErrDamaged, off)
		}
		if _, err := Open(left, s.opt); !errors.Is(err, ErrDamaged) || left.Writes != 0 {
			t.Errorf("record %d: Open = %v after %d writes, want %v after none", i, err, left.Writes, ErrDamaged)
		}
	}
	left := d.Crash(0)
	left.Corrupt(name, 3) // one copy of a header is enough
	if r, err := Check(left, nil); err != nil || r.Records != 8 {
		t.Errorf("Check with one copy of a header = %+v, %v; want 8 records", r, err)
	}
	left.Corrupt(name, headerCopy+3)
	if _, err := Check(left, nil); !errors.Is(err, ErrDamaged) {
		t.Errorf("Check without a header = %v, want %v", err, ErrDamaged)
	}
}

// TestALostEndIsRefused loses what the newest segments have, as a disk does that had said it was written.
func TestALostEndIsRefused(t *testing.T) {
	d := disktest.New()
	s, err := Open(d, Options{SegmentBytes: MinSegment, Now: func() int64 { return 1000 }})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 200 {
		put(t, s, fmt.Sprint("key", i), bytes.Repeat([]byte("v"), 1000))
		drain(t, s)
	}
	tail, segments := s.tail, len(s.log)
	if segments < 3 {
		t.Fatalf("%d segments, want 3", segments)
	}
	for _, keep := range []int{0, 1} {
		left := d.Crash(0)
		for slot := keep; slot < segments; slot++ {
			left.Wipe(segmentName(slot), headerSize)
		}
		if r, err := Check(left, nil); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "was durable") {
			t.Errorf("Check of %d segments of %d = %+v, %v; want %v", keep, segments, r, err, ErrDamaged)
		}
		if _, err := Open(left, s.opt); !errors.Is(err, ErrDamaged) || left.Writes != 0 {
			t.Errorf("Open of %d segments of %d = %v after %d writes, want %v after none", keep, segments, err, left.Writes, ErrDamaged)
		}
	}
	last := segmentName(s.log[segments-1].slot)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if r, err := Check(d.Crash(0), nil); err != nil || r.Records != 200 {
		t.Errorf("Check after Close = %+v, %v; want 200 records", r, err)
	}
	left := d.Crash(0)
	left.Wipe(last, tail-500) // in the last record
	if r, err := Check(left, nil); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "record 200 was durable, and the log ends with record 199") {
		t.Errorf("Check without the last record = %+v, %v; want %v", r, err, ErrDamaged)
	}
}

// Commit is Collect's other half of a turn.
func (s *Store) Commit() {
	s.tidy()
	s.hand()
}

// Collect takes what the other goroutines have finished.
func (s *Store) Collect() {
	s.collectBatch()
	s.collectSegments()
	s.collectCheckpoint()
}

func TestTheIndexGrows(t *testing.T) {
	for _, shards := range []int{1, 3} {
		t.Run(fmt.Sprint("shards=", shards), func(t *testing.T) { testTheIndexGrows(t, shards) })
	}
}

func testTheIndexGrows(t *testing.T, shards int) {
	x, err := newStore(nil, Options{Shards: shards})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		for _, h := range x.shards {
			h.index.close() // nothing depends on it
		}
	}()
	const n = 400_000
	random := rand.New(rand.NewPCG(1, 1))
	hashes := make([]uint64, n)
	for i := range hashes {
		hashes[i] = random.Uint64()
		if err := x.indexOf(hashes[i]).insert(hashes[i], address(i+1), i%3 == 0); err != nil {
			t.Fatal(err)
		}
	}
	found := func(i int) bool {
		p := x.indexOf(hashes[i]).find(hashes[i])
		for a, ok := p.next(); ok; a, ok = p.next() {
			if a == address(i+1) {
				return true
			}
		}
		return false
	}
	for i := range hashes {
		if !found(i) {
			t.Fatalf("find(hash %d of %d): not there", i, n)
		}
	}
	seen, expiring := make([]int, n+1), make([]int, n+1)
	for cursor, first := uint64(0), true; first || cursor != 0; first = false {
		x.walkExpiring(cursor, func(a address) { expiring[a]++ })
		cursor = x.walk(cursor, func(a address) { seen[a]++ })
	}
	for i := range n {
		if seen[i+1] != 1 {
			t.Fatalf("walk met entry %d %d times, want once", i, seen[i+1])
		}
		if want := 1 - (i%3+2)/3; expiring[i+1] != want {
			t.Fatalf("walkExpiring met entry %d %d times, want %d", i, expiring[i+1], want)
		}
	}
	for i := 0; i < n; i += 2 {
		p := x.indexOf(hashes[i]).find(hashes[i])
		for a, ok := p.next(); ok; a, ok = p.next() {
			if a == address(i+1) {
				x.indexOf(hashes[i]).remove(&p)
				break
			}
		}
	}
	for i := range n {
		if found(i) != (i%2 == 1) {
			t.Fatalf("after removing every other entry, found(%d) = %v", i, found(i))
		}
	}
	if x.Len() != n/2 {
		t.Errorf("Len() = %d, want %d", x.Len(), n/2)
	}
}

func TestAScanMeetsWhatStays(t *testing.T) {
	s := open(t, disktest.New())
	for i := range 3000 {
		put(t, s, fmt.Sprint("stays", i), nil)
	}
	seen := map[string]bool{}
	for cursor, first, i := uint64(0), true, 0; first || cursor != 0; first, i = false, i+1 {
		cursor = s.Scan(cursor, 10, func(k []byte, _ Entry) { seen[string(k)] = true })
		put(t, s, fmt.Sprint("comes", i), nil)
		if i > 0 {
			if _, err := s.Delete([]byte(fmt.Sprint("comes", i-1))); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i := range 3000 {
		if k := fmt.Sprint("stays", i); !seen[k] {
			t.Errorf("a scan did not meet %q", k)
		}
	}
}

func TestSteadyStateAllocatesNothing(t *testing.T) {
	s := open(t, disktest.New())
	key, value := []byte("key"), make([]byte, 100)
	put(t, s, "key", value)
	if n := testing.AllocsPerRun(100, func() {
		if err := s.Put(key, value, 0); err != nil {
			t.Fatal(err)
		}
		if _, ok := s.Get(key); !ok {
			t.Fatal("Get: not there")
		}
	}); n != 0 {
		t.Errorf("Put and Get allocate %v times, want 0", n)
	}
}

// TestSweepingRemovesWhatExpired has keys of both kinds, of which some are written again with and without an expiry.
func TestSweepingRemovesWhatExpired(t *testing.T) {
	now := int64(1000)
	s := openAt(t, disktest.New(), func() int64 { return now })
	const n = 3000
	key := func(i int) string { return fmt.Sprint("k", i) }
	for i := range n {
		if err := s.Put([]byte(key(i)), nil, []int64{0, 2000, 5000}[i%3]); err != nil {
			t.Fatal(err)
		}
	}
	for i := 0; i < n; i += 6 { // these had none and have one now
		if err := s.Put([]byte(key(i)), nil, 2000); err != nil {
			t.Fatal(err)
		}
	}
	for i := 1; i < n; i += 6 { // and these the other way round
		if err := s.Put([]byte(key(i)), nil, 0); err != nil {
			t.Fatal(err)
		}
	}
	now = 3000
	gone, of := 0, 0
	for cursor, first := uint64(0), true; first || cursor != 0; first = false {
		var g, o int
		cursor, g, o = s.Sweep(cursor, 64) // as often as it takes to come to the end
		gone, of = gone+g, of+o
	}
	if gone != n/3 || of != 2*n/3 || s.Len() != n-gone || s.Expiring() != of-gone {
		t.Errorf("%d keys went of %d, and %d are left, %d with an expiry; want %d, %d, %d, %d", gone, of, s.Len(), s.Expiring(), n/3, 2*n/3, n-n/3, n/3)
	}
}

func TestAValueInPartsIsOne(t *testing.T) {
	d := disktest.New()
	s, err := Open(d, Options{SegmentBytes: MinSegment, Now: func() int64 { return 1000 }})
	if err != nil {
		t.Fatal(err)
	}
	parts := [][]byte{[]byte("one,"), nil, []byte(" two"), []byte(" and three")}
	if err := s.PutParts([]byte("k"), []byte("in parts: "), parts, 0); err != nil {
		t.Fatal(err)
	}
	long := [][]byte{make([]byte, MinSegment/8), make([]byte, MinSegment/8)}
	if err := s.PutParts([]byte("k"), nil, long, 0); !errors.Is(err, ErrTooLong) {
		t.Errorf("PutParts of more than a quarter of a segment = %v, want ErrTooLong", err)
	}
	drain(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, d)
	if e, ok := s.Get([]byte("k")); !ok || string(e.Value) != "in parts: one, two and three" {
		t.Errorf("Get = %q, %v", e.Value, ok)
	}
}

// TestRandomKeysAreEven draws many times from few keys, from more than are counted through, and among expired ones.
func TestRandomKeysAreEven(t *testing.T) {
	now := int64(1000)
	s := openAt(t, disktest.New(), func() int64 { return now })
	draw := func(keys, times int) {
		t.Helper()
		seen := map[string]int{}
		for range times {
			k, ok := s.Random()
			if !ok {
				t.Fatal("Random: no key")
			}
			seen[string(k)]++
		}
		mean := float64(times) / float64(keys)
		for k, n := range seen {
			if d := float64(n) - mean; d*d > 50*mean { // seven standard deviations
				t.Errorf("of %d keys, %s was drawn %d of %d times", keys, k, n, times)
			}
		}
		if len(seen) != keys {
			t.Errorf("%d keys were drawn, want all %d", len(seen), keys)
		}
	}
	if k, ok := s.Random(); ok {
		t.Errorf("Random of an empty store = %q", k)
	}
	for i := range 10 {
		put(t, s, fmt.Sprint("k", i), nil)
	}
	draw(10, 2_000)
	for i := range 3 * fewEntries {
		put(t, s, fmt.Sprint("k", i), nil)
	}
	draw(3*fewEntries, 100*fewEntries)
	for i := range 3 * fewEntries {
		if err := s.Put(fmt.Append(nil, "k", i), nil, []int64{2000, 0}[i/(3*fewEntries-2)]); err != nil {
			t.Fatal(err)
		}
	}
	now = 3000
	draw(2, 200)
}

// TestALostBeginningIsRefused takes the records of the oldest segment away: all, or all but those of its last batch.
func TestALostBeginningIsRefused(t *testing.T) {
	for _, what := range []string{"all", "all but the last"} {
		d := disktest.New()
		s := open(t, d)
		last := 0
		for i := range 400 {
			if len(s.log) == 1 {
				last = s.last
			}
			put(t, s, fmt.Sprint("k", i), make([]byte, 500))
			drain(t, s)
		}
		if len(s.log) < 2 {
			t.Fatal("the log is one segment")
		}
		left := d.Crash(0)
		if what == "all" {
			left.Wipe(segmentName(s.log[0].slot), headerSize)
		} else {
			f, err := left.Open(segmentName(s.log[0].slot))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteAt(make([]byte, last-headerSize), headerSize); err != nil {
				t.Fatal(err)
			}
			if err := f.Sync(); err != nil {
				t.Fatal(err)
			}
		}
		if s, err := Open(left, Options{SegmentBytes: MinSegment, Now: func() int64 { return 1000 }}); !errors.Is(err, ErrDamaged) {
			t.Errorf("without %s: Open = %v, want %v", what, err, ErrDamaged)
			if err == nil {
				s.Close()
			}
		}
		if _, err := Check(left, nil); !errors.Is(err, ErrDamaged) {
			t.Errorf("without %s: Check = %v, want %v", what, err, ErrDamaged)
		}
	}
}

// TestAFullDiskIsGoneOnWith has compaction take the last spare for the first record of a segment that is all live, on a disk that gives no more room, while one key is written: what is garbage
// by then has to be enough for ever.
func TestAFullDiskIsGoneOnWith(t *testing.T) {
	d, made := disktest.New(), 0
	d.Full = func() bool { made++; return made > 4 }
	s := open(t, d)
	value := make([]byte, 1000)
	for i := 0; s.log[0] == s.log[len(s.log)-1]; i++ {
		put(t, s, fmt.Sprint("cold", i), value)
		s.Collect()
		s.Commit()
	}
	hot := func() error { return s.Put([]byte("hot"), value, 0) }
	for len(s.log) < 3 || s.await() || s.fits(opPut, 1100) { // until the next record needs a segment, of which there is one
		if err := hot(); err != nil {
			t.Fatal(err)
		}
		s.hand()
		s.wait()
	}
	if s.step(1); len(s.spares) != 0 || s.victim.segment != s.log[0] || s.victim.done {
		t.Fatalf("%d spares are left, and the victim is %+v; want none, and the oldest segment in part", len(s.spares), s.victim)
	}
	for i := range 1000 {
		if err := hot(); err != nil {
			t.Fatalf("write %d, with %d bytes live and %d of garbage: %v", i, s.live.Load(), s.garbage(), err)
		}
		s.hand()
		s.wait()
	}
	drain(t, s)
}
