package engine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"sync"
	"testing"

	"usui/layer/kv/collection"
	"usui/layer/kv/disktest"
)

func openShards(t *testing.T, d *disktest.Disk, shards int) *Store {
	t.Helper()
	s, err := Open(d, Options{SegmentBytes: MinSegment, Now: func() int64 { return 1000 }, Shards: shards})
	if err != nil {
		t.Fatalf("Open with %d shards: %v", shards, err)
	}
	return s
}

// TestAStoreOpensWithAnyNumberOfShards writes with one number and reads with another, from the log and from a checkpoint: tables are taken apart, or put together.
func TestAStoreOpensWithAnyNumberOfShards(t *testing.T) {
	for _, checkpoint := range []bool{false, true} {
		d, want := disktest.New(), map[string]string{}
		for round, shards := range []int{4, 1, 2, 64, 3, 1, 1} {
			s := openShards(t, d, shards)
			if n := len(s.shards); n < shards || n > 2*shards-1 {
				t.Errorf("%d shards, want %d or a few more", n, shards)
			}
			if loaded := s.stats.Loaded > 0; loaded != (checkpoint && round > 0) {
				t.Errorf("a checkpoint was loaded: %v", loaded)
			}
			for i := range 300 {
				key := fmt.Sprint("key", round, ":", i)
				put(t, s, key, []byte(key))
				want[key] = key
			}
			set := s.NewCollection(collection.Set)
			for _, member := range []string{"a", "b", "c"} {
				if err := s.PutElement(set, []byte(member), nil); err != nil {
					t.Fatal(err)
				}
			}
			if err := s.PutCollection(fmt.Append(nil, "set", round), set, 5000); err != nil {
				t.Fatal(err)
			}
			gone := fmt.Sprint("key", round, ":", 7)
			if was, err := s.Delete([]byte(gone)); !was || err != nil {
				t.Fatal(was, err)
			}
			delete(want, gone)
			if checkpoint {
				s.beginCheckpoint()
				put(t, s, gone, []byte("again"))
				want[gone] = "again"
				s.finishCheckpoint()
			}
			for key, value := range want {
				if e, ok := s.Get([]byte(key)); !ok || string(e.Value) != value {
					t.Fatalf("with %d shards Get(%q) = %q, %v; want %q", shards, key, e.Value, ok, value)
				}
			}
			for r := range round + 1 {
				if e, ok := s.Get(fmt.Append(nil, "set", r)); !ok || e.Collection.Elements.Len() != 3 {
					t.Errorf("with %d shards set%d is there: %v", shards, r, ok)
				}
			}
			seen := map[string]bool{}
			for cursor, first := uint64(0), true; first || cursor != 0; first = false {
				cursor = s.Scan(cursor, 10, func(key []byte, _ Entry) { seen[string(key)] = true })
			}
			if all := len(want) + round + 1; len(seen) != all || s.Len() != all || s.Expiring() != round+1 {
				t.Errorf("with %d shards %d keys are met, %d counted, %d with an expiry; want %d, and %d", shards, len(seen), s.Len(), s.Expiring(), all, round+1)
			}
			if key, ok := s.Random(); !ok || !seen[string(key)] {
				t.Errorf("Random() = %q, %v", key, ok)
			}
			if err := balance(s); err != nil {
				t.Error(err)
			}
			drain(t, s)
			d = d.Crash(uint64(round)) // an end in order would write a checkpoint
			s.Close()                  // of a disk that is of no interest any more
		}
	}
}

// TestShardsShareOneLog has goroutines write keys of their shards, and groups of two shards, while others make batches durable and compact. A crash at the end leaves all
// that was durable, and groups as a whole.
func TestShardsShareOneLog(t *testing.T) {
	const writers, rounds, keys = 4, 400, 40
	d := disktest.New()
	s := openShards(t, d, 4)
	syncs, batches := d.Syncs, s.stats.Batches
	var house sync.RWMutex // to have it alone is to have the whole store
	var all sync.WaitGroup
	var last [writers]map[string]string
	for n := range writers {
		last[n] = map[string]string{}
		all.Go(func() { // ends after its rounds
			way, random := s.Share(func() int64 { return 1000 }), rand.New(rand.NewPCG(uint64(n), 9))
			for i := range rounds {
				a, b, value := fmt.Sprint(n, "a", random.IntN(keys)), fmt.Sprint(n, "b", random.IntN(keys)), fmt.Sprintf("%0*d", 1+random.IntN(100), i)
				house.RLock()
				if err := writePair(way, a, b, value); err != nil {
					t.Error(err)
				}
				last[n][a], last[n][b] = value, value
				way.Advance(random.IntN(2) == 0)
				untended := way.Untended()
				house.RUnlock()
				if untended || random.IntN(50) == 0 {
					house.Lock()
					way.Tend()
					house.Unlock()
				}
			}
		})
	}
	all.Wait()
	drain(t, s)
	if got, want := d.Syncs-syncs, s.stats.Batches-batches; uint64(got) < want || s.stats.Batches >= s.stats.Records {
		t.Errorf("%d batches of %d records, %d syncs", want, s.stats.Records, got)
	}
	if s.stats.Compacted == 0 {
		t.Error("nothing was compacted")
	}
	if err := balance(s); err != nil {
		t.Error(err)
	}
	again := openShards(t, d.Crash(1), 2)
	defer again.Close() // nothing depends on it
	defer s.Close()
	for n := range last {
		for key, value := range last[n] {
			if e, ok := again.Get([]byte(key)); !ok || string(e.Value) != value {
				t.Errorf("Get(%q) = %q, %v; want %q", key, e.Value, ok, value)
			}
		}
	}
	if again.Last() != s.Last() {
		t.Errorf("the log ends with record %d, want %d", again.Last(), s.Last())
	}
}

// writePair gives two keys one value, in one group, and reads them back.
func writePair(s *Store, a, b, value string) error {
	s.Lock(s.Shard([]byte(a)) | s.Shard([]byte(b)))
	defer s.Unlock()
	if err := s.Begin(Room(len(a), len(value)) + Room(len(b), len(value))); err != nil {
		return err
	}
	defer s.End()
	for _, key := range []string{a, b} {
		if err := s.Put([]byte(key), []byte(value), 0); err != nil {
			return err
		}
		if e, ok := s.Get([]byte(key)); !ok || string(e.Value) != value || s.Pending([]byte(key)) <= s.Durable() {
			return fmt.Errorf("Get(%q) = %q, %v, pending %d with %d durable; want %q", key, e.Value, ok, s.Pending([]byte(key)), s.Durable(), value)
		}
	}
	return nil
}

// TestAShardHasAKeyAlone locks the shard of one key: a second way to the store gets at keys of others, and only of others.
func TestAShardHasAKeyAlone(t *testing.T) {
	s := openShards(t, disktest.New(), 4)
	defer s.Close() // nothing depends on it
	a, b := []byte("a"), []byte("b")
	for s.Shard(b) == s.Shard(a) {
		b = append(b, 'b')
	}
	first, second := s.Share(s.now), s.Share(s.now)
	first.Lock(s.Shard(a))
	second.Lock(s.Shard(b))
	if err := second.Put(b, b, 0); err != nil {
		t.Error(err)
	}
	second.Unlock()
	done := make(chan error)
	go func() { // ends when first lets go
		second.Lock(s.Shard(a))
		defer second.Unlock()
		done <- second.Put(a, []byte("second"), 0)
	}()
	if err := first.Put(a, []byte("first"), 0); err != nil {
		t.Error(err)
	}
	if e, ok := first.Get(a); !ok || string(e.Value) != "first" {
		t.Errorf("Get = %q, %v", e.Value, ok)
	}
	first.Unlock()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if e, ok := s.Get(a); !ok || string(e.Value) != "second" {
		t.Errorf("Get = %q, %v; want what was written last", e.Value, ok)
	}
	defer func() {
		if recover() == nil {
			t.Error("a key of a shard that was not locked could be read")
		}
	}()
	first.Lock(s.Shard(a))
	defer first.Unlock()
	first.Get(b)
}

// TestShardsWithoutKeysTakeNoMemory counts what the process has, and what is allocated: neither an empty store, nor one that was emptied, nor a log that empties it often has
// more than a table for each shard, and the kernel gives no more of that than was touched.
func TestShardsWithoutKeysTakeNoMemory(t *testing.T) {
	d := disktest.New()
	s := openShards(t, d, MaxShards)
	allocated := func() (n int) {
		for _, h := range s.shards {
			n += h.index.pool.bytes
		}
		return n
	}
	first := make([]*byte, len(s.shards))
	for i, h := range s.shards {
		first[i] = &h.index.tables[0].memory[0]
		p := h.index.tables[0].memory
		if present := presentPages(t, p); present > 0 {
			t.Errorf("%d pages of shard %d are there", present, i)
		}
	}
	if n, want := allocated(), MaxShards*tableBytes; n != want {
		t.Errorf("an empty store allocated %d bytes, want %d", n, want)
	}
	for i := range 1000 {
		put(t, s, fmt.Sprint("key", i), nil)
	}
	if err := s.shards[3].index.split(3 << (64 - s.skip)); err != nil {
		t.Fatal(err)
	}
	for range 50 {
		if err := s.Clear(); err != nil {
			t.Fatal(err)
		}
	}
	check := func(when string) {
		if n, want := allocated(), MaxShards*tableBytes; n != want || s.Len() != 0 {
			t.Errorf("%s: %d bytes, %d keys; want %d and none", when, n, s.Len(), want)
		}
		present := 0
		for _, h := range s.shards {
			present += presentPages(t, h.index.tables[0].memory)
		}
		if present > 10 { // a few were read, of the kernel's zeros
			t.Errorf("%s: %d pages are there", when, present)
		}
	}
	check("emptied")
	for i, h := range s.shards {
		if &h.index.tables[0].memory[0] != first[i] {
			t.Errorf("shard %d took other memory to be emptied", i) // which there may not be
		}
	}
	put(t, s, "key", []byte("value"))
	if e, ok := s.Get([]byte("key")); !ok || string(e.Value) != "value" || s.Len() != 1 {
		t.Errorf("Get = %q, %v of %d keys", e.Value, ok, s.Len())
	}
	if err := s.Clear(); err != nil {
		t.Fatal(err)
	}
	drain(t, s)
	again := openShards(t, d.Crash(1), MaxShards)
	s.Close() // nothing depends on it
	s = again
	check("opened")
	s.Close() // nothing depends on it
}

// presentPages is how many pages of memory the process has.
func presentPages(t *testing.T, p []byte) (n int) {
	t.Helper()
	f, err := os.Open("/proc/self/pagemap")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() // it was only read
	size := os.Getpagesize()
	entries := make([]byte, len(p)/size*8)
	if _, err := f.ReadAt(entries, int64(reflect.ValueOf(p).Pointer())/int64(size)*8); err != nil {
		t.Fatal(err)
	}
	for ; len(entries) > 0; entries = entries[8:] {
		if binary.NativeEndian.Uint64(entries)>>62 != 0 { // in memory, or swapped
			n++
		}
	}
	return n
}

// TestAWalkLeavesOutShardsWithoutKeys counts the steps of a walk that meets one key among many shards, from cursors of any number of shards; the key is met by all that begin before it.
func TestAWalkLeavesOutShardsWithoutKeys(t *testing.T) {
	s := openShards(t, disktest.New(), MaxShards)
	defer s.Close() // nothing depends on it
	put(t, s, "key", nil)
	has := s.numberOf(s.hash([]byte("key")))
	for shard := range MaxShards {
		for _, bucket := range []uint64{0, 5, buckets - 1} {
			met, steps, cursor := 0, 0, s.begins(shard)|bucket
			for {
				cursor = s.walk(cursor, func(address) { met++ })
				if steps++; cursor == 0 {
					break
				}
			}
			if most := buckets + MaxShards; steps > most || shard < int(has) && met != 1 || shard > int(has) && met != 0 {
				t.Errorf("a walk from shard %d bucket %d met the key of shard %d %d times in %d steps, want %d at most", shard, bucket, has, met, steps, most)
			}
		}
	}
	for range 100 {
		if key, ok := s.Random(); !ok || string(key) != "key" {
			t.Fatalf("Random() = %q, %v", key, ok)
		}
	}
}

// TestARandomKeyIsOfEachShardAsOftenAsItHasKeys has one shard with many keys, and two with few.
func TestARandomKeyIsOfEachShardAsOftenAsItHasKeys(t *testing.T) {
	const tries = 3000
	s := openShards(t, disktest.New(), 4)
	defer s.Close() // nothing depends on it
	want := []int{1500, 500, 0, 1000}
	missing := slices.Clone(want)
	for i := 0; slices.Max(missing) > 0; i++ {
		key := fmt.Sprint("key", i)
		if n := s.numberOf(s.hash([]byte(key))); missing[n] > 0 {
			missing[n]--
			put(t, s, key, nil)
		}
	}
	var got [4]int
	met := map[string]bool{}
	for range tries {
		key, ok := s.Random()
		if !ok {
			t.Fatal("there is no key")
		}
		got[s.numberOf(s.hash(key))]++
		met[string(key)] = true
	}
	for n := range want {
		if expected := want[n] * tries / s.Len(); got[n] < expected*3/4 || got[n] > expected*5/4 {
			t.Errorf("a key of shard %d, which has %d of %d, came %d times of %d", n, want[n], s.Len(), got[n], tries)
		}
	}
	if len(met) < s.Len()/2 { // 0.63 of them are to be expected
		t.Errorf("%d of %d keys came", len(met), s.Len())
	}
}

// TestASweepLeavesOutShardsWithoutAnExpiry has one key expire among many shards, of which all have others.
func TestASweepLeavesOutShardsWithoutAnExpiry(t *testing.T) {
	now := int64(1000)
	s, err := Open(disktest.New(), Options{SegmentBytes: MinSegment, Now: func() int64 { return now }, Shards: MaxShards})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close() // nothing depends on it
	for i := range 1000 {
		put(t, s, fmt.Sprint("key", i), nil)
	}
	for range 20 {
		if err := s.Put([]byte("key1"), nil, now+1); err != nil {
			t.Fatal(err)
		}
		shards := s.Sweeps()
		if len(shards) != 1 {
			t.Fatalf("%d shards have keys with an expiry, want 1", len(shards))
		}
		now++
		sweeps := 0
		for ; s.Expiring() > 0; sweeps++ {
			s.SweepShard(shards[0], buckets/4)
		}
		if sweeps > 5 { // a quarter of the shard at a time, wherever the first began
			t.Errorf("the key went after %d sweeps", sweeps)
		}
	}
	if len(s.Sweeps()) != 0 || s.Len() != 999 {
		t.Errorf("%d shards have keys with an expiry, and there are %d keys; want none, and 999", len(s.Sweeps()), s.Len())
	}
}

// TestAStuckCompactionWaitsUntilSomethingIsFreed fills a disk with what is live but for a little, so that the oldest segment's copy has no room.
func TestAStuckCompactionWaitsUntilSomethingIsFreed(t *testing.T) {
	d, full := disktest.New(), false
	d.Full = func() bool { return full }
	s := openShards(t, d, 2)
	defer s.Close() // nothing depends on it
	s.await()
	full = true
	value := make([]byte, 1000)
	keys := 0
	for ; ; keys++ {
		err := s.Put(fmt.Append(nil, "key", keys), value, 0)
		if errors.Is(err, ErrFull) {
			break
		}
		if err != nil || keys > 1000 {
			t.Fatal(keys, err)
		}
	}
	drain(t, s)
	for s.rotate(0) { // the last spare is for compaction, which has had it
	}
	s.tail = s.opt.SegmentBytes
	if s.step(s.opt.SegmentBytes) {
		t.Fatal("there was room for a copy")
	}
	if s.Untended() {
		t.Error("a compaction that has no room asks for the whole store")
	}
	if was, err := s.Delete([]byte("key0")); was || err == nil { // there is no room for its record: it is taken out as what expires is
		t.Fatal(was, err)
	}
	hash := s.hash([]byte("key0"))
	p, r := s.lookup(hash, []byte("key0"))
	s.drop(&p, r)
	if !s.Untended() {
		t.Error("a compaction does not go on though something was freed")
	}
}
