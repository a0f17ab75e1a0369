package pid1

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// Numbers of the KVM API (Documentation/virt/kvm/api.rst, chapter 4).
const (
	kvmCreateVM      = 0xae01
	kvmCreateVCPU    = 0xae41
	kvmCreateIRQChip = 0xae60
)

// holdKVM makes two virtual machines of one vCPU, with and without an interrupt controller in the kernel, and leaves them open. Each
// stands for a static key of the kernel (preempt notifiers, local APICs that are absent or off): the first machine of its kind patches
// the kernel's code and the last one patches it back. With these held, machines that come and go patch nothing. A host without KVM
// has nothing to hold.
func holdKVM() error {
	fd, err := unix.Open("/dev/kvm", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return &fs.PathError{Op: "open", Path: "/dev/kvm", Err: err}
	}
	for _, chip := range []bool{true, false} {
		vm, err := ioctl(fd, kvmCreateVM)
		if err == nil && chip {
			_, err = ioctl(vm, kvmCreateIRQChip)
		}
		if err == nil {
			_, err = ioctl(vm, kvmCreateVCPU)
		}
		if err != nil {
			return os.NewSyscallError("ioctl /dev/kvm", err)
		}
	}
	return nil
}

// ioctl asks again when a signal, such as the one that Go preempts goroutines with, came in between.
func ioctl(fd int, request uint) (int, error) {
	for {
		n, err := unix.IoctlRetInt(fd, request)
		if err != unix.EINTR {
			return n, err
		}
	}
}
