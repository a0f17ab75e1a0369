package pci

import (
	"slices"

	"usui/machine/guestmem"
)

// Window is a range of guest-physical memory in which BARs may lie. Accesses take no lock here and do not allocate.
type Window struct {
	guestmem.Range
	bus *Bus
}

// Window32 is the window below 4 GiB.
func (b *Bus) Window32() Window { return Window{b.cfg.Window32, b} }

// Window64 is the other window.
func (b *Bus) Window64() Window { return Window{b.cfg.Window64, b} }

// Read fills p from the BAR at off in the window. All bytes are ones when no mapped BAR holds all of them.
func (w Window) Read(off uint64, p []byte) {
	m := w.find(off, len(p))
	if m == nil {
		ones(p)
		return
	}
	m.f.ReadBAR(m.index, w.Start+off-m.Start, p)
}

// Write passes p to the BAR at off in the window, or drops it.
func (w Window) Write(off uint64, p []byte) {
	if m := w.find(off, len(p)); m != nil {
		m.f.WriteBAR(m.index, w.Start+off-m.Start, p)
	}
}

// find gives the mapping that holds all n bytes at off, or nil.
func (w Window) find(off uint64, n int) *mapping {
	if !w.Contains(w.Start+off, uint64(n)) {
		return nil
	}
	return w.bus.table.Load().find(w.Start+off, uint64(n))
}

// table is what is mapped, in ascending order. It never changes; a move of a BAR stores another one in Bus.table.
type table []*mapping

func (t table) find(gpa, n uint64) *mapping {
	lo, hi := 0, len(t) // the mapping with the highest start that is not above gpa is t[lo-1]
	for lo < hi {
		if mid := (lo + hi) / 2; t[mid].Start <= gpa {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo == 0 || !t[lo-1].Contains(gpa, n) {
		return nil
	}
	return t[lo-1]
}

// place reads what f's registers say about its BARs and brings the table in line with it. The caller holds f.mu.
func (b *Bus) place(f *Function) {
	b.mu.Lock()
	defer b.mu.Unlock()
	decode := f.config[regCommand]&commandMemory != 0
	changed := false
	for _, bar := range f.bars {
		addr := barAddress(&f.config, bar.index, f.cfg.BARs[bar.index].Wide)
		if addr != bar.addr || decode != bar.decode {
			bar.addr, bar.decode, bar.warned, changed = addr, decode, false, true
		}
	}
	if changed {
		b.remap()
	}
}

// remap unmaps what has to go, then maps what fits: those that stand may stay, so a BAR that is moved over another one
// loses, and one that waited for room gets it. The caller holds b.mu.
func (b *Bus) remap() {
	for _, bar := range b.bars {
		if m := bar.mapped; m != nil && (!bar.decode || bar.addr != m.Start) {
			bar.mapped = nil
			bar.f.placed(bar.index, m.Start, false)
		}
	}
	for _, bar := range b.bars {
		if bar.mapped != nil || !bar.decode {
			continue
		}
		if !b.fits(bar) {
			if !bar.warned {
				bar.warned = true
				bar.f.Warn("BAR is outside the windows or over another one, not mapped",
					"bar", bar.index, "address", hex(bar.addr), "size", hex(bar.size))
			}
			continue
		}
		bar.mapped = &mapping{guestmem.Range{Start: bar.addr, Size: bar.size}, bar.f, bar.index}
		bar.f.placed(bar.index, bar.addr, true)
	}
	t := make(table, 0, len(b.bars))
	for _, bar := range b.bars {
		if bar.mapped != nil {
			t = append(t, bar.mapped)
		}
	}
	slices.SortFunc(t, func(x, y *mapping) int {
		if x.Start < y.Start {
			return -1
		}
		return 1 // never equal: they do not overlap
	})
	b.table.Store(&t)
}

// fits says whether bar can be mapped where it is: inside one window and over no other BAR.
func (b *Bus) fits(bar *barState) bool {
	if !b.cfg.Window32.Contains(bar.addr, bar.size) && !b.cfg.Window64.Contains(bar.addr, bar.size) {
		return false
	}
	for _, other := range b.bars { // both lie inside a window, so no sum wraps
		if m := other.mapped; m != nil && bar.addr < m.End() && m.Start < bar.addr+bar.size {
			return false
		}
	}
	return true
}
