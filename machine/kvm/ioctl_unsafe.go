package kvm

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// ioctl passes a structure to the kernel and returns what the kernel returns. It tries again after a signal; only
// KVM_RUN, which must not, goes another way (see VCPU.Run).
func ioctl[T any](fd int, r request, arg *T) (int, *Error) {
	for {
		// SAFETY: the conversion stands in the call itself, so that arg stays alive and in place until the kernel
		// returns. Every structure here is generated from the kernel's headers, and r holds its size.
		n, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(r), uintptr(unsafe.Pointer(arg)))
		if errno == unix.EINTR {
			continue
		}
		return result(r, n, errno)
	}
}

// ioctlValue is ioctl for requests whose argument is a number.
func ioctlValue(fd int, r request, arg uintptr) (int, *Error) {
	for {
		n, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(r), arg)
		if errno == unix.EINTR {
			continue
		}
		return result(r, n, errno)
	}
}

func result(r request, n uintptr, errno unix.Errno) (int, *Error) {
	if errno != 0 {
		return 0, &Error{Ioctl: r.String(), Errno: errno}
	}
	return int(n), nil
}

// flexible is a kernel structure that ends in a flexible array: the header H and n entries E, neither of which
// holds pointers.
type flexible[H, E any] struct {
	words []uint64
	n     int
}

func newFlexible[H, E any](n int) flexible[H, E] {
	var h H
	var e E
	size := int(unsafe.Sizeof(h)) + n*int(unsafe.Sizeof(e))
	return flexible[H, E]{make([]uint64, (size+7)/8), n}
}

func (f flexible[H, E]) header() *H {
	// SAFETY: words holds the header, and no H asks for more than the alignment of a uint64.
	return (*H)(unsafe.Pointer(&f.words[0]))
}

func (f flexible[H, E]) entries() []E {
	// SAFETY: newFlexible made room for n entries behind the header; the templates assert that no gap lies between.
	first := unsafe.Add(unsafe.Pointer(&f.words[0]), unsafe.Sizeof(*f.header()))
	return unsafe.Slice((*E)(first), f.n)
}

// bytesOf returns the start of p for a structure that passes a pointer on, nil when p is empty.
func bytesOf[T any](p []T) *byte {
	// SAFETY: the callers see to it that the kernel uses no more than len(p) elements.
	return (*byte)(unsafe.Pointer(unsafe.SliceData(p)))
}
