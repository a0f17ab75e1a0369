package kvm

import (
	"errors"
	"io"
	"sync"
)

// VM is a virtual machine: memory slots, vCPUs and interrupt routes.
//
// Its methods may be called from any goroutine, also while vCPUs run; Close is the exception.
type VM struct {
	fd      int
	runSize int // bytes of a vCPU's mapping

	mu       sync.Mutex
	children []io.Closer       // guarded by mu: vCPUs and devices
	slots    map[uint32]uint64 // guarded by mu: bytes of each memory slot
}

// NewVM makes an empty machine. The kernel ties it to this process: no other can use it, not even a fork.
func (s *System) NewVM() (*VM, error) {
	size, e := ioctlValue(s.fd, kvmGetVCPUMmapSize, 0)
	if e != nil {
		return nil, e
	}
	kind, err := s.machineType()
	if err != nil {
		return nil, err
	}
	fd, e := ioctlValue(s.fd, kvmCreateVM, kind)
	if e != nil {
		return nil, e.about("type %#x", kind)
	}
	return &VM{fd: fd, runSize: size, slots: map[uint32]uint64{}}, nil
}

// Close closes the machine and all vCPUs and devices made from it. No vCPU may be inside Run and no other method may
// be under way. Closing twice is allowed.
func (vm *VM) Close() error {
	vm.mu.Lock()
	children := vm.children
	vm.children = nil
	vm.mu.Unlock()
	var errs []error
	for _, c := range children {
		errs = append(errs, c.Close())
	}
	return errors.Join(append(errs, closeFD(&vm.fd))...)
}

// own makes Close close c too.
func (vm *VM) own(c io.Closer) {
	vm.mu.Lock()
	defer vm.mu.Unlock()
	vm.children = append(vm.children, c)
}

// Extension returns what the kernel says of a capability for this machine; see [System.Extension].
func (vm *VM) Extension(c Cap) (int, error) { return extension(vm.fd, c) }

// EnableCap switches a capability of the machine on. What the up to four arguments mean depends on it:
// Documentation/virt/kvm/api.rst, section 7.
func (vm *VM) EnableCap(c Cap, args ...uint64) error { return enable(vm.fd, c, args) }

func enable(fd int, c Cap, args []uint64) error {
	x := enableCap{Cap: uint32(c)}
	copy(x.Args[:], args)
	_, e := ioctl(fd, kvmEnableCap, &x)
	return e.about("%v %#x", c, args)
}
