package guestmem

import (
	"bytes"
	"errors"
	"os"
	"strconv"
	"testing"
)

// residentShared reads how much of the process is in shared memory; guest memory is.
func residentShared(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := bytes.Cut(b, []byte("RssShmem:"))
	kib, err := strconv.Atoi(string(bytes.Fields(rest)[0]))
	if err != nil {
		t.Fatal(err)
	}
	return kib << 10
}

func TestPopulateTakesThePagesAndKeepsTheContents(t *testing.T) {
	const size = 16 << 20
	m := newMemory(t, Range{0, size})
	const from, n = 4097, 9<<20 + 11 // neither end on a page
	want := bytes.Repeat([]byte("keep"), 3<<20/4)
	if _, err := m.WriteAt(want, 5<<20); err != nil {
		t.Fatal(err)
	}
	before := residentShared(t)
	if err := m.Populate(from, n); err != nil {
		t.Fatal(err)
	}
	if got := residentShared(t) - before; got < n-len(want) {
		t.Errorf("Populate(%d bytes) brought in %d, want at least %d", n, got, n-len(want))
	}
	got := make([]byte, size)
	if _, err := m.ReadAt(got, 0); err != nil {
		t.Fatal(err)
	}
	clearBut := append(make([]byte, 5<<20), want...)
	if !bytes.Equal(got, append(clearBut, make([]byte, size-len(clearBut))...)) {
		t.Error("Populate changed the contents")
	}
}

func TestPopulateRefusesWhatIsOutside(t *testing.T) {
	m := newMemory(t, Range{0, 4 << 20})
	for _, tt := range []struct{ gpa, n uint64 }{{4 << 20, 1}, {0, 4<<20 + 1}, {1, 4 << 20}, {^uint64(0), 2}} {
		if err := m.Populate(tt.gpa, tt.n); !errors.Is(err, ErrOutside) {
			t.Errorf("Populate(%#x, %#x) = %v, want ErrOutside", tt.gpa, tt.n, err)
		}
	}
	if err := m.Populate(0, 0); err != nil {
		t.Errorf("Populate(0, 0) = %v, want nil", err)
	}
}

func TestMappingsCanHoldHugePages(t *testing.T) {
	for range 4 {
		m := newMemory(t, Range{0, 3 << 20}, Range{8 << 20, 4 << 20})
		for _, r := range m.Regions() {
			if (uint64(r.HostAddr)-uint64(r.FileOffset))%hugePage != 0 {
				t.Errorf("region at %#x: host address %#x and file offset %#x differ modulo %#x", r.Start, r.HostAddr, r.FileOffset, hugePage)
			}
		}
	}
}
