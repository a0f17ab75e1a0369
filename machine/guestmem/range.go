package guestmem

import "fmt"

const (
	kib = 1 << 10
	gib = 1 << 30

	// pageSize is the granule of ranges. KVM takes memory slots in host pages; 4 KiB is the smallest on both architectures.
	pageSize = 4 * kib
)

// Range is a run of guest-physical bytes.
type Range struct{ Start, Size uint64 }

// End is the address after the last byte. It wraps to 0 for a range that ends with the address space.
func (r Range) End() uint64 { return r.Start + r.Size }

// Contains says whether the n bytes at gpa all lie in r. It cannot be fooled by sums that wrap. No bytes at all
// (n = 0) lie in r when gpa is not before its start and not behind its end.
func (r Range) Contains(gpa, n uint64) bool {
	off := gpa - r.Start
	return gpa >= r.Start && off <= r.Size && n <= r.Size-off
}

// String gives the range as first and last address, as the kernel prints its memory map.
func (r Range) String() string {
	if r.Size == 0 {
		return fmt.Sprintf("[mem %#x, empty]", r.Start)
	}
	return fmt.Sprintf("[mem %#x-%#x]", r.Start, r.Start+r.Size-1)
}

// check says what is wrong with r as RAM.
func (r Range) check() error {
	switch {
	case r.Size == 0:
		return fmt.Errorf("guest memory at %#x: size is 0", r.Start)
	case r.Start%pageSize != 0 || r.Size%pageSize != 0:
		return fmt.Errorf("guest memory at %#x, %d bytes: not in pages of %d bytes", r.Start, r.Size, pageSize)
	case r.Start+r.Size < r.Start || r.Start+r.Size > 1<<63:
		return fmt.Errorf("guest memory at %#x, %d bytes: reaches beyond address 1<<63", r.Start, r.Size)
	}
	return nil
}

// layout places size bytes of RAM: up to low bytes from start on, and the rest, if any, from high on. The architecture's
// [Layout] knows the numbers.
func layout(size, start, low, high uint64) []Range {
	if size <= low {
		return []Range{{start, size}}
	}
	return []Range{{start, low}, {high, size - low}}
}
