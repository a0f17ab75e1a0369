//go:build long

package engine

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"runtime/debug"
	"testing"
	"time"

	"usui/layer/kv/disk"
)

// TestLongFiftyMillionKeys fills a store with keys of 100 bytes, and opens it again. The index is outside of Go's heap, which the test holds; the
// pauses of the garbage collector and the rate of reading the log it only tells.
func TestLongFiftyMillionKeys(t *testing.T) {
	const (
		keys    = 50_000_000
		heapMax = 256 << 20
	)
	dir := t.TempDir()
	var reports int
	open := func() *Store {
		folder, err := disk.Open(dir, IsOurs, disk.Ordinary)
		if err != nil {
			t.Fatal(err)
		}
		s, err := Open(folder, Options{Now: func() int64 { return time.Now().UnixMilli() }, Progress: func(int64, int64) { reports++ }})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	var key [12]byte
	name := func(i uint64) []byte {
		binary.BigEndian.PutUint64(key[4:], i)
		return key[:]
	}
	heap := func(when string) {
		t.Helper()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		t.Attr("heap "+when, fmt.Sprintf("%d MiB", m.HeapInuse>>20))
		if m.HeapInuse > heapMax {
			t.Errorf("%s: %d MiB of Go's heap are in use, want at most %d", when, m.HeapInuse>>20, heapMax>>20)
		}
	}
	s := open()
	value := make([]byte, 100)
	began := time.Now()
	for i := range uint64(keys) {
		binary.BigEndian.PutUint64(value, i)
		if err := s.Put(name(i), value, 0); err != nil {
			t.Fatal(err)
		}
		if i%64 == 0 {
			s.Collect()
			s.Commit()
		}
	}
	if err := s.Drain(); err != nil {
		t.Fatal(err)
	}
	t.Attr("written", fmt.Sprintf("%.0f k/s", keys/time.Since(began).Seconds()/1000))
	heap("after writing")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open()
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	st := s.Stats()
	if st.Keys != keys || reports == 0 {
		t.Errorf("%d keys after %d reports of progress, want %d", st.Keys, reports, keys)
	}
	t.Attr("checkpoint", fmt.Sprintf("%d MB", st.Loaded/1e6))
	t.Attr("recovery", fmt.Sprintf("%d MB in %.1f s: %.0f MB/s", st.Recovered/1e6, st.RecoveryTime.Seconds(), float64(st.Recovered)/1e6/st.RecoveryTime.Seconds()))
	t.Attr("index", fmt.Sprintf("%d MiB", st.Index>>20))
	heap("after recovery")
	for i := uint64(0); i < keys; i += 997 {
		e, ok := s.Get(name(i))
		if !ok || binary.BigEndian.Uint64(e.Value) != i {
			t.Fatalf("key %d: %t, %x", i, ok, e.Value)
		}
	}
	for range 5 {
		runtime.GC()
	}
	var gc debug.GCStats
	gc.PauseQuantiles = make([]time.Duration, 3)
	debug.ReadGCStats(&gc)
	t.Attr("longest pause", gc.PauseQuantiles[2].String())
	heap("at the end")
}
