package engine

import (
	"os"

	"golang.org/x/sys/unix"
)

// allocate returns zeroed memory that the garbage collector does not know.
func allocate(size int) ([]byte, error) {
	p, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	return p, os.NewSyscallError("mmap", err)
}

func release(p []byte) error { return os.NewSyscallError("munmap", unix.Munmap(p)) }
