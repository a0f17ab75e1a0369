package guestmem

import (
	"encoding/binary"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

// mustPanic reports an error unless f panics.
func mustPanic(t *testing.T, what string, f func()) {
	t.Helper()
	defer func() {
		if recover() == nil {
			t.Errorf("%s does not panic, want the panic of a slice index", what)
		}
	}()
	f()
}

func TestLoad16AndStore16TouchTwoBytes(t *testing.T) {
	m := newMemory(t, Range{0, pageSize})
	b, _ := m.Slice(0, 8)
	for _, v := range []uint16{0x1234, 0xffff, 0, 0x8000} {
		copy(b, "\xa5\xa5\xa5\xa5\xa5\xa5\xa5\xa5")
		Store16(b, 2, v)
		if got := binary.LittleEndian.Uint16(b[2:]); got != v {
			t.Errorf("Store16(%#x) wrote %#x", v, got)
		}
		if got := Load16(b, 2); got != v {
			t.Errorf("Load16 after Store16(%#x) = %#x", v, got)
		}
		if string(b[:2])+string(b[4:]) != "\xa5\xa5\xa5\xa5\xa5\xa5" {
			t.Errorf("Store16(%#x) changed its neighbours: % x", v, b)
		}
	}
}

func TestAtomicsCheckBounds(t *testing.T) {
	m := newMemory(t, Range{0, pageSize})
	page, _ := m.Slice(0, pageSize)
	b := page[:8] // with room behind it, which must not count
	for _, off := range []int{8, 7, -1, -2, 1 << 40, -1 << 63, 1<<63 - 1} {
		mustPanic(t, "Load16", func() { Load16(b, off) })
		mustPanic(t, "Store16", func() { Store16(b, off, 1) })
	}
	mustPanic(t, "Load16 of nothing", func() { Load16(nil, 0) })
}

// spin waits until cond holds, on machines with one processor too.
func spin(cond func() bool) {
	for i := 0; !cond(); i++ {
		if i%64 == 63 {
			runtime.Gosched()
		}
	}
}

// TestHammerMessagePassing passes numbers through plain bytes that a 16-bit index publishes, as a ring does: once the
// index is seen, the bytes behind it must be, too. The index wraps many times.
func TestHammerMessagePassing(t *testing.T) {
	const slots, messages = 16, 300_000
	m := newMemory(t, Range{0, pageSize})
	ring, _ := m.Slice(0, pageSize)
	produced, consumed := ring[0:2], ring[64:66]
	slot := func(i uint16) []byte { return ring[128+8*int(i%slots):] }

	var threads sync.WaitGroup
	threads.Go(func() {
		for n := range uint64(messages) {
			i := uint16(n)
			spin(func() bool { return i-Load16(consumed, 0) < slots })
			binary.LittleEndian.PutUint64(slot(i), n)
			Store16(produced, 0, i+1)
		}
	})
	bad := 0
	for n := range uint64(messages) {
		i := uint16(n)
		spin(func() bool { return Load16(produced, 0) != i })
		if got := binary.LittleEndian.Uint64(slot(i)); got != n {
			bad++
		}
		Store16(consumed, 0, i+1)
	}
	threads.Wait()
	if bad != 0 {
		t.Errorf("%d of %d messages were not there when their index was", bad, messages)
	}
}

// TestHammerStoreBuffering is the litmus test SB: two threads each store their own flag and then load the other's. With a full
// fence between, at least one of them sees the other; without it both may read 0, on amd64 too.
func TestHammerStoreBuffering(t *testing.T) {
	const rounds = 100_000
	m := newMemory(t, Range{0, pageSize})
	b, _ := m.Slice(0, pageSize)
	flag := [2][]byte{b[0:2], b[512:514]}
	var seen [2]uint16
	var arrived atomic.Int64
	meet := func(phase int64) { // both threads pass the phase together
		arrived.Add(1)
		spin(func() bool { return arrived.Load() >= 2*phase })
	}
	both := 0
	run := func(me int) {
		for r := range int64(rounds) {
			Store16(flag[me], 0, 0)
			meet(3*r + 1)
			Store16(flag[me], 0, 1)
			Fence()
			seen[me] = Load16(flag[1-me], 0)
			meet(3*r + 2)
			if me == 0 && seen[0] == 0 && seen[1] == 0 {
				both++
			}
			meet(3*r + 3)
		}
	}
	var threads sync.WaitGroup
	threads.Go(func() { run(1) })
	run(0)
	threads.Wait()
	if both != 0 {
		t.Errorf("in %d of %d rounds neither thread saw the other's store", both, rounds)
	}
}

func BenchmarkFence(b *testing.B) {
	for b.Loop() {
		Fence()
	}
}
