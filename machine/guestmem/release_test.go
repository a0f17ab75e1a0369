package guestmem

import (
	"bytes"
	"errors"
	"math"
	"testing"

	"golang.org/x/sys/unix"
)

// held is how many bytes of the host the memory file takes.
func held(t *testing.T, m *Memory) int64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Fstat(int(m.File().Fd()), &st); err != nil {
		t.Fatal(err)
	}
	return st.Blocks * 512
}

func fill(t *testing.T, m *Memory) {
	t.Helper()
	for _, r := range m.Regions() {
		b, err := m.Slice(r.Start, r.Size)
		if err != nil {
			t.Fatal(err)
		}
		b[0] = 0xaa
		for i := 1; i < len(b); i *= 2 {
			copy(b[i:], b[:i])
		}
	}
}

// TestReleaseGivesWholePagesBack looks at the file and at every byte, with small pages and with those that Populate collapsed.
func TestReleaseGivesWholePagesBack(t *testing.T) {
	tests := []struct {
		name           string
		gpa, n         uint64
		first, release uint64 // what becomes a hole, in pages of the second region
	}{
		{"a page", 16<<20 + 5*pageSize, pageSize, 5, 1},
		{"pages", 16<<20 + 5*pageSize, 7 * pageSize, 5, 7},
		{"parts of pages at both ends", 16<<20 + 5*pageSize - 1, 7*pageSize + 2, 5, 7},
		{"no whole page", 16<<20 + 1, 2*pageSize - 2, 0, 0},
		{"nothing", 16 << 20, 0, 0, 0},
		{"2 MiB", 18 << 20, 2 << 20, 512, 512},
		{"all", 16 << 20, 8 << 20, 0, 2048},
	}
	for _, populated := range []bool{false, true} {
		for _, tt := range tests {
			m := newMemory(t, Range{0, pageSize}, Range{16 << 20, 8 << 20}) // in the file, the second begins at a page
			if m.PageSize() != pageSize {
				t.Skipf("need pages-of-4KiB: this host has pages of %d bytes", m.PageSize())
			}
			if populated {
				if err := m.Populate(16<<20, 8<<20); err != nil {
					t.Fatal(err)
				}
			}
			fill(t, m)
			before, resident := held(t, m), residentShared(t)
			got, err := m.Release(tt.gpa, tt.n)
			if got != tt.release*pageSize || err != nil {
				t.Errorf("%s: Release(%#x, %#x) = %d, %v, want %d", tt.name, tt.gpa, tt.n, got, err, tt.release*pageSize)
			}
			if fell := before - held(t, m); fell != int64(got) {
				t.Errorf("%s, populated %t: the file gave back %d bytes, want %d", tt.name, populated, fell, got)
			}
			if fell := resident - residentShared(t); fell < int(got)/2 { // the counter is exact only to some pages
				t.Errorf("%s, populated %t: the resident set fell by %d bytes, want %d", tt.name, populated, fell, got)
			}
			b, err := m.Slice(16<<20, 8<<20)
			if err != nil {
				t.Fatal(err)
			}
			want := bytes.Repeat([]byte{0xaa}, len(b))
			clear(want[tt.first*pageSize:][:tt.release*pageSize])
			if !bytes.Equal(b, want) {
				t.Errorf("%s, populated %t: other bytes than the released ones changed", tt.name, populated)
			}
			b[tt.first*pageSize] = 1 // a page again
		}
	}
}

func TestReleaseRefusesWhatIsOutside(t *testing.T) {
	m := newMemory(t, Range{0, 2 * pageSize}, Range{4 * pageSize, pageSize})
	fill(t, m)
	before := held(t, m)
	for _, tt := range []struct{ gpa, n uint64 }{
		{2 * pageSize, pageSize}, {pageSize, 2 * pageSize}, {0, 5 * pageSize}, {5 * pageSize, 1}, {pageSize, math.MaxUint64},
		{math.MaxUint64, 2}, {math.MaxUint64 &^ 0xfff, 2 * pageSize},
	} {
		if n, err := m.Release(tt.gpa, tt.n); n != 0 || !errors.Is(err, ErrOutside) {
			t.Errorf("Release(%#x, %#x) = %d, %v, want %v", tt.gpa, tt.n, n, err, ErrOutside)
		}
	}
	if got := held(t, m); got != before {
		t.Errorf("the file holds %d bytes, want %d", got, before)
	}
	m.Close()
	if _, err := m.Release(0, pageSize); !errors.Is(err, ErrOutside) {
		t.Errorf("Release after Close = %v, want %v", err, ErrOutside)
	}
}

func TestReleaseDoesNotAllocate(t *testing.T) {
	m := newMemory(t, Range{0, pageSize}, Range{4 * pageSize, 2 * pageSize})
	if n := testing.AllocsPerRun(100, func() { m.Release(4*pageSize, 2*pageSize) }); n != 0 {
		t.Errorf("Release allocates %v times, want 0", n)
	}
}

func TestAddressIsTheInverseOfSlice(t *testing.T) {
	m := newMemory(t, Range{0, 2 * pageSize}, Range{4 * pageSize, pageSize})
	for _, r := range []Range{{0, 1}, {0, 2 * pageSize}, {2*pageSize - 1, 1}, {4*pageSize + 7, 100}, {5*pageSize - 1, 1}} {
		b, err := m.Slice(r.Start, r.Size)
		if err != nil {
			t.Fatal(err)
		}
		if gpa, err := m.Address(b); gpa != r.Start || err != nil {
			t.Errorf("Address(Slice(%#x, %#x)) = %#x, %v", r.Start, r.Size, gpa, err)
		}
	}
	b, err := m.Slice(0, 1)
	if err != nil {
		t.Fatal(err)
	}
	for name, other := range map[string][]byte{"nil": nil, "empty": b[:0], "the heap's": make([]byte, 8)} {
		if gpa, err := m.Address(other); !errors.Is(err, ErrOutside) {
			t.Errorf("Address(%s) = %#x, %v, want %v", name, gpa, err, ErrOutside)
		}
	}
}
