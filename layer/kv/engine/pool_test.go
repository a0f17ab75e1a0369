package engine

import (
	"bytes"
	"testing"
)

func TestTablesComeZeroed(t *testing.T) {
	var l pool
	zeros := make([]byte, tableBytes)
	var taken [][]byte
	for round := range 3 {
		for i := range 2*poolTables + 1 {
			p, err := l.take()
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(p, zeros) {
				t.Fatalf("round %d: table %d is not zeroed", round, i)
			}
			p[0], p[len(p)-1] = 1, 1 // also where a neighbour's would begin
			taken = append(taken, p)
		}
		for _, p := range taken {
			if p[0] != 1 || p[len(p)-1] != 1 {
				t.Fatal("two tables share memory")
			}
			l.give(p)
		}
		taken = taken[:0]
	}
	if want := 7; len(l.maps) != want || l.bytes != 48*tableBytes { // 1, 1, 2, 4, 8, 16 and 16 tables
		t.Errorf("%d allocations of %d bytes for %d tables at a time, want %d", len(l.maps), l.bytes, 2*poolTables+1, want)
	}
	if p, err := l.again(); err != nil || !bytes.Equal(p, zeros) || len(l.maps) != 1 || l.bytes != tableBytes || len(l.used)+len(l.fresh) != 0 {
		t.Errorf("again: %d allocations of %d bytes, %v; want that of one zeroed table", len(l.maps), l.bytes, err)
	}
	if err := l.close(); err != nil {
		t.Error(err)
	}
}
