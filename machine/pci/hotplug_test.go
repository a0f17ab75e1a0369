package pci

import (
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"
)

// TestInsertedFunctionIsPlacedByTheGuest does what an operating system does with a card that came.
func TestInsertedFunctionIsPlacedByTheGuest(t *testing.T) {
	b := NewBus(BusConfig{Window32: low, Window64: high})
	vectors := &fakeVectors{}
	f := mustFunction(t, testCard(vectors))
	if err := b.Insert(5, f); err != nil {
		t.Fatal(err)
	}
	c := b.Config()
	if id, command := read32(c, reg(5, 0)), read16(c, reg(5, regCommand)); id != 0x1042_1af4 || command != 0 || f.Slot() != 5 {
		t.Errorf("slot %d: identity %#x, command %#x, want 5, 0x10421af4, 0", f.Slot(), id, command)
	}
	if narrow, wide := read32(c, reg(5, 0x10)), bar64Of(c, 5, 2); narrow != 0 || wide != 0 {
		t.Errorf("BARs at %#x and %#x, want 0", narrow, wide)
	}
	setBAR64(c, 5, 2, math.MaxUint64)
	if size := -bar64Of(c, 5, 2); size != 32<<10 {
		t.Errorf("BAR 2 has size %#x, want %#x", size, 32<<10)
	}
	setBAR64(c, 5, 2, high.Start)
	write32(c, reg(5, 0x10), uint32(low.Start))
	enableMemory(c, 5)
	b.Window64().Write(0x10, []byte{0x77})
	if at(b, high.Start+0x10) != 0x77 || at(b, low.Start) != 0 {
		t.Error("the BARs do not answer where the guest put them")
	}
	enableMSIX(b, 5, 1)
	if f.Signal(1); vectors.made[1].signals != 1 {
		t.Error("no interrupt came")
	}
}

// TestRemovedFunctionIsGone looks for what a function could leave behind.
func TestRemovedFunctionIsGone(t *testing.T) {
	vectors := &fakeVectors{}
	b := NewBus(BusConfig{Window32: low, Window64: high})
	cfg := testCard(vectors)
	var placed []string
	cfg.Placed = func(bar int, gpa uint64, mapped bool) {
		placed = append(placed, fmt.Sprintf("%d %#x %t", bar, gpa, mapped))
	}
	f := mustAdd(t, b, cfg)
	waiting, mem := card(t, b, "waits", nil)
	mem[0] = 9
	c := b.Config()
	enableMemory(c, 1)
	home := bar64Of(c, 1, 2)
	setBAR64(c, waiting, 0, home)
	enableMemory(c, waiting)
	enableMSIX(b, 1, 0)
	placed = nil

	b.Remove(f)
	if want := []string{fmt.Sprintf("0 %#x false", low.Start), fmt.Sprintf("2 %#x false", home)}; !slices.Equal(placed, want) {
		t.Errorf("told %q, want %q", placed, want)
	}
	if id := read32(c, reg(1, 0)); id != math.MaxUint32 || at(b, low.Start) != 0xff || len(b.Functions()) != 2 {
		t.Errorf("after Remove: identity %#x, BAR 0 reads %#x, %d functions; want ones and 2", id, at(b, low.Start), len(b.Functions()))
	}
	if v := at(b, home); v != 9 {
		t.Errorf("where a BAR waited for room: %#x, want 9", v)
	}
	if err := f.Close(); err != nil || vectors.open() != 0 || f.VectorFD(0) != -1 {
		t.Errorf("Close = %v, %d vectors are open, VectorFD(0) = %d; want nil, none, -1", err, vectors.open(), f.VectorFD(0))
	}

	// What a vCPU does that found f before it went.
	placed = nil
	f.writeConfig(0x18, []byte{0, 0, 0, 1, 16, 0, 0, 0})
	f.writeConfig(regCommand, []byte{commandMemory, 0})
	f.writeConfig(0x43, []byte{msixEnable})
	f.WriteBAR(2, tableOff, make([]byte, 16))
	f.Signal(0)
	if len(placed) > 0 || len(*b.table.Load()) != 1 {
		t.Errorf("a function that left is mapped: told %q, %d in the table", placed, len(*b.table.Load()))
	}
	vectors.check(t)

	b.Remove(f) // does nothing
	if err := b.Insert(1, f); err == nil {
		t.Error("Insert of a function that left succeeds")
	}
	if err := b.Insert(1, mustFunction(t, testCard(vectors))); err != nil {
		t.Errorf("Insert into the slot that is free again = %v", err)
	}
	b.Remove(f)
	if len(b.Functions()) != 3 {
		t.Error("Remove took another function out")
	}
}

func TestInsertRefuses(t *testing.T) {
	b := NewBus(BusConfig{Window32: low, Window64: high})
	f := mustAdd(t, b, testCard(&fakeVectors{}))
	other := mustFunction(t, FunctionConfig{Name: "other"})
	for _, tt := range []struct {
		slot int
		f    *Function
	}{{-1, other}, {0, other}, {1, other}, {numSlots, other}, {2, f}} {
		if err := b.Insert(tt.slot, tt.f); err == nil {
			t.Errorf("Insert(%d, %s) succeeds", tt.slot, tt.f.Name())
		}
	}
	NewBus(BusConfig{}).Remove(f)
	NewBus(BusConfig{}).Remove(other)
	if n := len(b.Functions()); n != 2 {
		t.Errorf("%d functions, want 2", n)
	}
}

func TestFailedFunctionGivesItsVectorsBack(t *testing.T) {
	for name, change := range map[string]func(*FunctionConfig, *fakeVectors){
		"the third vector cannot be made": func(_ *FunctionConfig, vs *fakeVectors) { vs.limit = 2 },
		"a capability does not fit": func(c *FunctionConfig, _ *fakeVectors) {
			c.Capabilities[0] = Capability{ID: 9, Body: make([]byte, 180)}
		},
	} {
		vectors := &fakeVectors{}
		cfg := testCard(vectors)
		change(&cfg, vectors)
		if _, err := NewFunction(cfg); err == nil || len(vectors.made) < 2 || vectors.open() != 0 {
			t.Errorf("%s: NewFunction = %v, %d of %d vectors are open; want an error and none", name, err, vectors.open(), len(vectors.made))
		}
		vectors.check(t)
	}
}

// TestHammerComeAndGo lets a card come and go while vCPUs program it, use it and a device signals.
func TestHammerComeAndGo(t *testing.T) {
	const slot, rounds = 3, 300
	b := NewBus(BusConfig{Window32: low, Window64: high})
	_, mem := card(t, b, "stays", nil)
	c := b.Config()
	stays := bar64Of(c, 1, 0)
	enableMemory(c, 1)
	mem[0] = 0x55
	vectors := &fakeVectors{}
	var vcpus, host sync.WaitGroup
	gone := make(chan struct{})
	for range 2 {
		vcpus.Go(func() {
			for ended := false; !ended; {
				select {
				case <-gone:
					ended = true
				default:
				}
				setBAR64(c, slot, 2, high.Start+1<<20)
				enableMemory(c, slot)
				b.Window64().Write(1<<20+tableOff, []byte{0, 0, 0xe0, 0xfe, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0})
				setControl(b, slot, msixEnable<<8)
				at(b, high.Start+1<<20)
				if v := at(b, stays); v != 0x55 {
					t.Errorf("the other card reads %#x, want 0x55", v)
				}
				b.Functions()
			}
		})
	}
	host.Go(func() {
		defer close(gone)
		for range rounds {
			cfg := testCard(vectors)
			cfg.BARs[2].Region = nothing{}
			f, err := NewFunction(cfg)
			if err == nil {
				err = b.Insert(slot, f)
			}
			if err != nil {
				t.Error(err)
				return
			}
			f.Signal(0)
			b.Remove(f)
			f.Signal(0)
			if err := f.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	host.Wait()
	vcpus.Wait()
	vectors.check(t)
	if n, table := vectors.open(), len(*b.table.Load()); n != 0 || table != 1 || len(b.bars) != 1 {
		t.Errorf("%d vectors open, %d BARs mapped, %d known; want 0, 1, 1", n, table, len(b.bars))
	}
}

// nothing is a Region that any number of vCPUs may use.
type nothing struct{}

func (nothing) Read(_ uint64, p []byte)  { clear(p) }
func (nothing) Write(_ uint64, _ []byte) {}
