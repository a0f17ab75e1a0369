package boot

import (
	"errors"
	"fmt"
	"math"
	"os"
	"runtime/debug"

	"golang.org/x/sys/unix"
)

// regular returns the size of an open regular file; anything else cannot be mapped, or read twice.
func regular(f *os.File) (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	switch mode := info.Mode(); {
	case mode.IsDir():
		return 0, fmt.Errorf("%s: is a directory; name a file in it", f.Name())
	case !mode.IsRegular():
		return 0, fmt.Errorf("%s: is not a regular file (%v); copy it to one", f.Name(), mode.Type())
	}
	return info.Size(), nil
}

// withMapped calls use with the file's content, mapped and not read: a kernel is larger than the heap is meant to be.
// Another process may cut the file short meanwhile, and the disk may fail; both arrive as SIGBUS at some load
// instruction inside use, and become an error here.
func withMapped(f *os.File, use func(image []byte) error) (err error) {
	size, err := regular(f)
	if err != nil {
		return err
	}
	if size == 0 || size > math.MaxInt {
		return fmt.Errorf("%s: %d bytes are no kernel", f.Name(), size)
	}
	image, err := unix.Mmap(int(f.Fd()), 0, int(size), unix.PROT_READ, unix.MAP_PRIVATE)
	if err != nil {
		return fmt.Errorf("%s: map %d bytes: %w", f.Name(), size, err)
	}
	defer unix.Munmap(image)

	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		switch r := recover().(type) {
		case nil:
		case interface{ Addr() uintptr }: // of runtime.Error: a fault at an address
			err = errors.New("a memory fault while it was loaded: it was cut short or cannot be read")
		default:
			panic(r)
		}
		if err != nil {
			err = fmt.Errorf("%s: %w", f.Name(), err)
		}
	}()
	return use(image)
}
