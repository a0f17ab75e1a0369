package vmm

import (
	"strings"
	"testing"

	"usui/machine/guestmem"
)

// recorder is a device that remembers the last access.
type recorder struct {
	off uint64
	n   int
}

func (r *recorder) Read(off uint64, p []byte)  { r.off, r.n = off, len(p); clear(p) }
func (r *recorder) Write(off uint64, p []byte) { r.off, r.n = off, len(p) }

func TestBusFindsTheDevice(t *testing.T) {
	a, b := &recorder{}, &recorder{}
	bus, err := newBus([]busEntry{
		{"b", guestmem.Range{Start: 0x2000, Size: 0x1000}, b},
		{"a", guestmem.Range{Start: 0x1000, Size: 0x10}, a},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		addr uint64
		want *recorder
		off  uint64
	}{
		{0xfff, nil, 0},
		{0x1000, a, 0},
		{0x100f, a, 0xf},
		{0x1010, nil, 0},
		{0x1fff, nil, 0},
		{0x2000, b, 0},
		{0x2fff, b, 0xfff},
		{0x3000, nil, 0},
		{^uint64(0), nil, 0},
	} {
		p := []byte{1, 2}
		found := bus.read(tt.addr, p)
		if found != (tt.want != nil) {
			t.Errorf("read(%#x) found %v, want %v", tt.addr, found, tt.want != nil)
		}
		if tt.want == nil {
			if p[0] != 0xff || p[1] != 0xff {
				t.Errorf("read(%#x) = %x, want all ones", tt.addr, p)
			}
			continue
		}
		if tt.want.off != tt.off || tt.want.n != 2 {
			t.Errorf("read(%#x) reached offset %#x with %d bytes, want %#x with 2", tt.addr, tt.want.off, tt.want.n, tt.off)
		}
	}
}

func TestBusRefusesBadRanges(t *testing.T) {
	for _, tt := range []struct {
		name    string
		entries []busEntry
		want    string
	}{
		{"empty", []busEntry{{"x", guestmem.Range{Start: 1}, nil}}, "size 0x0"},
		{"wraps", []busEntry{{"x", guestmem.Range{Start: ^uint64(0), Size: 2}, nil}}, "size 0x2"},
		{"overlap", []busEntry{
			{"x", guestmem.Range{Start: 0x10, Size: 0x10}, nil},
			{"y", guestmem.Range{Start: 0x1f, Size: 1}, nil},
		}, "y at 0x1f overlaps x at 0x10"},
		{"same place", []busEntry{
			{"x", guestmem.Range{Start: 0x10, Size: 0x10}, nil},
			{"y", guestmem.Range{Start: 0x10, Size: 1}, nil},
		}, "overlaps"},
	} {
		if _, err := newBus(tt.entries); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: newBus = %v, want %q", tt.name, err, tt.want)
		}
	}
}

func TestBusDoesNotAllocate(t *testing.T) {
	bus, err := newBus([]busEntry{{"a", guestmem.Range{Start: 0x1000, Size: 0x10}, &recorder{}}})
	if err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 4)
	if n := testing.AllocsPerRun(100, func() { bus.read(0x1004, p); bus.write(0x1004, p); bus.read(0, p) }); n != 0 {
		t.Errorf("an access allocates %v times, want 0", n)
	}
}
