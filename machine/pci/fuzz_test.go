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
func fuzzBus(t *testing.T, log *logBook, vectors *fakeVectors) (*Bus, map[[2]int]uint64) {
	b := NewBus(BusConfig{Window32: low, Window64: high, Log: log.logger()})
	placed := map[[2]int]uint64{}
	for slot := 1; slot <= 3; slot++ {
		cfg := testCard(vectors)
		for i, bar := range cfg.BARs {
			if bar.Size != 0 {
				cfg.BARs[i].Region = guarded{t, bar.Size}
			}
		}
		cfg.Placed = func(bar int, gpa uint64, mapped bool) {
			at, was := placed[[2]int{slot, bar}]
			if was == mapped || was && at != gpa {
				t.Errorf("slot %d BAR %d: told mapped %t at %#x, was %t at %#x", slot, bar, mapped, gpa, was, at)
			}
			if delete(placed, [2]int{slot, bar}); mapped {
				placed[[2]int{slot, bar}] = gpa
			}
		}
		mustAdd(t, b, cfg)
	}
	return b, placed
}

// FuzzBus makes accesses of any kind: each five bytes and what follows are one. Whatever they do, regions see only
// accesses inside their BARs, the table holds what functions were told, and no two BARs overlap.
func FuzzBus(f *testing.F) {
	enable := []byte{1, 1, 0x04, 0x00, 2, 2, 0}
	f.Add(enable)
	f.Add(append(bytes.Clone(enable), 1, 1, 0x18, 0, 8, 4, 0, 0, 0, 0x10, 0, 0, 0))
	f.Add(append(bytes.Clone(enable), 5, 0, 0x00, 0x40, 8, 0, 0, 0xe0, 0xfe, 0, 0, 0, 0, 1, 1, 0x42, 0, 2, 0, 0x80))
	f.Add([]byte{1, 1, 0x10, 0, 24, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, data []byte) {
		var log logBook
		vectors := &fakeVectors{}
		b, placed := fuzzBus(t, &log, vectors)
		for len(data) >= 5 {
			kind, slot, off, n := data[0], uint64(data[1]), uint64(binary.LittleEndian.Uint16(data[2:])), int(data[4]%33)
			data = data[5:]
			p := make([]byte, n)
			switch kind % 7 {
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
				b.slots[1+slot%3].Load().Signal(int(off % 4))
			}
		}
		checkTable(t, b, placed)
		vectors.check(t)
		if n := log.lines(); n > 3*maxWarnings {
			t.Errorf("%d lines in the log, want at most %d for a function", n, maxWarnings)
		}
	})
}

// checkTable compares the table with itself and with what functions were told.
func checkTable(t *testing.T, b *Bus, placed map[[2]int]uint64) {
	table := *b.table.Load()
	if len(table) != len(placed) {
		t.Errorf("%d BARs are mapped, functions were told of %d", len(table), len(placed))
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
			if got, ok := placed[[2]int{slot, m.index}]; !ok || got != m.Start {
				t.Errorf("slot %d BAR %d is mapped at %v, the function was told %#x, %t", slot, m.index, m.Range, got, ok)
			}
		}
	}
}
