package guestmem

import (
	"math"
	"slices"
	"testing"
)

func TestContains(t *testing.T) {
	r := Range{0x1000, 0x1000}
	tests := []struct {
		name   string
		gpa, n uint64
		want   bool
	}{
		{"all", 0x1000, 0x1000, true},
		{"last byte", 0x1fff, 1, true},
		{"nothing at the start", 0x1000, 0, true},
		{"nothing at the end", 0x2000, 0, true},
		{"nothing behind the end", 0x2001, 0, false},
		{"nothing before the start", 0xfff, 0, false},
		{"before", 0xfff, 2, false},
		{"crosses the end", 0x1fff, 2, false},
		{"behind", 0x2000, 1, false},
		{"longer", 0x1000, 0x1001, false},
		{"sum wraps to inside", 0x1800, math.MaxUint64 - 0x100, false},
		{"longest", 0x1000, math.MaxUint64, false},
		{"highest address", math.MaxUint64, 1, false},
	}
	for _, tt := range tests {
		if got := r.Contains(tt.gpa, tt.n); got != tt.want {
			t.Errorf("%s: Contains(%#x, %#x) = %t, want %t", tt.name, tt.gpa, tt.n, got, tt.want)
		}
	}
}

func TestRangeCheck(t *testing.T) {
	tests := []struct {
		r  Range
		ok bool
	}{
		{Range{0, pageSize}, true},
		{Range{1<<63 - pageSize, pageSize}, true},
		{Range{0, 0}, false},
		{Range{1, pageSize}, false},
		{Range{0, pageSize + 1}, false},
		{Range{1 << 63, pageSize}, false},
		{Range{math.MaxUint64 - pageSize + 1, pageSize}, false},
		{Range{math.MaxUint64 - pageSize + 1, 2 * pageSize}, false},
	}
	for _, tt := range tests {
		if err := tt.r.check(); (err == nil) != tt.ok {
			t.Errorf("%v.check() = %v, want ok %t", tt.r, err, tt.ok)
		}
	}
}

func TestLayoutLeavesTheHole(t *testing.T) {
	tests := []struct {
		size uint64
		want []Range
	}{
		{1 * gib, []Range{{0, 1 * gib}}},
		{3 * gib, []Range{{0, 3 * gib}}},
		{3*gib + pageSize, []Range{{0, 3 * gib}, {4 * gib, pageSize}}},
		{8 * gib, []Range{{0, 3 * gib}, {4 * gib, 5 * gib}}},
	}
	for _, tt := range tests {
		if got := layout(tt.size, 0, 3*gib, 4*gib); !slices.Equal(got, tt.want) {
			t.Errorf("layout(%#x) = %v, want %v", tt.size, got, tt.want)
		}
	}
}

// TestLayoutIsAccepted holds on both architectures: what Layout says, New takes, and no byte is lost.
func TestLayoutIsAccepted(t *testing.T) {
	for _, size := range []uint64{pageSize, 64 << 20, 3 * gib, 5 * gib} {
		sum, err := total(Layout(size))
		if sum != size || err != nil {
			t.Errorf("total(Layout(%#x)) = %#x, %v, want all of it", size, sum, err)
		}
	}
	if _, err := total(Layout(0)); err == nil {
		t.Error("total(Layout(0)) succeeds, want an error")
	}
}
