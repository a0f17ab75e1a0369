package engine

import (
	"os"

	"golang.org/x/sys/unix"
)

// allocate returns zeroed memory that the garbage collector does not know. Of much of it, huge pages where the kernel gives them: without them most reads of
// the index miss the TLB, and each page's first store is a fault. Else the kernel gives what is touched.
func allocate(size int, much bool) ([]byte, error) {
	p, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, os.NewSyscallError("mmap", err)
	}
	if !much {
		return p, nil
	}
	_ = unix.Madvise(p, unix.MADV_HUGEPAGE)       // a kernel without them says EINVAL, and small pages do as well, only slower
	_ = unix.Madvise(p, unix.MADV_POPULATE_WRITE) // kernels before 5.14 cannot: then the first store into each page is a fault
	return p, nil
}

func release(p []byte) error { return os.NewSyscallError("munmap", unix.Munmap(p)) }

// zero makes memory of allocate what it was, and the kernel's until it is touched.
func zero(p []byte) {
	if unix.Madvise(p, unix.MADV_DONTNEED) != nil { // it is locked
		clear(p)
	}
}
