package guestmem

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Release gives the pages that lie wholly in [gpa, gpa+n) back to the host and tells how many bytes they have, which may be 0: those that lie
// there in part stay as they are. The n bytes must lie in one region; else the error wraps [ErrOutside] and nothing happens. What was
// released reads as zero and takes a page again when it is touched, by whomever. Release does not allocate when it succeeds.
//
// The hole is in the file, so it is one for every process that maps it, and the kernel takes the pages out of the guest's page tables before
// it returns (KVM's MMU notifier): each call interrupts all vCPUs that run, which makes one for many pages much cheaper than one for each.
// Whoever has a page pinned (I/O in flight into it, a device that does DMA) keeps the old one, which is no part of the guest any more.
func (m *Memory) Release(gpa, n uint64) (released uint64, err error) {
	for i := range m.regions {
		r := &m.regions[i]
		if !r.Contains(gpa, n) {
			continue
		}
		off := uint64(r.FileOffset) + gpa - r.Start
		start, end := (off+m.page-1)&^(m.page-1), (off+n)&^(m.page-1)
		if start >= end {
			return 0, nil
		}
		return end - start, m.punch(int64(start), int64(end-start))
	}
	return 0, fmt.Errorf("release of %d bytes at %#x: %w", n, gpa, ErrOutside)
}

// punch makes a hole in the file.
func (m *Memory) punch(off, n int64) error {
	fd := int(m.file.Fd())
	for {
		err := unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, n)
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("release %d bytes at %#x of the memory file: %w", n, off, err)
		}
	}
}
