package engine

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"usui/layer/kv/disk"
	"usui/layer/kv/disktest"
)

func open(t *testing.T, d disk.Folder) *Store {
	t.Helper()
	s, err := Open(d, Options{SegmentBytes: MinSegment, Now: func() int64 { return 1000 }})
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

func TestNothingIsDurableBeforeItsSync(t *testing.T) {
	d := disktest.New()
	s := open(t, d)
	put(t, s, "a", []byte("1"))
	s.Commit(false)
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
		s.Commit(false)
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
			s.Commit(false)
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

func TestTheIndexGrows(t *testing.T) {
	x, err := newIndex()
	if err != nil {
		t.Fatal(err)
	}
	defer x.close()
	const n = 400_000
	random := rand.New(rand.NewPCG(1, 1))
	hashes := make([]uint64, n)
	for i := range hashes {
		hashes[i] = random.Uint64()
		if err := x.insert(hashes[i], address(i+1)); err != nil {
			t.Fatal(err)
		}
	}
	found := func(i int) bool {
		p := x.find(hashes[i])
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
	seen := make([]int, n+1)
	for cursor, first := uint64(0), true; first || cursor != 0; first = false {
		cursor = x.walk(cursor, func(a address) { seen[a]++ })
	}
	for i := range n {
		if seen[i+1] != 1 {
			t.Fatalf("walk met entry %d %d times, want once", i, seen[i+1])
		}
	}
	for i := 0; i < n; i += 2 {
		p := x.find(hashes[i])
		for a, ok := p.next(); ok; a, ok = p.next() {
			if a == address(i+1) {
				x.remove(&p)
				break
			}
		}
	}
	for i := range n {
		if found(i) != (i%2 == 1) {
			t.Fatalf("after removing every other entry, found(%d) = %v", i, found(i))
		}
	}
	if x.count != n/2 {
		t.Errorf("count = %d, want %d", x.count, n/2)
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

func TestACommitThatWaitsIsDurable(t *testing.T) {
	d := disktest.New()
	s := open(t, d)
	put(t, s, "a", nil)
	s.Commit(true)
	if s.Durable() != 1 || !s.Idle() {
		t.Errorf("Durable() = %d after a Commit that waits, want 1", s.Durable())
	}
	put(t, s, "b", nil)
	d.FailSync = func(off int64) bool { return off >= headerSize }
	s.Commit(true)
	if s.Durable() != 1 || !errors.Is(s.Sealed(), ErrSealed) {
		t.Errorf("Durable() = %d after a Commit that failed, Sealed() = %v; want 1 and %v", s.Durable(), s.Sealed(), ErrSealed)
	}
}
