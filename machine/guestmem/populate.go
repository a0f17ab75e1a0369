package guestmem

import "golang.org/x/sys/unix"

const smallPage = 4096

// Populate gives [gpa, gpa+n), which must lie in one region, its pages now, where the kernel can do it at one go instead of a fault for
// each: huge ones for the 2 MiB extents inside (MADV_COLLAPSE, Linux 6.1, which asks no administrator as shmem_enabled does), small ones
// for the rest (MADV_POPULATE_WRITE, 5.14). A guest that runs on huge pages also takes fewer nested page faults: 1 for 512. Contents
// stay. Where the kernel cannot, pages come as they are touched, so there is nothing to report but a range outside.
func (m *Memory) Populate(gpa, n uint64) error {
	if _, err := m.Slice(gpa, n); err != nil || n == 0 {
		return err
	}
	page := gpa &^ (smallPage - 1)
	b, err := m.Slice(page, (gpa+n-page+smallPage-1)&^(smallPage-1)) // regions are whole pages
	if err != nil {
		return err
	}
	if m.page == hugePage {
		populate(b)
		return nil
	}
	n = uint64(len(b))
	start := uint64(hostAddr(b))
	first := min((start+hugePage-1)&^(hugePage-1)-start, n)
	last := max((start+n)&^(hugePage-1), start+first) - start
	populate(b[:first])
	for i := first; i < last; i += hugePage {
		populate(b[i : i+1]) // an extent without any page is refused
	}
	// One call for all: each makes every CPU of the host give up its lists of pages.
	if first == last || unix.Madvise(b[first:last], unix.MADV_COLLAPSE) != nil {
		last = first
	}
	populate(b[last:])
	return nil
}

// populate asks for small pages.
func populate(b []byte) {
	if len(b) > 0 {
		// Refused by older kernels: faults do the same, later.
		_ = unix.Madvise(b, unix.MADV_POPULATE_WRITE)
	}
}
