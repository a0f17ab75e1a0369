package vmm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"usui/machine/guestmem"
	"usui/machine/kvm"
	"usui/machine/pci"
	"usui/machine/virtio"
)

// Cause is why a machine ended.
type Cause int

// The causes that a guest can bring about.
const (
	none        Cause = iota
	PowerOff          // it powered off through ACPI
	Reset             // it asked for a reset
	Panic             // its kernel panicked and said so through pvpanic
	TripleFault       // it faulted while handling a double fault: the processor shut down
)

// String names the cause as a user reads it.
func (c Cause) String() string {
	switch c {
	case PowerOff:
		return "power-off"
	case Reset:
		return "reset"
	case Panic:
		return "panic"
	case TripleFault:
		return "triple fault"
	}
	return fmt.Sprintf("cause %d", int(c))
}

// ErrUnsupported is wrapped by errors about machines that this host or this monitor cannot build.
var ErrUnsupported = errors.New("not supported")

// Config says what machine to build.
type Config struct {
	KVM     string   // path of the KVM device; empty is /dev/kvm
	CPUs    int      // virtual processors, 1 to MaxCPUs
	Memory  uint64   // bytes of RAM, a multiple of 4 KiB; of 2 MiB with HugePages
	Kernel  *os.File // a regular file; stays the caller's
	Initrd  *os.File // likewise; nil: none
	Cmdline string
	Serial  io.Writer // what the guest writes to COM1, in order, from one goroutine of Run; nil discards it
	Virtio  []Virtio  // PCI functions in slot order; more can come later, see [Machine.Plug]
	Log     *slog.Logger

	HugePages bool // RAM is of the host's reserved huge pages; see guestmem.NewHuge
}

// Virtio is one virtio device and the name under which messages and lists show it.
type Virtio struct {
	Name   string
	Device virtio.Device

	// Gone is called once when the device has left the machine, because the guest ejected it or by Close: it is stopped for good, and what
	// is behind it can be closed. The guest may eject any device at any time. Gone runs on the thread of a vCPU, which stands still until it
	// returns, so it must not wait for the guest. It is not called when New or Plug fails. nil: nobody wants to know.
	Gone func()
}

// Phases are the steps of a start, each measured from the call of New to its end.
type Phases struct {
	Built  time.Duration // VM, memory and devices are there
	Loaded time.Duration // kernel, initrd and tables are in memory
	Ready  time.Duration // vCPUs stand at the kernel's entry
}

// Machine is one virtual machine. Its methods may be called from any goroutine.
type Machine struct {
	log    *slog.Logger
	sys    *kvm.System
	vm     *kvm.VM
	mem    *guestmem.Memory
	irqs   *interrupts
	lines  []*line
	pci    *pci.Bus
	slots  *slots
	serial *serial
	button *line
	ports  *bus
	mmio   *bus
	vcpus  []*vcpu
	cpuid  hostCPUID // what KVM supports, asked once
	phases Phases

	mu      sync.Mutex // guards all below
	changed sync.Cond  // wish or parked changed
	wish    wish
	parked  int // vCPUs that stand still in park
	running int // vCPUs whose threads are in run
	started bool
	cause   Cause
}

// wish is what vCPUs are asked to do.
type wish int

const (
	run wish = iota
	pause
	stop
)

// New builds a machine and leaves it stopped at its kernel's entry.
func New(ctx context.Context, cfg Config) (_ *Machine, err error) {
	started := time.Now()
	if err := cfg.check(); err != nil {
		return nil, err
	}
	m := &Machine{log: cfg.Log}
	if m.log == nil {
		m.log = slog.New(slog.DiscardHandler)
	}
	m.changed.L = &m.mu
	m.slots = newSlots(m.log)
	defer func() {
		if err != nil {
			m.slots.disown()
			m.Close() // whatever was built so far
		}
	}()
	if err := m.build(cfg); err != nil {
		return nil, err
	}
	m.phases.Built = time.Since(started)
	entry, err := m.load(ctx, cfg)
	if err != nil {
		return nil, err
	}
	m.phases.Loaded = time.Since(started)
	for id := range cfg.CPUs {
		c, err := m.newVCPU(id, cfg.CPUs, entry)
		if err != nil {
			return nil, fmt.Errorf("vcpu %d: %w", id, err)
		}
		m.vcpus = append(m.vcpus, c)
	}
	m.phases.Ready = time.Since(started)
	return m, nil
}

// check refuses what no machine can be.
func (cfg *Config) check() error {
	if cfg.CPUs < 1 || cfg.CPUs > MaxCPUs {
		return fmt.Errorf("%d CPUs: a machine has 1 to %d", cfg.CPUs, MaxCPUs)
	}
	if cfg.Memory < minMemory {
		return fmt.Errorf("%d bytes of memory: a machine needs at least %d MiB", cfg.Memory, minMemory>>20)
	}
	if cfg.Memory%guestPage != 0 {
		return fmt.Errorf("%d bytes of memory: not a multiple of %d", cfg.Memory, guestPage)
	}
	return nil
}

const (
	guestPage = 4096
	minMemory = 16 << 20 // less holds no kernel
)

// build makes everything but the vCPUs and the contents of memory.
func (m *Machine) build(cfg Config) (err error) {
	path := cfg.KVM
	if path == "" {
		path = "/dev/kvm"
	}
	if m.sys, err = kvm.Open(path); err != nil {
		return err
	}
	if m.vm, err = m.sys.NewVM(); err != nil {
		return err
	}
	newMemory := guestmem.New
	if cfg.HugePages {
		newMemory = guestmem.NewHuge
	}
	if m.mem, err = newMemory(guestmem.Layout(cfg.Memory)); err != nil {
		return err
	}
	for slot, r := range m.mem.Regions() {
		if err := m.vm.SetMemory(uint32(slot), 0, r.Start, r.Size, r.HostAddr); err != nil {
			return fmt.Errorf("memory at %#x: %w", r.Start, err)
		}
	}
	if err := m.newChips(); err != nil {
		return err
	}
	if m.irqs, err = newInterrupts(m.vm); err != nil {
		return err
	}
	if err := m.irqs.installFirst(); err != nil {
		return err
	}
	if err := m.buildPCI(cfg); err != nil {
		return err
	}
	return m.buildBuses(cfg)
}

// buildPCI puts the virtio functions on the bus.
func (m *Machine) buildPCI(cfg Config) error {
	m.pci = pci.NewBus(pci.BusConfig{Window32: window32, Window64: window64(m.mem), Log: m.log})
	m.slots.bus = m.pci
	for _, v := range cfg.Virtio {
		f, err := m.newFunction(v)
		if err != nil {
			return fmt.Errorf("%s: %w", v.Name, err)
		}
		if err := m.slots.add(f, v); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	m.slots.last = min(len(cfg.Virtio)+SpareSlots, maxSlots-1)
	return nil
}

// newLine connects a pin and remembers it for Close.
func (m *Machine) newLine(gsi uint32) (*line, error) {
	l, err := m.irqs.newLine(gsi)
	if err == nil {
		m.lines = append(m.lines, l)
	}
	return l, err
}

// Run runs the guest until it ends, ctx ends, or a vCPU fails, once for a machine. When it returns, all vCPU threads are gone, and what
// the guest said on its serial port is written, unless ctx ended. The cause is valid when the error is nil; when ctx ended, the error is
// its cause.
func (m *Machine) Run(ctx context.Context) (Cause, error) {
	m.mu.Lock()
	if m.started {
		m.mu.Unlock()
		return none, errors.New("run: the machine has run already")
	}
	m.started, m.running = true, len(m.vcpus)
	m.mu.Unlock()
	defer context.AfterFunc(ctx, func() { m.ask(stop) })()
	written := make(chan struct{})
	go func() { // ends after the vCPUs, or when a write that outlives ctx returns
		defer close(written)
		m.serial.drain()
	}()
	var threads sync.WaitGroup
	errs := make([]error, len(m.vcpus))
	for i, c := range m.vcpus {
		threads.Go(func() { // ends with the machine: stop is asked of all vCPUs as soon as one leaves its loop
			defer m.ask(stop)
			defer m.left()
			errs[i] = c.loop()
		})
	}
	threads.Wait()
	select {
	case <-written:
	case <-ctx.Done():
	}
	m.mu.Lock()
	cause := m.cause
	m.mu.Unlock()
	switch err := errors.Join(errs...); {
	case cause != none:
		return cause, nil
	case err != nil:
		return none, err
	case ctx.Err() != nil:
		return none, context.Cause(ctx)
	}
	return none, errors.New("the machine was stopped")
}

// left notes that a vCPU's thread is leaving.
func (m *Machine) left() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.running--
	m.changed.Broadcast()
}

// end records why the machine ends; the first cause counts.
func (m *Machine) end(c Cause) {
	m.mu.Lock()
	if m.cause == none && m.wish != stop {
		m.cause = c
	}
	m.mu.Unlock()
	m.ask(stop)
}

// ask changes the wish, kicks the vCPUs so that they see it, and returns the wish before. A stop is final.
func (m *Machine) ask(w wish) (before wish) {
	m.mu.Lock()
	if before = m.wish; before == stop {
		m.mu.Unlock()
		return before
	}
	m.wish = w
	m.changed.Broadcast()
	m.mu.Unlock()
	if w == stop {
		m.serial.finish()
		m.slots.end()
	}
	for _, c := range m.vcpus {
		c.kvm.Kick()
	}
	return before
}

// Pause stops the vCPUs between two instructions and returns when all stand still. Devices finish what the guest asked of them before.
// A machine that is not running yet starts paused. When ctx ends first, the machine goes on.
func (m *Machine) Pause(ctx context.Context) error {
	before := m.ask(pause)
	defer context.AfterFunc(ctx, func() { // under mu, or it could fall between the check below and the wait
		m.mu.Lock()
		defer m.mu.Unlock()
		m.changed.Broadcast()
	})()
	m.mu.Lock()
	defer m.mu.Unlock()
	for m.parked < m.running && m.wish == pause && ctx.Err() == nil {
		m.changed.Wait()
	}
	switch {
	case m.wish == stop:
		return errors.New("pause: the machine has ended")
	case m.wish == run:
		return errors.New("pause: resumed by another caller")
	case m.parked < m.running: // only ctx ends the wait so
		m.wish = before // another caller may have paused it
		m.changed.Broadcast()
		return context.Cause(ctx)
	}
	return nil
}

// Resume lets paused vCPUs go on. After a pause, devices that announce themselves do so: switches may have forgotten them meanwhile.
func (m *Machine) Resume() {
	if m.ask(run) != pause {
		return
	}
	for _, d := range m.slots.announcing() {
		d.Announce()
	}
}

// park is called by a vCPU that was kicked: it stands still while a pause is wished and says whether to go on.
func (m *Machine) park() (goOn bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.parked++
	m.changed.Broadcast()
	for m.wish == pause {
		m.changed.Wait()
	}
	m.parked--
	return m.wish == run
}

// SerialInput hands p to the guest's COM1 and blocks while its receive queue is full. After Close it returns io.ErrClosedPipe.
func (m *Machine) SerialInput(p []byte) error { return m.serial.feed(p) }

// PowerButton presses the power button: a guest with an ACPI driver for it shuts down.
func (m *Machine) PowerButton() { m.button.Pulse() }

// Phases says how long the start took.
func (m *Machine) Phases() Phases { return m.phases }

// PCI is the bus with its functions, for lists.
func (m *Machine) PCI() *pci.Bus { return m.pci }

// Memory is the guest's RAM.
func (m *Machine) Memory() *guestmem.Memory { return m.mem }

// Close releases everything, in reverse order of building, and is safe on a half-built machine. It must not be called while Run runs.
func (m *Machine) Close() error {
	var errs []error
	keep := func(err error) {
		if err != nil && !errors.Is(err, os.ErrClosed) {
			errs = append(errs, err)
		}
	}
	if m.serial != nil {
		m.serial.close()
	}
	keep(m.slots.close())
	for _, c := range m.vcpus {
		keep(c.kvm.Close())
	}
	for _, l := range m.lines {
		keep(l.fd.Close())
	}
	if m.vm != nil {
		keep(m.vm.Close())
	}
	if m.mem != nil {
		keep(m.mem.Close())
	}
	if m.sys != nil {
		keep(m.sys.Close())
	}
	return errors.Join(errs...)
}
