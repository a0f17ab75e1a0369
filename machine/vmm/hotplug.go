package vmm

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"usui/machine/boot/acpi"
	"usui/machine/pci"
	"usui/machine/virtio"
)

// SpareSlots is how many devices can be plugged in beside as many as there were at the start, as far as the bus has room. Each slot
// that can change costs every boot a little: a kernel looks into it and keeps a device for it.
const SpareSlots = 8

// maxSlots is the number of slots on a PCI bus; the host bridge has slot 0.
const maxSlots = 32

// State is how far a device and its guest have got with each other.
type State int

// The states of a device, in the order in which it takes them.
const (
	Announced State = iota // plugged in; the guest has not looked yet
	Present                // the guest knows of it; whether a driver took it is the guest's affair
	Leaving                // the guest is asked to let go of it, or is doing so
)

// String names the state as a user reads it.
func (s State) String() string {
	switch s {
	case Announced:
		return "announced"
	case Present:
		return "present"
	case Leaving:
		return "leaving"
	}
	return fmt.Sprintf("state %d", int(s))
}

// Attached is a line in the list of a machine's devices.
type Attached struct {
	Slot  int // device number on PCI bus 0
	Name  string
	State State
}

// ErrEnded is wrapped by errors about devices of a machine that has ended: there is no guest that would take or leave them.
var ErrEnded = errors.New("the machine has ended")

// Plug puts a device into the first free slot and tells the guest. It does not wait: the guest looks when it gets to it, and one that
// boots finds the device as if it had always been there. The name must not be in use. A device is plugged once; for another time, make
// another one.
//
// When Plug fails, the device stays the caller's; else it is the machine's until [Virtio.Gone] is called.
func (m *Machine) Plug(v Virtio) (slot int, err error) {
	slot, err = m.slots.plug(v, m.newFunction)
	if err != nil {
		return 0, fmt.Errorf("plug %s: %w", v.Name, err)
	}
	return slot, nil
}

// Unplug asks the guest to let go of a device and waits until the guest has ejected it: then the device is stopped, nothing of it is
// left in the machine, and [Virtio.Gone] has returned. What the guest had asked of the device before is completed. A device is never
// torn out: when ctx ends first, the error wraps its cause, and the device stays and works; the guest may still eject it later, and
// another Unplug asks again. So a ctx that has ended already asks and does not wait. A device that was there from the start can be
// unplugged as well.
func (m *Machine) Unplug(ctx context.Context, name string) error {
	d, err := m.slots.unplug(name)
	if err != nil {
		return fmt.Errorf("unplug %s: %w", name, err)
	}
	defer m.slots.waited(d)
	select {
	case <-d.gone:
	case <-m.slots.ended:
		err = ErrEnded
	case <-ctx.Done():
		err = fmt.Errorf("the guest has not let go of it: %w", context.Cause(ctx))
	}
	select {
	case <-d.gone: // whatever else has happened too
		return nil
	default:
		return fmt.Errorf("unplug %s: %w", name, err)
	}
}

// Devices lists the devices of the machine in the order of their slots.
func (m *Machine) Devices() []Attached { return m.slots.list() }

// newFunction puts a device behind a PCI function that is on no bus yet.
func (m *Machine) newFunction(v Virtio) (*pci.Function, error) {
	return virtio.NewFunction(virtio.Config{
		Name: v.Name, Device: v.Device, Memory: m.mem, Vectors: m.irqs, Doorbells: doorbells{m.vm}, Log: m.log,
	})
}

// slots are the places on the PCI bus and who has them, and the registers through which the guest hears of it (see [acpi.Hotplug]).
type slots struct {
	bus   *pci.Bus
	raise func(up bool) error // sets the level of the interrupt
	log   *slog.Logger
	ended chan struct{} // closed when the machine has ended
	last  int           // the last slot that takes part; set before the guest runs

	mu       sync.Mutex // guards all below
	over     bool       // ended is closed
	devices  [maxSlots]*device
	up, down uint32 // what the guest has not read yet, a bit a slot
	raised   bool
}

// device is what is in a slot. slots.mu guards all that changes.
type device struct {
	Attached
	model    virtio.Device
	function *pci.Function
	onGone   func()        // nil: nobody wants to know
	gone     chan struct{} // closed when the device has left
	ejecting bool          // a vCPU is taking it out
	waiters  int           // calls of Unplug
}

func newSlots(log *slog.Logger) *slots {
	return &slots{log: log, ended: make(chan struct{}), raise: func(bool) error { return nil }}
}

// add puts a function on the bus before the guest runs.
func (s *slots) add(f *pci.Function, v Virtio) error {
	if err := s.bus.Add(f); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.enter(f.Slot(), f, v, Present)
	return nil
}

// enter notes who is in a slot. The caller holds mu.
func (s *slots) enter(slot int, f *pci.Function, v Virtio, state State) {
	s.devices[slot] = &device{
		Attached: Attached{slot, v.Name, state}, model: v.Device, function: f, onGone: v.Gone, gone: make(chan struct{}),
	}
}

// plug puts a device into a free slot, behind the function that newFunction makes, and tells the guest.
func (s *slots) plug(v Virtio, newFunction func(Virtio) (*pci.Function, error)) (slot int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return 0, ErrEnded
	}
	if d := s.named(v.Name); d != nil {
		return 0, fmt.Errorf("the device in slot %d has that name", d.Slot)
	}
	if slot = s.free(); slot > s.last {
		return 0, fmt.Errorf("all %d slots are taken; unplug a device first", s.last)
	}
	f, err := newFunction(v)
	if err != nil {
		return 0, err
	}
	if err := s.bus.Insert(slot, f); err != nil {
		return 0, errors.Join(err, f.Close())
	}
	s.enter(slot, f, v, Announced)
	s.up |= 1 << slot
	s.update()
	return slot, nil
}

// mask is the slots that take part, a bit each.
func (s *slots) mask() uint32 { return uint32(1<<(s.last+1) - 2) }

// free is the first free slot; one behind the last if there is none. The caller holds mu.
func (s *slots) free() int {
	slot := 1
	for slot <= s.last && s.devices[slot] != nil {
		slot++
	}
	return slot
}

// named finds a device, nil if there is none. The caller holds mu.
func (s *slots) named(name string) *device {
	for _, d := range s.devices {
		if d != nil && d.Name == name {
			return d
		}
	}
	return nil
}

// unplug asks the guest to eject a device, unless somebody waits for that already: a request too many could reach the guest when
// another device is in the slot.
func (s *slots) unplug(name string) (*device, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.named(name)
	switch {
	case s.over:
		return nil, ErrEnded
	case d == nil:
		return nil, errors.New("the machine has no device of that name")
	}
	if d.waiters++; d.waiters == 1 && !d.ejecting {
		d.State = Leaving
		s.down |= 1 << d.Slot
		s.update()
	}
	return d, nil
}

// waited ends what unplug began.
func (s *slots) waited(d *device) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d.waiters--
}

// update brings the interrupt in line with the registers. The caller holds mu.
func (s *slots) update() {
	want := s.up|s.down != 0
	if want == s.raised {
		return
	}
	s.raised = want
	if err := s.raise(want); err != nil {
		s.log.Error("the guest does not hear of devices that come and go", "error", err)
	}
}

// Read implements [Device]: the registers are read and cleared. What is no access to one of them as a whole reads as 0, no slot.
func (s *slots) Read(off uint64, p []byte) {
	clear(p)
	if len(p) != 4 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch off {
	case acpi.HotplugUp:
		binary.LittleEndian.PutUint32(p, s.up)
		s.looked()
		s.up = 0
	case acpi.HotplugDown:
		binary.LittleEndian.PutUint32(p, s.down)
		s.down = 0
	}
	s.update()
}

// looked notes that the guest knows of what was plugged in. The caller holds mu.
func (s *slots) looked() {
	for slot, d := range s.devices {
		if s.up>>slot&1 != 0 && d != nil && d.State == Announced {
			d.State = Present
		}
	}
}

// Write implements [Device]: the guest ejects what is in the slots of a mask, on the thread of its vCPU.
func (s *slots) Write(off uint64, p []byte) {
	if off != acpi.HotplugEject || len(p) != 4 {
		return
	}
	mask := binary.LittleEndian.Uint32(p)
	for slot := range maxSlots {
		if mask>>slot&1 != 0 {
			s.eject(slot)
		}
	}
}

// eject takes the device out of a slot, if there is one that is not on its way already.
func (s *slots) eject(slot int) {
	s.mu.Lock()
	d := s.devices[slot]
	if d == nil || d.ejecting {
		s.mu.Unlock()
		return
	}
	d.ejecting, d.State = true, Leaving
	s.up &^= 1 << slot
	s.down &^= 1 << slot
	s.update()
	s.mu.Unlock()

	s.bus.Remove(d.function)
	err := d.close()

	s.mu.Lock()
	defer s.mu.Unlock()
	s.devices[slot] = nil
	close(d.gone)
	if err != nil {
		s.log.Error("eject a device", "device", d.Name, "error", err)
	}
}

// close stops the device and tells its owner.
func (d *device) close() error {
	err := d.function.Close()
	if d.onGone != nil {
		d.onGone()
	}
	return err
}

func (s *slots) list() (list []Attached) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.devices {
		if d != nil {
			list = append(list, d.Attached)
		}
	}
	return list
}

// announcing lists the devices that announce themselves. They are called without mu: the guest may eject one meanwhile, which they bear.
func (s *slots) announcing() (list []virtio.Announcing) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.devices {
		if d == nil {
			continue
		}
		if a, ok := d.model.(virtio.Announcing); ok {
			list = append(list, a)
		}
	}
	return list
}

// end refuses plugging and ends waiting: there will be no guest any more.
func (s *slots) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.over {
		s.over = true
		close(s.ended)
	}
}

// disown gives the devices back to the caller of a New that fails.
func (s *slots) disown() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.devices {
		if d != nil {
			d.onGone = nil
		}
	}
}

// close closes what is in the slots. No vCPU runs any more.
func (s *slots) close() error {
	s.end()
	s.mu.Lock()
	left := s.devices
	clear(s.devices[:])
	s.mu.Unlock()
	var errs []error
	for _, d := range left {
		if d != nil {
			errs = append(errs, d.close())
			close(d.gone)
		}
	}
	return errors.Join(errs...)
}
