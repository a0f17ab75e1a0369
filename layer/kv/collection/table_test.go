package collection

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
)

// TestATableIsAMap does anything to a table and to a map, and compares.
func TestATableIsAMap(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	table, want := New(Hash, DefaultLimits()).(*Table), map[string]uint64{}
	for i := range uint64(200_000) {
		key := fmt.Append(nil, random.IntN(1+int(i%3000)))
		old, next := want[string(key)], i+1
		switch {
		case i/20_000%2 == 0 && random.IntN(3) > 0:
			if got := table.Set(key, nil, next); got != old {
				t.Fatalf("Set(%s) = %d, want %d", key, got, old)
			}
			want[string(key)] = next
		default:
			if got := table.Remove(key); got != old {
				t.Fatalf("Remove(%s) = %d, want %d", key, got, old)
			}
			delete(want, string(key))
		}
		if got := table.Find(key); got != want[string(key)] || table.Len() != len(want) {
			t.Fatalf("Find(%s) = %d, Len() = %d; want %d and %d", key, got, table.Len(), want[string(key)], len(want))
		}
	}
	seen := 0
	table.Each(func(key string, at uint64) bool {
		if k, a := table.At(seen); want[key] != at || k != key || a != at {
			t.Errorf("Each calls with %q, %d; want %d", key, at, want[key])
		}
		seen++
		return seen < 3
	})
	if want := min(3, table.Len()); seen != want {
		t.Errorf("Each called %d times, want %d", seen, want)
	}
}

// TestAScanMeetsAllThatStays removes and adds between the steps of a scan.
func TestAScanMeetsAllThatStays(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 1))
		table := New(Set, DefaultLimits()).(*Table)
		for i := range 100 {
			table.Set(fmt.Append(nil, "stays", i), nil, 1)
			table.Set(fmt.Append(nil, "goes", i), nil, 1)
		}
		met := map[string]bool{}
		for cursor, first := 0, true; first || cursor != 0; first = false {
			low, high := table.Scan(uint64(cursor), 1+random.IntN(20))
			for i := low; i < high; i++ {
				key, _ := table.At(i)
				met[key] = true
			}
			cursor = low
			for range random.IntN(30) {
				table.Remove(fmt.Append(nil, "goes", random.IntN(100)))
				table.Set(fmt.Append(nil, "comes", random.IntN(1000)), nil, 1)
				table.Remove(fmt.Append(nil, "comes", random.IntN(1000)))
			}
		}
		for i := range 100 {
			if k := fmt.Sprint("stays", i); !met[k] {
				t.Errorf("seed %d: the scan did not meet %s", seed, k)
			}
		}
	}
	table := New(Set, DefaultLimits()).(*Table)
	if low, high := table.Scan(1<<63, 10); low != 0 || high != 0 {
		t.Errorf("Scan of nothing = %d, %d; want none", low, high)
	}
}

func TestATableGivesMemoryBack(t *testing.T) {
	used := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	table := New(Set, DefaultLimits()).(*Table)
	before := used()
	const n = 200_000
	for i := range n {
		table.Set(fmt.Append(nil, "member", i), nil, 1)
	}
	full := used() - before
	for i := range n - 10 {
		table.Remove(fmt.Append(nil, "member", i))
	}
	if left := used() - before; left > full/100 {
		t.Errorf("%d bytes are used by 10 members of %d, which had %d; want at most a hundredth", left, n, full)
	}
	runtime.KeepAlive(table)
}

func TestEncodings(t *testing.T) {
	limits := DefaultLimits()
	long := make([]byte, limits.HashValue+1)
	for _, tt := range []struct {
		kind Kind
		fill func(t *Table)
		want string
	}{
		{Hash, func(*Table) {}, "listpack"},
		{Hash, func(t *Table) { t.Set([]byte("f"), long[1:], 1) }, "listpack"},
		{Hash, func(t *Table) { t.Set([]byte("f"), long, 1); t.Set([]byte("f"), nil, 1) }, "hashtable"},
		{Hash, func(t *Table) { t.Set(long, nil, 1); t.Remove(long) }, "hashtable"},
		{Hash, func(t *Table) { numbers(t, limits.HashEntries) }, "listpack"},
		{Hash, func(t *Table) { numbers(t, limits.HashEntries+1) }, "hashtable"},
		{Set, func(t *Table) { numbers(t, limits.SetEntries) }, "intset"},
		{Set, func(t *Table) { numbers(t, limits.SetEntries+1) }, "hashtable"},
		{Set, func(t *Table) { t.Set([]byte("-9223372036854775808"), nil, 1) }, "intset"},
		{Set, func(t *Table) { t.Set([]byte("9223372036854775808"), nil, 1) }, "hashtable"},
		{Set, func(t *Table) { t.Set([]byte("01"), nil, 1) }, "hashtable"},
		{Set, func(t *Table) { t.Set(nil, nil, 1) }, "hashtable"},
	} {
		table := New(tt.kind, limits).(*Table)
		if tt.fill(table); table.Encoding() != tt.want {
			t.Errorf("Encoding() = %s of a %v with %d elements, want %s", table.Encoding(), tt.kind, table.Len(), tt.want)
		}
	}
}

func numbers(t *Table, n int) {
	for i := range n {
		t.Set(fmt.Append(nil, i), nil, 1)
	}
}
