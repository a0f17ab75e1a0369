package virtio

import (
	"fmt"
	"sync"
)

// Doorbells ties guest-physical addresses to eventfds (KVM_IOEVENTFD), so that a driver's notification does not leave
// the kernel. Every write to the address counts, of any size and value.
type Doorbells interface {
	Attach(gpa uint64, fd int) error
	Detach(gpa uint64, fd int) error
}

// doorbells follows the notify area of one device through guest memory.
type doorbells struct {
	to    Doorbells // nil: none
	kicks []*Kick
	warn  func(msg string, args ...any)

	mu       sync.Mutex
	base     uint64 // guarded by mu, as all below; of the notify area, while mapped
	attached []bool // by queue
	closed   bool
}

// place follows a move of the notify area. A doorbell that cannot be attached is no harm: notifications then reach the
// notify area's registers.
func (d *doorbells) place(base uint64, mapped bool) {
	if d.to == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.detach()
	if !mapped || d.closed {
		return
	}
	d.base = base
	for i, k := range d.kicks {
		err := d.to.Attach(d.address(i), k.FD())
		if d.attached[i] = err == nil; err != nil {
			d.warn("virtio doorbell is slow", "address", fmt.Sprintf("%#x", d.address(i)), "error", err)
		}
	}
}

// detach frees all doorbells. The caller holds mu.
func (d *doorbells) detach() {
	for i, k := range d.kicks {
		if !d.attached[i] {
			continue
		}
		d.attached[i] = false
		if err := d.to.Detach(d.address(i), k.FD()); err != nil {
			d.warn("detach a virtio doorbell", "address", fmt.Sprintf("%#x", d.address(i)), "error", err)
		}
	}
}

func (d *doorbells) address(i int) uint64 { return d.base + uint64(i)*notifyMultiplier }

// close frees all doorbells for good.
func (d *doorbells) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	d.detach()
}
