package guestmem

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"testing"

	"golang.org/x/sys/unix"
)

var (
	_ io.ReaderAt = (*Memory)(nil)
	_ io.WriterAt = (*Memory)(nil)
)

// newMemory makes memory with a hole and closes it with the test.
func newMemory(t testing.TB, ranges ...Range) *Memory {
	t.Helper()
	m, err := New(ranges)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return m
}

func TestNewRefuses(t *testing.T) {
	tests := []struct {
		name   string
		ranges []Range
	}{
		{"nothing", nil},
		{"no bytes", []Range{{0, 0}}},
		{"half a page", []Range{{0, 2048}}},
		{"not at a page", []Range{{2048, pageSize}}},
		{"beyond the address space", []Range{{math.MaxUint64 - pageSize + 1, 2 * pageSize}}},
		{"overlapping", []Range{{0, 2 * pageSize}, {pageSize, pageSize}}},
		{"descending", []Range{{4 * pageSize, pageSize}, {0, pageSize}}},
		{"more than a process can map", []Range{{0, 1 << 62}}},
	}
	for _, tt := range tests {
		if m, err := New(tt.ranges); err == nil {
			m.Close()
			t.Errorf("%s: New succeeds, want an error", tt.name)
		}
	}
}

func TestSlice(t *testing.T) {
	m := newMemory(t, Range{0, 2 * pageSize}, Range{4 * pageSize, pageSize})
	tests := []struct {
		gpa, n uint64
		ok     bool
	}{
		{0, 2 * pageSize, true},
		{2*pageSize - 1, 1, true},
		{2 * pageSize, 0, true},
		{4 * pageSize, pageSize, true},
		{2*pageSize - 1, 2, false},             // over the end of the first
		{2 * pageSize, 1, false},               // in the hole
		{3 * pageSize, 0, false},               // nothing, in the hole
		{4*pageSize - 1, 2, false},             // from the hole into the second
		{0, 5 * pageSize, false},               // across the hole
		{5 * pageSize, 1, false},               // behind all
		{1, math.MaxUint64, false},             // wraps to 0
		{math.MaxUint64, 2, false},             // wraps to 0
		{pageSize, math.MaxUint64 - 10, false}, // wraps into the first
	}
	for _, tt := range tests {
		b, err := m.Slice(tt.gpa, tt.n)
		if !tt.ok {
			if !errors.Is(err, ErrOutside) || b != nil {
				t.Errorf("Slice(%#x, %#x) = %d bytes, %v, want %v", tt.gpa, tt.n, len(b), err, ErrOutside)
			}
			continue
		}
		if err != nil || uint64(len(b)) != tt.n || cap(b) != len(b) {
			t.Errorf("Slice(%#x, %#x) = len %d, cap %d, %v, want all and no more", tt.gpa, tt.n, len(b), cap(b), err)
		}
	}
}

// TestViewsAreOneMemory writes through one view and reads through every other: slice, ReadAt, and the file.
func TestViewsAreOneMemory(t *testing.T) {
	m := newMemory(t, Range{0, pageSize}, Range{4 * pageSize, pageSize})
	want := []byte("behind the hole")
	if n, err := m.WriteAt(want, 4*pageSize+8); n != len(want) || err != nil {
		t.Fatalf("WriteAt = %d, %v", n, err)
	}
	got := make([]byte, len(want))
	if n, err := m.ReadAt(got, 4*pageSize+8); n != len(want) || err != nil || !bytes.Equal(got, want) {
		t.Errorf("ReadAt = %d, %v, %q, want %q", n, err, got, want)
	}
	if b, err := m.Slice(4*pageSize+8, uint64(len(want))); err != nil || !bytes.Equal(b, want) {
		t.Errorf("Slice = %q, %v, want %q", b, err, want)
	}
	off := m.Regions()[1].FileOffset + 8
	if _, err := m.File().ReadAt(got, off); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the file at %d = %q, %v, want %q", off, got, err, want)
	}
}

func TestReadAtAndWriteAtAreAllOrNothing(t *testing.T) {
	m := newMemory(t, Range{0, pageSize})
	p := bytes.Repeat([]byte{0xaa}, 16)
	for _, gpa := range []int64{pageSize - 8, pageSize, -8, math.MinInt64, math.MaxInt64} {
		if n, err := m.WriteAt(p, gpa); n != 0 || !errors.Is(err, ErrOutside) {
			t.Errorf("WriteAt(16 bytes, %#x) = %d, %v, want 0, %v", gpa, n, err, ErrOutside)
		}
		if n, err := m.ReadAt(p, gpa); n != 0 || !errors.Is(err, ErrOutside) {
			t.Errorf("ReadAt(16 bytes, %#x) = %d, %v, want 0, %v", gpa, n, err, ErrOutside)
		}
	}
	if b, _ := m.Slice(0, pageSize); !bytes.Equal(b, make([]byte, pageSize)) {
		t.Error("a refused write changed memory")
	}
}

func TestFileKeepsItsSize(t *testing.T) {
	m := newMemory(t, Range{0, 2 * pageSize})
	for _, size := range []int64{0, pageSize, 4 * pageSize} {
		if err := m.File().Truncate(size); !errors.Is(err, unix.EPERM) {
			t.Errorf("Truncate(%d) = %v, want %v", size, err, unix.EPERM)
		}
	}
}

func TestRegions(t *testing.T) {
	m := newMemory(t, Range{0, 2 * pageSize}, Range{4 * pageSize, pageSize})
	rs := m.Regions()
	if len(rs) != 2 || m.Size() != 3*pageSize {
		t.Fatalf("Regions() = %v, Size() = %d, want 2 regions of %d bytes", rs, m.Size(), 3*pageSize)
	}
	if rs[0].FileOffset != 0 || rs[1].FileOffset != 2*pageSize {
		t.Errorf("file offsets %#x, %#x, want 0, %#x", rs[0].FileOffset, rs[1].FileOffset, 2*pageSize)
	}
	for i, r := range rs {
		if r.HostAddr == 0 || r.HostAddr%pageSize != 0 {
			t.Errorf("region %d is mapped at %#x, want a page", i, r.HostAddr)
		}
	}
	rs[0].Size = 0
	if _, err := m.Slice(0, 1); err != nil {
		t.Errorf("Slice(0, 1) = %v after a change to the copy that Regions gave", err)
	}
}

func TestMemoryIsNotTouchedByNew(t *testing.T) {
	m := newMemory(t, Range{0, 1 << 40}) // far more than any test host has
	var st unix.Stat_t
	if err := unix.Fstat(int(m.File().Fd()), &st); err != nil {
		t.Fatal(err)
	}
	if st.Blocks != 0 {
		t.Errorf("a new memory file holds %d blocks, want 0", st.Blocks)
	}
}

func TestClosedMemoryRefuses(t *testing.T) {
	m, err := New([]Range{{0, pageSize}})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		if err := m.Close(); err != nil {
			t.Errorf("Close number %d: %v", i+1, err)
		}
	}
	if _, err := m.Slice(0, 1); !errors.Is(err, ErrOutside) {
		t.Errorf("Slice after Close = %v, want %v", err, ErrOutside)
	}
}

func TestSliceDoesNotAllocate(t *testing.T) {
	m := newMemory(t, Range{0, pageSize}, Range{4 * pageSize, pageSize})
	p := make([]byte, 8)
	n := testing.AllocsPerRun(100, func() {
		m.Slice(4*pageSize, 64)
		m.ReadAt(p, 8)
		m.WriteAt(p, 8)
	})
	if n != 0 {
		t.Errorf("Slice, ReadAt and WriteAt allocate %v times, want 0", n)
	}
}

func ExampleMemory_Slice() {
	m, err := New(Layout(16 << 20))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer m.Close()
	gpa := m.Regions()[0].End() - 8
	b, err := m.Slice(gpa, 8)
	fmt.Println(len(b), err)
	_, err = m.Slice(gpa, 9)
	fmt.Println(errors.Is(err, ErrOutside))
	// Output:
	// 8 <nil>
	// true
}
