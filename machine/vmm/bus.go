package vmm

import (
	"fmt"
	"slices"

	"usui/machine/guestmem"
)

// Device answers guest accesses to one range of I/O ports or of guest-physical memory.
//
// The methods run on the thread of the vCPU that made the access; the guest's vCPU stands still until they return, and several
// vCPUs may call at once. off counts bytes from the start of the range and p is 1 to 8 bytes long; off+len(p) may lie beyond the
// end of the range by less than len(p), as guests may access across an edge. Hardware has no error return: what is not there
// reads as all ones and ignores writes. p aliases memory shared with the kernel and must not be kept.
type Device interface {
	Read(off uint64, p []byte)
	Write(off uint64, p []byte)
}

// busEntry is a device and where it answers.
type busEntry struct {
	name string
	at   guestmem.Range
	dev  Device
}

// bus finds the device of an address. It is built once, sorted, and never changes while the machine lives, so vCPUs read it without
// a lock; what moves under a guest's hand (PCI BARs) is dispatched inside the entry that holds its window.
type bus struct {
	entries []busEntry
}

// newBus sorts entries and refuses ranges that are empty, wrap around or overlap.
func newBus(entries []busEntry) (*bus, error) {
	sorted := slices.Clone(entries)
	slices.SortFunc(sorted, func(a, b busEntry) int {
		if a.at.Start < b.at.Start {
			return -1
		}
		return 1
	})
	for i, e := range sorted {
		if e.at.Size == 0 || e.at.Start+e.at.Size < e.at.Start {
			return nil, fmt.Errorf("%s at %#x: size %#x", e.name, e.at.Start, e.at.Size)
		}
		if i > 0 && sorted[i-1].at.End() > e.at.Start {
			return nil, fmt.Errorf("%s at %#x overlaps %s at %#x", e.name, e.at.Start, sorted[i-1].name, sorted[i-1].at.Start)
		}
	}
	return &bus{entries: sorted}, nil
}

// find returns the entry that holds addr.
func (b *bus) find(addr uint64) *busEntry {
	lo, hi := 0, len(b.entries)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if b.entries[mid].at.End() <= addr {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo < len(b.entries) && b.entries[lo].at.Start <= addr {
		return &b.entries[lo]
	}
	return nil
}

// read fills p from the device at addr; where there is none the bus floats high.
func (b *bus) read(addr uint64, p []byte) (found bool) {
	e := b.find(addr)
	if e == nil {
		for i := range p {
			p[i] = 0xff
		}
		return false
	}
	e.dev.Read(addr-e.at.Start, p)
	return true
}

// write hands p to the device at addr.
func (b *bus) write(addr uint64, p []byte) (found bool) {
	e := b.find(addr)
	if e == nil {
		return false
	}
	e.dev.Write(addr-e.at.Start, p)
	return true
}
