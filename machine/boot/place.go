package boot

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"usui/machine/guestmem"
)

// Limits of where an image may lie.
const (
	imageFloor   = 1 << 20 // below lie boot structures and tables
	imageCeiling = 4 << 30 // above, the page tables of boot do not reach
)

// linkOffset is where the first segment lies in the file of a vmlinux: the linker aligns it to 2 MiB. Only speed depends
// on it.
const linkOffset = 2 << 20

// checkRAM says whether n bytes at gpa are guest RAM that an image may use.
func checkRAM(mem *guestmem.Memory, gpa, n uint64) error {
	if gpa < imageFloor {
		return fmt.Errorf("the kernel wants to lie at %#x; below %#x is no place for it", gpa, uint64(imageFloor))
	}
	if n > imageCeiling || gpa > imageCeiling-n {
		return fmt.Errorf("the kernel wants %#x bytes at %#x; it must lie below 4 GiB", n, gpa)
	}
	for _, r := range mem.Regions() {
		if r.Contains(gpa, n) {
			return nil
		}
	}
	return fmt.Errorf("memory of %d MiB is too small: the kernel needs %d MiB at address %d MiB, so %d MiB at least",
		mem.Size()>>20, mib(n), gpa>>20, mib(gpa+n))
}

// mib rounds bytes up to MiB.
func mib(n uint64) uint64 { return (n + 1<<20 - 1) >> 20 }

// loadBzImage unpacks the payload of a bzImage and leaves its segments at their physical addresses.
func loadBzImage(ctx context.Context, mem *guestmem.Memory, h *setupHeader) (*elfImage, error) {
	// init_size counts the kernel's .bss, the unpacked image and slack, all of it from pref_address on.
	if err := checkRAM(mem, h.prefAddress, h.initSize); err != nil {
		return nil, err
	}
	base := h.prefAddress
	if base >= imageFloor+linkOffset {
		base -= linkOffset // so that the segments that the linker left in step with the file need no move
	}
	window, err := mem.Slice(base, h.unpackedSize)
	if err != nil {
		return nil, err
	}
	// Decompressors store here and there: a fault for each page would cost more than all of them at once.
	if err := mem.Populate(base, h.unpackedSize); err != nil {
		return nil, err
	}
	if err := unpack(ctx, window, h.payload); err != nil {
		return nil, err
	}
	e, err := parseELF(window)
	if err != nil {
		return nil, fmt.Errorf("unpacked image: %w", err)
	}
	if first := e.segments[0].paddr; first < h.prefAddress || e.end() > h.prefAddress+h.initSize {
		return nil, fmt.Errorf("unpacked image: it lies at [%#x, %#x), the header promises [%#x, %#x)",
			first, e.end(), h.prefAddress, h.prefAddress+h.initSize)
	}
	return e, settle(mem, e, base, h.unpackedSize)
}

// settle moves the segments of an image that was unpacked at base to their physical addresses, and clears all else that
// the unpacked image of size bytes touched.
//
// Both files and memory hold the segments in the same order, without overlap. So segments that move down never touch the
// source of a later one, those that move up never that of an earlier one, and a segment that moves down never meets one
// that moves up: down first, in order, then up, in reverse, loses nothing.
func settle(mem *guestmem.Memory, e *elfImage, base, size uint64) error {
	for i := range e.segments[1:] {
		if a, b := e.segments[i], e.segments[i+1]; a.off+a.filesz > b.off {
			return errors.New("the segments lie in another order in the file than in memory")
		}
	}
	for _, s := range e.segments {
		if s.paddr < base+s.off {
			if err := move(mem, s.paddr, base+s.off, s.filesz); err != nil {
				return err
			}
		}
	}
	for _, s := range slices.Backward(e.segments) {
		if s.paddr > base+s.off {
			if err := move(mem, s.paddr, base+s.off, s.filesz); err != nil {
				return err
			}
		}
	}
	return clearGaps(mem, e, base, base+size)
}

func move(mem *guestmem.Memory, to, from, n uint64) error {
	dst, err := mem.Slice(to, n)
	if err != nil {
		return err
	}
	src, err := mem.Slice(from, n)
	if err != nil {
		return err
	}
	copy(dst, src)
	return nil
}

// clearGaps zeroes what lies in [start, end) and in no segment's file part.
func clearGaps(mem *guestmem.Memory, e *elfImage, start, end uint64) error {
	for _, s := range e.segments {
		if err := zero(mem, start, min(s.paddr, end)); err != nil {
			return err
		}
		start = max(start, s.paddr+s.filesz)
	}
	return zero(mem, start, end)
}

func zero(mem *guestmem.Memory, start, end uint64) error {
	if start >= end {
		return nil
	}
	b, err := mem.Slice(start, end-start)
	if err != nil {
		return err
	}
	clear(b)
	return nil
}

// loadELF copies the segments of an ELF file to their physical addresses. Memory is zero before, so the rest of each
// segment needs nothing.
func loadELF(ctx context.Context, mem *guestmem.Memory, image []byte) (*elfImage, error) {
	e, err := parseELF(image)
	if err != nil {
		return nil, err
	}
	for _, s := range e.segments {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := checkRAM(mem, s.paddr, s.memsz); err != nil {
			return nil, err
		}
		dst, err := mem.Slice(s.paddr, s.filesz)
		if err != nil {
			return nil, err
		}
		copy(dst, image[s.off:])
	}
	return e, nil
}

// Pages that every Linux writes before its first process runs, as shares of RAM and with limits, because they are more in a large
// machine but are needed at once only in part.
const (
	pageArrayShare, pageArrayLimit = 64, 32 << 20 // struct page: 64 bytes for 4 KiB; beside it lie page tables and hash tables
	earlyShare, earlyLimit         = 32, 24 << 20 // what the allocator gives out first: slabs, unpacked RAM disk
)

// firstWritten lists the pages that a Linux kernel is about to write: memblock hands out memory from the top down, below the RAM disk if
// that lies there, and the page allocator from the bottom up (mm/memblock.c, mm/page_alloc.c). To populate them saves a fault for
// each. A kernel that does otherwise only has some pages early; a machine so small that it has none to spare gets none.
func firstWritten(mem *guestmem.Memory, k *kernel, initrd guestmem.Range) []guestmem.Range {
	regions := mem.Regions()
	first, last := regions[0], regions[len(regions)-1]
	top := last.End()
	if last.Contains(initrd.Start, initrd.Size) && top-initrd.End() < hugePage {
		top = alignUp(initrd.Start, hugePage)
	}
	array := min(mem.Size()/pageArrayShare, pageArrayLimit)
	array = alignUp(array+array/2, hugePage)
	start := alignUp(k.imageEnd, hugePage)
	early := alignUp(k.end+min(mem.Size()/earlyShare, earlyLimit), hugePage) - start
	limit := first.End()
	if first == last {
		limit = top - min(array, top)
	}
	if start+early > limit || array > top-last.Start {
		return nil
	}
	return []guestmem.Range{{Start: start, Size: early}, {Start: top - array, Size: array}}
}

// hugePage is the size of the pages that [guestmem.Memory.Populate] prefers.
const hugePage = 2 << 20

func alignUp(v, to uint64) uint64 { return (v + to - 1) &^ (to - 1) }
