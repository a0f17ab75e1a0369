package pci

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
)

// Registers of a type 0 header (PCI Local Bus Specification 3.0 section 6.1).
const (
	configSize = 256

	regVendor          = 0x00
	regDevice          = 0x02
	regCommand         = 0x04
	regStatus          = 0x06
	regRevision        = 0x08
	regClass           = 0x09 // three bytes
	regCacheLine       = 0x0c
	regLatency         = 0x0d
	regBAR0            = 0x10
	regSubsystemVendor = 0x2c
	regSubsystem       = 0x2e
	regCapabilities    = 0x34
	regInterruptLine   = 0x3c
	firstCapability    = 0x40

	commandMemory      = 1 << 1
	commandMaster      = 1 << 2
	commandINTxDisable = 1 << 10
	statusCapabilities = 1 << 4
)

// maxWarnings bounds what one function may make the monitor log in its life: a hostile guest does wrong things in a loop.
const maxWarnings = 64

// FunctionConfig describes a function. The zero value of a field leaves the thing out.
type FunctionConfig struct {
	Name                       string
	Vendor, Device             uint16
	SubsystemVendor, Subsystem uint16
	Class                      uint32 // base class, subclass and interface: 24 bits
	Revision                   uint8
	BARs                       [6]BAR
	Capabilities               []Capability // in the order of the list; MSI-X comes before them
	MSIX                       MSIX
	Vectors                    Vectors      // makes the interrupts that MSIX asks for
	Log                        *slog.Logger // nil: the bus's

	// Placed is called when a BAR is mapped at gpa, or no longer mapped there. Calls for one bus do not overlap.
	Placed func(bar int, gpa uint64, mapped bool)

	// Close is called once by [Function.Close], before interrupts end.
	Close func() error
}

// Function is one PCI function: its registers, and what they control.
type Function struct {
	cfg      FunctionConfig
	caps     []capability
	msix     *msix // nil without
	warnings atomic.Uint64
	closed   atomic.Bool

	// Set when the function comes to a bus, before anything there can reach it.
	bus  *Bus
	slot int
	log  *slog.Logger

	mu       sync.Mutex
	bars     []*barState      // guarded by mu; empty once the function has left the bus
	config   [configSize]byte // guarded by mu
	writable [configSize]byte // the bits that the guest may change; does not change itself
}

// NewFunction makes a function that is on no bus yet, and one interrupt vector for each entry of its MSI-X table.
func NewFunction(cfg FunctionConfig) (*Function, error) {
	f := newFunction(cfg)
	for i, bar := range cfg.BARs {
		if err := bar.check(i, &cfg.BARs); err != nil {
			return nil, fmt.Errorf("PCI function %s: %w", cfg.Name, err)
		}
		f.maskBAR(i, bar)
	}
	if err := f.addCapabilities(); err != nil {
		if f.msix != nil {
			err = errors.Join(err, f.msix.close())
		}
		return nil, fmt.Errorf("PCI function %s: %w", cfg.Name, err)
	}
	return f, nil
}

// newFunction fills in the header.
func newFunction(cfg FunctionConfig) *Function {
	f := &Function{cfg: cfg, log: cfg.Log}
	put := binary.LittleEndian.PutUint16
	put(f.config[regVendor:], cfg.Vendor)
	put(f.config[regDevice:], cfg.Device)
	f.config[regRevision] = cfg.Revision
	f.config[regClass] = byte(cfg.Class)
	put(f.config[regClass+1:], uint16(cfg.Class>>8))
	put(f.config[regSubsystemVendor:], cfg.SubsystemVendor)
	put(f.config[regSubsystem:], cfg.Subsystem)
	put(f.writable[regCommand:], commandMemory|commandMaster|commandINTxDisable)
	f.writable[regCacheLine] = 0xff
	f.writable[regLatency] = 0xff
	f.writable[regInterruptLine] = 0xff // scratch space of firmware; the interrupt pin is 0: none
	return f
}

// hostBridge is the function that operating systems expect at 00:00.0. It is Red Hat's generic PCIe host bridge, which QEMU
// shows on its virtual boards: no operating system has a driver for it that would want more than its name.
func hostBridge(log *slog.Logger) *Function {
	return newFunction(FunctionConfig{Name: "host bridge", Vendor: 0x1b36, Device: 0x0008, Class: 0x060000, Log: log})
}

// maskBAR makes the address bits of a BAR writable. What is written above its size reads back as it was written and what is
// below as 0, which is how an operating system learns the size.
func (f *Function) maskBAR(i int, bar BAR) {
	if bar.Size == 0 {
		return
	}
	mask := ^(bar.Size - 1)
	binary.LittleEndian.PutUint32(f.writable[regBAR0+4*i:], uint32(mask))
	if bar.Wide {
		binary.LittleEndian.PutUint32(f.writable[regBAR0+4*i+4:], uint32(mask>>32))
		f.config[regBAR0+4*i] = bar64
	}
}

// setBAR writes an address as firmware would.
func (f *Function) setBAR(i int, addr uint64) {
	reg := f.config[regBAR0+4*i:]
	kind := uint32(reg[0] & barTypeBits)
	binary.LittleEndian.PutUint32(reg, uint32(addr)|kind)
	if f.cfg.BARs[i].Wide {
		binary.LittleEndian.PutUint32(reg[4:], uint32(addr>>32))
	}
}

// Name is the name in the configuration.
func (f *Function) Name() string { return f.cfg.Name }

// readConfig fills p from the registers at reg, which all exist.
func (f *Function) readConfig(reg int, p []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.caps {
		if c := &f.caps[i]; c.BeforeRead != nil {
			if off, n := c.overlap(reg, len(p)); n > 0 {
				c.BeforeRead(f.body(c), off, n)
			}
		}
	}
	copy(p, f.config[reg:])
}

// writeConfig changes the writable bits of the registers at reg, which all exist, and does what they are for.
func (f *Function) writeConfig(reg int, p []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, v := range p {
		mask := f.writable[reg+i]
		f.config[reg+i] = f.config[reg+i]&^mask | v&mask
	}
	if f.bus != nil && (touches(reg, len(p), regCommand, 2) || touches(reg, len(p), regBAR0, 4*numBARs)) {
		f.bus.place(f)
	}
	for i := range f.caps {
		if c := &f.caps[i]; c.AfterWrite != nil {
			if off, n := c.overlap(reg, len(p)); n > 0 {
				c.AfterWrite(f.body(c), off, n)
			}
		}
	}
}

// touches says whether n bytes at reg share one with size bytes at start.
func touches(reg, n, start, size int) bool { return reg < start+size && start < reg+n }

// ReadBAR fills p from the bytes behind a BAR, as an access of the guest does, wherever the BAR is mapped. Accesses
// beyond its end read as ones.
func (f *Function) ReadBAR(index int, off uint64, p []byte) {
	switch {
	case !f.inBAR(index, off, len(p)):
		ones(p)
	case f.msix == nil || !f.msix.read(index, off, p):
		f.cfg.BARs[index].Region.Read(off, p)
	}
}

// WriteBAR writes to the bytes behind a BAR. Accesses beyond its end are dropped.
func (f *Function) WriteBAR(index int, off uint64, p []byte) {
	switch {
	case !f.inBAR(index, off, len(p)):
	case f.msix == nil || !f.msix.write(index, off, p):
		f.cfg.BARs[index].Region.Write(off, p)
	}
}

func (f *Function) inBAR(index int, off uint64, n int) bool {
	if index < 0 || index >= numBARs {
		return false
	}
	size := f.cfg.BARs[index].Size
	return off < size && uint64(n) <= size-off
}

// placed passes a move on to the function.
func (f *Function) placed(bar int, gpa uint64, mapped bool) {
	if f.cfg.Placed != nil {
		f.cfg.Placed(bar, gpa, mapped)
	}
}

// Signal raises interrupt vector i: at once, or when the guest unmasks it. Without MSI-X, or for a vector that does
// not exist, it does nothing. It may be called from any goroutine and does not allocate.
func (f *Function) Signal(i int) {
	if f.msix != nil {
		f.msix.signal(i)
	}
}

// VectorFD is an eventfd that does the same as Signal(i), for the kernel or another process; -1 if there is no such vector.
// A vector that is masked then does not show in the pending bits.
func (f *Function) VectorFD(i int) int {
	if f.msix == nil {
		return -1
	}
	return f.msix.fd(i)
}

// MSIXEnabled says whether the guest uses MSI-X, so that interrupts can reach it.
func (f *Function) MSIXEnabled() bool { return f.msix != nil && f.msix.enabled.Load() }

// Warn logs what the guest did wrong. Only the first lines of a function get through, so that no guest fills the log.
func (f *Function) Warn(msg string, args ...any) {
	n := f.warnings.Add(1)
	if f.log == nil || n > maxWarnings {
		return
	}
	if n == maxWarnings {
		args = append(args, "note", "last line about this function")
	}
	f.log.With("function", f.cfg.Name).Warn(msg, args...)
}

// hex is an address as people read it in a log.
func hex(v uint64) string { return fmt.Sprintf("%#x", v) }

// Slot is the device number on bus 0, once the function is or was there.
func (f *Function) Slot() int { return f.slot }

// Close ends the function: first what its Close hook ends, then its interrupts, whose vectors it closes. A function that vCPUs can
// reach leaves the bus before, see [Bus.Remove]; an access that is still under way finds registers without effect. A second Close does
// nothing.
func (f *Function) Close() error {
	if f.closed.Swap(true) {
		return nil
	}
	var errs []error
	if f.cfg.Close != nil {
		errs = append(errs, f.cfg.Close())
	}
	if f.msix != nil {
		errs = append(errs, f.msix.close())
	}
	return errors.Join(errs...)
}
