package pci

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"

	"usui/machine/guestmem"
)

// card adds a function with one wide BAR of 32 KiB that notes its moves.
func card(t testing.TB, b *Bus, name string, moves *[]string) (slot int, mem ram) {
	t.Helper()
	mem = make(ram, 32<<10)
	mustAdd(t, b, FunctionConfig{
		Name: name, BARs: [6]BAR{{Size: 32 << 10, Wide: true, Region: mem}},
		Placed: func(bar int, gpa uint64, mapped bool) {
			if moves != nil {
				*moves = append(*moves, fmt.Sprintf("%s %d %#x %t", name, bar, gpa-high.Start, mapped))
			}
		},
	})
	return len(b.Functions()) - 1, mem
}

// at reads one byte at an address.
func at(b *Bus, gpa uint64) byte {
	var p [1]byte
	if low.Contains(gpa, 1) {
		b.Window32().Read(gpa-low.Start, p[:])
	} else {
		b.Window64().Read(gpa-high.Start, p[:])
	}
	return p[0]
}

func TestWindowReachesBARs(t *testing.T) {
	b := NewBus(BusConfig{Window32: low, Window64: high})
	cfg := testCard(&fakeVectors{})
	mustAdd(t, b, cfg)
	c := b.Config()
	w32, w64 := b.Window32(), b.Window64()
	narrow, wide := cfg.BARs[0].Region.(ram), cfg.BARs[2].Region.(ram)

	w32.Write(8, []byte{1})
	if narrow[8] != 0 || at(b, low.Start+8) != 0xff {
		t.Error("a BAR answers before memory decoding is enabled")
	}
	enableMemory(c, 1)
	w32.Write(8, []byte{1, 2, 3})
	w64.Write(0x2008, []byte{4, 5, 6, 7, 8, 9, 10, 11})
	if !bytes.Equal(narrow[8:12], []byte{1, 2, 3, 0}) || !bytes.Equal(wide[0x2008:0x2011], []byte{4, 5, 6, 7, 8, 9, 10, 11, 0}) {
		t.Errorf("BARs hold % x and % x", narrow[8:12], wide[0x2008:0x2011])
	}
	p := make([]byte, 4)
	w64.Read(0x200a, p)
	if !bytes.Equal(p, []byte{6, 7, 8, 9}) {
		t.Errorf("read = % x, want 06 07 08 09", p)
	}
	write16(c, reg(1, regCommand), 0)
	if got := at(b, low.Start+8); got != 0xff {
		t.Errorf("read = %#x after decoding was disabled, want ff", got)
	}
}

func TestWindowEdges(t *testing.T) {
	b := NewBus(BusConfig{Window32: low, Window64: high})
	slot, mem := card(t, b, "a", nil)
	enableMemory(b.Config(), slot)
	w := b.Window64()
	tests := []struct {
		off  uint64
		n    int
		hits bool
	}{
		{0, 1, true}, {0x7fff, 1, true}, {0x7ff8, 8, true}, {0, 0, true},
		{0x7fff, 2, false}, {0x8000, 4, false}, {high.Size - 1, 1, false}, {high.Size, 1, false},
		{high.Size - 2, 4, false}, {math.MaxUint64, 8, false}, {-high.Start, 8, false}, {1 << 63, 8, false},
	}
	for _, tt := range tests {
		p := bytes.Repeat([]byte{0xaa}, tt.n)
		w.Read(tt.off, p)
		want := byte(0xff)
		if tt.hits {
			want = 0
		}
		if !bytes.Equal(p, bytes.Repeat([]byte{want}, tt.n)) {
			t.Errorf("read %d bytes at %#x = % x, want %#x", tt.n, tt.off, p, want)
		}
		if !tt.hits {
			w.Write(tt.off, bytes.Repeat([]byte{0x55}, tt.n))
		}
	}
	if !bytes.Equal(mem, make([]byte, len(mem))) {
		t.Error("a write that crosses an edge changed the BAR")
	}
}

// TestWindowsDoNotReachEachOther uses offsets that wrap from one window to a BAR in the other.
func TestWindowsDoNotReachEachOther(t *testing.T) {
	b := NewBus(BusConfig{Window32: low, Window64: high})
	mustAdd(t, b, testCard(&fakeVectors{}))
	enableMemory(b.Config(), 1)
	var p [2]byte
	b.Window64().Read(low.Start-high.Start, p[:1])
	b.Window32().Read(high.Start-low.Start, p[1:])
	if p != [2]byte{0xff, 0xff} {
		t.Errorf("BARs of the other window answer: % x, want ff ff", p)
	}
}

// TestBARAccessesStayInside calls with what no window passes on.
func TestBARAccessesStayInside(t *testing.T) {
	region := make(ram, 8192) // larger than the BAR before it
	f := mustFunction(t, FunctionConfig{Name: "x", BARs: [6]BAR{{Size: 4096, Region: region}}})
	for _, access := range []struct {
		bar int
		off uint64
	}{{0, 4095}, {0, 4096}, {0, math.MaxUint64}, {1, 0}, {-1, 0}, {6, 0}} {
		p := []byte{1, 2}
		f.WriteBAR(access.bar, access.off, p)
		if f.ReadBAR(access.bar, access.off, p); p[0] != 0xff || p[1] != 0xff {
			t.Errorf("read 2 bytes at %#x of BAR %d = % x, want ff ff", access.off, access.bar, p)
		}
	}
	if !bytes.Equal(region, make(ram, 8192)) {
		t.Error("a write from outside reached the BAR")
	}
}

// TestBARMoves follows one BAR through good and bad addresses.
func TestBARMoves(t *testing.T) {
	var log logBook
	var moves []string
	b := NewBus(BusConfig{Window32: low, Window64: high, Log: log.logger()})
	slot, mem := card(t, b, "a", &moves)
	c := b.Config()
	mem[0] = 0x42
	enableMemory(c, slot)
	tests := []struct {
		name  string
		addr  uint64
		lives bool
		lines int // one for each register that leaves the BAR at a bad address
	}{
		{"inside", high.Start + 1<<20, true, 0},
		{"end of the window", high.End() - 32<<10, true, 0},
		{"the other window", low.Start + 1<<20, true, 1}, // half moved, it is at 0x40_c0100000, outside
		{"RAM", 0, false, 1},
		{"beyond all", math.MaxUint64 &^ 0x7fff, false, 2},
		{"back", high.Start, true, 1},
	}
	for _, tt := range tests {
		moves = nil
		setBAR64(c, slot, 0, tt.addr)
		if tt.lives != (len(moves) > 0 && moves[len(moves)-1] == fmt.Sprintf("a 0 %#x true", tt.addr-high.Start)) {
			t.Errorf("%s: moves %q, want mapped %t at last", tt.name, moves, tt.lives)
		}
		if tt.lives && at(b, tt.addr) != 0x42 {
			t.Errorf("%s: the BAR does not answer at %#x", tt.name, tt.addr)
		}
		if n := log.lines(); n != tt.lines {
			t.Errorf("%s: %d lines in the log, want %d", tt.name, n, tt.lines)
		}
	}
	setBAR64(c, slot, 0, high.Start) // the same again
	if n := log.lines(); n != 0 {
		t.Errorf("%d lines in the log for no move", n)
	}
}

// TestSizingWhileDecodingIsOff is what Linux does: no move, no line.
func TestSizingWhileDecodingIsOff(t *testing.T) {
	var log logBook
	var moves []string
	b := NewBus(BusConfig{Window32: low, Window64: high, Log: log.logger()})
	slot, _ := card(t, b, "a", &moves)
	home := bar64Of(b.Config(), slot, 0)
	setBAR64(b.Config(), slot, 0, math.MaxUint64)
	setBAR64(b.Config(), slot, 0, home)
	if len(moves) != 0 || log.lines() != 0 {
		t.Errorf("moves %q and lines in the log, want nothing", moves)
	}
}

// TestOverlap moves BARs over each other: who stands stays, who comes waits, and gets the place when it is free.
func TestOverlap(t *testing.T) {
	var log logBook
	var moves []string
	b := NewBus(BusConfig{Window32: low, Window64: high, Log: log.logger()})
	s1, m1 := card(t, b, "a", &moves)
	s2, m2 := card(t, b, "b", &moves)
	s3, _ := card(t, b, "c", nil)
	m1[0], m2[0] = 1, 2
	c := b.Config()
	enableMemory(c, s1)
	enableMemory(c, s2)
	home1, home2 := bar64Of(c, s1, 0), bar64Of(c, s2, 0)
	moves = nil

	setBAR64(c, s2, 0, home1)
	if at(b, home1) != 1 || at(b, home2) != 0xff || log.lines() != 1 {
		t.Errorf("b over a: %#x and %#x answer, want 1 and ff, and one line in the log", at(b, home1), at(b, home2))
	}
	enableMemory(c, s3) // a move of a third one is no reason to complain again
	if log.lines() != 0 {
		t.Error("b over a is in the log a second time")
	}
	setBAR64(c, s1, 0, home2)
	if at(b, home1) != 2 || at(b, home2) != 1 || log.lines() != 0 {
		t.Errorf("a in b's place: %#x and %#x answer, want 2 and 1, and nothing in the log", at(b, home1), at(b, home2))
	}
	write16(c, reg(s1, regCommand), 0)
	write16(c, reg(s2, regCommand), 0)
	want := []string{
		"b 0 0x8000 false",
		"a 0 0x0 false", "a 0 0x8000 true", "b 0 0x0 true",
		"a 0 0x8000 false", "b 0 0x0 false",
	}
	if !slices.Equal(moves, want) {
		t.Errorf("moves %q, want %q", moves, want)
	}
}

// TestOwnBARsOverlap moves two BARs of one function to one place.
func TestOwnBARsOverlap(t *testing.T) {
	b := NewBus(BusConfig{Window32: low})
	one, two := make(ram, 4096), make(ram, 8192)
	one[0], two[0] = 1, 2
	mustAdd(t, b, FunctionConfig{Name: "x", BARs: [6]BAR{{Size: 4096, Region: one}, {Size: 8192, Region: two}}})
	c := b.Config()
	write32(c, reg(1, 0x10), uint32(low.Start)+0x1000)
	write32(c, reg(1, 0x14), uint32(low.Start))
	enableMemory(c, 1)
	if at(b, low.Start+0x1000) != 1 || at(b, low.Start) != 0xff {
		t.Error("want the first BAR mapped and the second not")
	}
}

// TestWindowsAtTheEndsOfAddresses has windows that touch 0 and 1<<64.
func TestWindowsAtTheEndsOfAddresses(t *testing.T) {
	w32 := guestmem.Range{Start: 0, Size: 1 << 20}
	w64 := guestmem.Range{Start: math.MaxUint64 - 1<<20 + 1, Size: 1 << 20}
	b := NewBus(BusConfig{Window32: w32, Window64: w64})
	slot, mem := card(t, b, "a", nil)
	enableMemory(b.Config(), slot)
	top := math.MaxUint64 - 32<<10 + uint64(1)
	setBAR64(b.Config(), slot, 0, top)
	b.Window64().Write(w64.Size-1, []byte{7})
	if mem[32<<10-1] != 7 {
		t.Error("the last byte of the address space does not reach the BAR")
	}
	b.Window64().Write(w64.Size-1, []byte{8, 8})
	b.Window64().Write(w64.Size, []byte{9})
	if mem[32<<10-1] != 7 || mem[0] != 0 {
		t.Error("a write that wraps reaches the BAR")
	}
}

func TestAccessesDoNotAllocate(t *testing.T) {
	b := NewBus(BusConfig{Window32: low, Window64: high})
	vectors := &fakeVectors{}
	f := mustAdd(t, b, testCard(vectors))
	enableMemory(b.Config(), 1)
	enableMSIX(b, 1, 0)
	p := make([]byte, 4)
	for name, access := range map[string]func(){
		"window":           func() { b.Window64().Read(0x10, p); b.Window64().Write(0x10, p) },
		"unmapped window":  func() { b.Window64().Read(high.Size-4, p); b.Window64().Write(high.Size-4, p) },
		"MSI-X table":      func() { b.Window64().Read(0x4010, p); b.Window64().Write(0x4010, p); b.Window64().Read(0x5000, p) },
		"configuration":    func() { b.Config().Read(reg(1, 0x40), p); b.Config().Write(reg(1, 0x4c), p) },
		"no configuration": func() { b.Config().Read(reg(9, 0), p); b.Config().Write(reg(9, 0), p) },
		"signal":           func() { f.Signal(0); f.Signal(1) },
	} {
		if n := testing.AllocsPerRun(100, access); n != 0 {
			t.Errorf("%s: %v allocations, want 0", name, n)
		}
	}
}

// TestHammerMovesAndAccesses has one vCPU move two BARs over each other while two use them: every answer comes from
// the BAR that was meant, or from none, and at the end the table and the registers agree.
func TestHammerMovesAndAccesses(t *testing.T) {
	b := NewBus(BusConfig{Window32: low, Window64: high})
	s1, m1 := card(t, b, "a", nil)
	s2, m2 := card(t, b, "b", nil)
	for i := range m1 {
		m1[i], m2[i] = 1, 2
	}
	c := b.Config()
	home1, home2 := bar64Of(c, s1, 0), bar64Of(c, s2, 0)
	enableMemory(c, s1)
	enableMemory(c, s2)
	var vcpus sync.WaitGroup
	for range 2 {
		vcpus.Go(func() {
			for i := range 3000 {
				for _, gpa := range []uint64{home1, home2} {
					if v := at(b, gpa+uint64(i)); v != 1 && v != 2 && v != 0xff {
						t.Errorf("read = %#x, want 1, 2 or ff", v)
					}
				}
			}
		})
	}
	for _, slots := range [][2]int{{s1, s2}, {s2, s1}} {
		vcpus.Go(func() {
			for range 500 {
				setBAR64(c, slots[0], 0, home2)
				write16(c, reg(slots[1], regCommand), 0)
				setBAR64(c, slots[0], 0, home1)
				enableMemory(c, slots[1])
			}
		})
	}
	vcpus.Wait()
	enableMemory(c, s1)
	enableMemory(c, s2)
	setBAR64(c, s1, 0, high.Start+1<<20)
	setBAR64(c, s2, 0, home1)
	setBAR64(c, s1, 0, home2)
	if at(b, home1) != 2 || at(b, home2) != 1 {
		t.Errorf("%#x and %#x answer at the end, want 2 and 1", at(b, home1), at(b, home2))
	}
}
