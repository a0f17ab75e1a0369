package pci

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// guarded is a Region that checks what reaches it.
type guarded struct {
	t    *testing.T
	size uint64
}

func (g guarded) Read(off uint64, p []byte) { g.check(off, p); clear(p) }

func (g guarded) Write(off uint64, p []byte) { g.check(off, p) }

func (g guarded) check(off uint64, p []byte) {
	if off > g.size || uint64(len(p)) > g.size-off {
		g.t.Errorf("%d bytes at %#x reach a BAR of %#x bytes", len(p), off, g.size)
	}
}

// fuzzBus is a bus with three functions and a book of what they were told about their BARs.
type fuzzBus struct {
	*Bus
	t       *testing.T
	vectors fakeVectors
	log     logBook
	placed  map[[2]int]uint64
	parted  *Function // the last one that left, as a vCPU might still know it
	made    int
}

func newFuzzBus(t *testing.T) *fuzzBus {
	b := &fuzzBus{t: t, placed: map[[2]int]uint64{}}
	b.Bus = NewBus(BusConfig{Window32: low, Window64: high, Log: b.log.logger()})
	for slot := 1; slot <= 3; slot++ {
		mustAdd(t, b.Bus, b.card(slot))
	}
	return b
}

// card is a function for a slot.
func (b *fuzzBus) card(slot int) FunctionConfig {
	b.made++
	cfg := testCard(&b.vectors)
	for i, bar := range cfg.BARs {
		if bar.Size != 0 {
			cfg.BARs[i].Region = guarded{b.t, bar.Size}
		}
	}
	cfg.Placed = func(bar int, gpa uint64, mapped bool) {
		at, was := b.placed[[2]int{slot, bar}]
		if was == mapped || was && at != gpa {
			b.t.Errorf("slot %d BAR %d: told mapped %t at %#x, was %t at %#x", slot, bar, mapped, gpa, was, at)
		}
		if delete(b.placed, [2]int{slot, bar}); mapped {
			b.placed[[2]int{slot, bar}] = gpa
		}
	}
	return cfg
}

// swap empties a slot, or fills it.
func (b *fuzzBus) swap(slot int) {
	f := b.slots[slot].Load()
	if f == nil {
		if err := b.Insert(slot, mustFunction(b.t, b.card(slot))); err != nil {
			b.t.Error(err)
		}
		return
	}
	b.Remove(f)
	if err := f.Close(); err != nil {
		b.t.Error(err)
	}
	b.parted = f
}

// FuzzBus makes accesses of any kind, and lets functions come and go: each five bytes and what follows are one. Whatever they do,
// regions see only accesses inside their BARs, the table holds what functions were told, and no two BARs overlap.
func FuzzBus(f *testing.F) {
	enable := []byte{1, 1, 0x04, 0x00, 2, 2, 0}
	f.Add(enable)
	f.Add(append(bytes.Clone(enable), 1, 1, 0x18, 0, 8, 4, 0, 0, 0, 0x10, 0, 0, 0))
	f.Add(append(bytes.Clone(enable), 5, 0, 0x00, 0x40, 8, 0, 0, 0xe0, 0xfe, 0, 0, 0, 0, 1, 1, 0x42, 0, 2, 0, 0x80))
	f.Add(append(bytes.Clone(enable), 7, 0, 0, 0, 0, 8, 0, 4, 0, 2, 2, 0, 7, 0, 0, 0, 0, 1, 1, 0x18, 0, 8, 4, 0, 0, 0, 0x10, 0, 0, 0, 1, 1, 4, 0, 2, 2, 0))
	f.Add([]byte{1, 1, 0x10, 0, 24, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, data []byte) {
		b := newFuzzBus(t)
		for len(data) >= 5 {
			kind, slot, off, n := data[0], uint64(data[1]), uint64(binary.LittleEndian.Uint16(data[2:])), int(data[4]%33)
			data = data[5:]
			p := make([]byte, n)
			switch kind % 9 {
			case 0:
				b.Config().Read(slot<<slotShift+off, p)
			case 1:
				data = data[copy(p, data):]
				b.Config().Write(slot<<slotShift+off, p)
			case 2:
				b.Window32().Read(slot<<12+off, p)
			case 3:
				data = data[copy(p, data):]
				b.Window32().Write(slot<<12+off, p)
			case 4:
				b.Window64().Read(slot<<15+off, p)
			case 5:
				data = data[copy(p, data):]
				b.Window64().Write(slot<<15+off, p)
			case 6:
				if f := b.slots[1+slot%3].Load(); f != nil {
					f.Signal(int(off % 4))
				}
			case 7:
				if b.made < 20 {
					b.swap(1 + int(slot%3))
				}
			case 8:
				data = data[copy(p, data):]
				if f, at := b.parted, int(off%configSize); f != nil && at+n <= configSize {
					f.readConfig(at, p)
					f.writeConfig(at, p)
					f.WriteBAR(2, off, p)
					f.Signal(int(off % 4))
				}
			}
		}
		b.checkTable()
		b.vectors.check(t)
		if n := b.log.lines(); n > b.made*maxWarnings {
			t.Errorf("%d lines in the log of %d functions, want at most %d for each", n, b.made, maxWarnings)
		}
	})
}

// checkTable compares the table with itself and with what functions were told.
func (b *fuzzBus) checkTable() {
	t, table := b.t, *b.table.Load()
	if len(table) != len(b.placed) {
		t.Errorf("%d BARs are mapped, functions were told of %d", len(table), len(b.placed))
	}
	var end uint64
	for _, m := range table {
		if m.Start < end {
			t.Errorf("BAR %d at %v overlaps the one before, which ends at %#x", m.index, m.Range, end)
		}
		end = m.End()
		if !low.Contains(m.Start, m.Size) && !high.Contains(m.Start, m.Size) {
			t.Errorf("BAR %d at %v is in no window", m.index, m.Range)
		}
		for slot := 1; slot <= 3; slot++ {
			if b.slots[slot].Load() != m.f {
				continue
			}
			if got, ok := b.placed[[2]int{slot, m.index}]; !ok || got != m.Start {
				t.Errorf("slot %d BAR %d is mapped at %v, the function was told %#x, %t", slot, m.index, m.Range, got, ok)
			}
		}
	}
}
