//go:build long

package engine

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"testing"
	"time"

	"usui/layer/kv/disk"
)

// TestLongFiftyMillionKeys fills a store with keys of 100 bytes, and opens it twice: from its checkpoint, and without it from the log. The index is outside of Go's heap, which the test holds; the
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
		t.Attr("heap-"+when, fmt.Sprintf("%d MiB", m.HeapInuse>>20))
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
	heap("written")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, from := range []string{"checkpoint", "log"} {
		if from == "log" {
			if err := os.Remove(filepath.Join(dir, checkpointName)); err != nil {
				t.Fatal(err)
			}
		}
		reports = 0
		s = open()
		st := s.Stats()
		if st.Keys != keys || (st.Loaded > 0) != (from == "checkpoint") {
			t.Errorf("%d keys, %d bytes of a checkpoint; want %d from the %s", st.Keys, st.Loaded, keys, from)
		}
		read := st.Loaded + st.Recovered
		t.Attr("opened-from-"+from, fmt.Sprintf("%d MB in %.1f s: %.0f MB/s", read/1e6, st.RecoveryTime.Seconds(), float64(read)/1e6/st.RecoveryTime.Seconds()))
		t.Attr("index", fmt.Sprintf("%d MiB", st.Index>>20))
		heap("opened-from-" + from)
		for i := uint64(0); i < keys; i += 997 {
			e, ok := s.Get(name(i))
			if !ok || binary.BigEndian.Uint64(e.Value) != i {
				t.Fatalf("key %d: %t, %x", i, ok, e.Value)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if reports == 0 {
		t.Error("reading the log was never reported")
	}
	for range 5 {
		runtime.GC()
	}
	var gc debug.GCStats
	gc.PauseQuantiles = make([]time.Duration, 3)
	debug.ReadGCStats(&gc)
	t.Attr("longest-pause", gc.PauseQuantiles[2].String())
	heap("end")
}
