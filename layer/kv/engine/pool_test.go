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
	if len(l.maps) != 3 {
		t.Errorf("%d allocations for %d tables at a time", len(l.maps), 2*poolTables+1)
	}
	if err := l.close(); err != nil {
		t.Error(err)
	}
}
