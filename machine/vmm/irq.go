package vmm

import (
	"errors"
	"fmt"
	"sync"

	"usui/host/eventfd"
	"usui/machine/kvm"
	"usui/machine/pci"
)

// ioapicPins is the number of inputs of KVM's I/O APIC (KVM_IOAPIC_NUM_PINS); message-signalled interrupts use the numbers above.
const ioapicPins = 24

// interrupts owns the machine's global system interrupts: each one is an eventfd that KVM turns into an interrupt by itself (irqfd), so
// raising one is a write(2) that any process may do, and a routing table that says where it goes.
type interrupts struct {
	vm *kvm.VM

	mu    sync.Mutex       // guards all below
	next  uint32           // the lowest global system interrupt that was never used
	free  []uint32         // those below that closed vectors gave back
	limit uint32           // KVM_CAP_IRQ_ROUTING: numbers at and above it are refused
	msi   map[uint32]route // programmed message-signalled interrupts
	table []kvm.IRQRoute   // scratch for install
}

type route struct {
	addr uint64
	data uint32
}

func newInterrupts(vm *kvm.VM) (*interrupts, error) {
	limit, err := vm.Extension(kvm.CapIRQRouting)
	if err != nil {
		return nil, err
	}
	return &interrupts{vm: vm, next: ioapicPins, limit: uint32(limit), msi: make(map[uint32]route)}, nil
}

// install hands the whole table to KVM, which replaces the old one. The caller holds mu.
func (t *interrupts) install() error {
	t.table = appendPins(t.table[:0])
	for gsi, r := range t.msi {
		t.table = append(t.table, kvm.MSIRoute(gsi, r.addr, r.data))
	}
	return t.vm.SetGSIRouting(t.table)
}

// newLine connects an eventfd to a pin of the I/O APIC.
func (t *interrupts) newLine(gsi uint32) (*line, error) {
	fd, err := eventfd.New()
	if err != nil {
		return nil, err
	}
	if err := t.vm.IRQFD(int(fd.Fd()), gsi); err != nil {
		fd.Close()
		return nil, fmt.Errorf("interrupt %d: %w", gsi, err)
	}
	return &line{fd: fd}, nil
}

// line is an edge-triggered pin of the I/O APIC.
type line struct{ fd *eventfd.FD }

// Pulse implements [Line].
func (l *line) Pulse() {
	// It fails only when the machine is closed, and then nobody is there to interrupt.
	_ = l.fd.Signal()
}

// NewVector implements [pci.Vectors].
func (t *interrupts) NewVector() (pci.Vector, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	gsi := t.next
	if n := len(t.free); n > 0 {
		gsi = t.free[n-1]
	}
	if gsi >= t.limit {
		return nil, fmt.Errorf("message-signalled interrupt %d: KVM routes %d interrupts", gsi, t.limit)
	}
	fd, err := eventfd.New()
	if err != nil {
		return nil, err
	}
	if gsi == t.next {
		t.next++
	} else {
		t.free = t.free[:len(t.free)-1]
	}
	return &vector{table: t, gsi: gsi, fd: fd}, nil
}

// vector is one message-signalled interrupt. Its irqfd is attached while it has a route, so that a signal never reaches a stale one.
type vector struct {
	table *interrupts
	gsi   uint32
	fd    *eventfd.FD

	attached bool // guarded by table.mu
}

var _ pci.Vector = (*vector)(nil)

// Route implements [pci.Vector].
func (v *vector) Route(addr uint64, data uint32) error {
	t := v.table
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := checkMSI(addr); err != nil {
		return err
	}
	want := route{addr, data}
	if old, ok := t.msi[v.gsi]; !ok || old != want {
		t.msi[v.gsi] = want
		if err := t.install(); err != nil {
			delete(t.msi, v.gsi)
			return errors.Join(err, v.detach())
		}
	}
	if v.attached {
		return nil
	}
	if err := t.vm.IRQFD(int(v.fd.Fd()), v.gsi); err != nil {
		return err
	}
	v.attached = true
	return nil
}

// Unroute implements [pci.Vector]. The route stays in the table: guests mask and unmask far more often than they reprogram.
func (v *vector) Unroute() error {
	v.table.mu.Lock()
	defer v.table.mu.Unlock()
	return v.detach()
}

// detach disconnects the eventfd from KVM. The caller holds table.mu.
func (v *vector) detach() error {
	if !v.attached {
		return nil
	}
	v.attached = false
	return v.table.vm.RemoveIRQFD(int(v.fd.Fd()), v.gsi)
}

// Signal implements [pci.Vector].
func (v *vector) Signal() error { return v.fd.Signal() }

// FD implements [pci.Vector]. What is written while the eventfd is detached is delivered by KVM when it is attached again.
func (v *vector) FD() int { return int(v.fd.Fd()) }

// Close implements [pci.Vector]. Nothing is attached to the number then, so another vector may have it; KVM forgets the route when it
// gets the next table.
func (v *vector) Close() error {
	t := v.table
	t.mu.Lock()
	err := v.detach()
	delete(t.msi, v.gsi)
	t.free = append(t.free, v.gsi)
	t.mu.Unlock()
	return errors.Join(err, v.fd.Close())
}

// doorbells connects a guest-physical address to an eventfd inside KVM (ioeventfd): a write there never reaches this process. The
// length of the write does not matter to a queue's notification, so any is accepted.
type doorbells struct{ vm *kvm.VM }

// Attach implements virtio's Doorbells.
func (d doorbells) Attach(gpa uint64, fd int) error {
	return d.vm.IOEventFD(kvm.IOEvent{Addr: gpa, FD: fd})
}

// Detach implements virtio's Doorbells.
func (d doorbells) Detach(gpa uint64, fd int) error {
	return d.vm.RemoveIOEventFD(kvm.IOEvent{Addr: gpa, FD: fd})
}

// installFirst routes the pins before anything uses them: KVM's default table routes them to the 8259s as well.
func (t *interrupts) installFirst() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.install()
}
