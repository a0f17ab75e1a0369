package kvm

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Error is an ioctl that the kernel refused.
type Error struct {
	Ioctl string // the kernel's name, such as KVM_CREATE_VCPU
	Value string // what was asked for, such as "vcpu 5000"; may be empty
	Errno unix.Errno
}

// Error returns the ioctl, the value that was refused and the reason.
func (e *Error) Error() string {
	if e.Value == "" {
		return e.Ioctl + ": " + e.Errno.Error()
	}
	return e.Ioctl + " " + e.Value + ": " + e.Errno.Error()
}

// Unwrap returns the error number, for errors.Is(err, unix.EINVAL) and the like.
func (e *Error) Unwrap() error { return e.Errno }

// about adds the value that was refused. It returns nil for a nil error.
func (e *Error) about(format string, a ...any) error {
	if e == nil {
		return nil
	}
	e.Value = fmt.Sprintf(format, a...)
	return e
}

// request is the number of an ioctl.
type request uintptr

// String returns the kernel's name.
func (r request) String() string {
	return firstName(requestName(r), requestNameArch(r), "ioctl", uint64(r))
}

// Cap is a capability, an extension of KVM's interface.
type Cap uint32

// String returns the kernel's name.
func (c Cap) String() string {
	return firstName(capName(c), capNameArch(c), "KVM_CAP", uint64(c))
}

func firstName(common, arch, kind string, number uint64) string {
	switch {
	case common != "":
		return common
	case arch != "":
		return arch
	}
	return fmt.Sprintf("%s(%#x)", kind, number)
}
