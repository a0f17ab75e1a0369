package pci

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"

	"usui/machine/guestmem"
)

// Sizes of the ECAM window: 4 KiB a function, 8 functions a slot, 32 slots (PCI Express Base Specification section 7.2.2).
const (
	// ECAMSize is the size in bytes of the configuration window, which covers bus 0 alone.
	ECAMSize = numSlots << slotShift

	numSlots      = 32
	slotShift     = 15
	functionShift = 12
)

// BusConfig says where the bus has room for BARs.
type BusConfig struct {
	Window32 guestmem.Range // below 4 GiB
	Window64 guestmem.Range // anywhere; empty: wide BARs go below 4 GiB too
	Log      *slog.Logger   // for functions without a logger of their own; nil: discard
}

// Bus is a root complex with one bus. Its methods may be called from any goroutine, while the guest runs too.
type Bus struct {
	cfg   BusConfig
	slots [numSlots]atomic.Pointer[Function]
	table atomic.Pointer[table]

	mu             sync.Mutex
	bars           []*barState // guarded by mu; in the order in which functions came, and of registers
	free32, free64 uint64      // guarded by mu; where the rest of a window starts that Add has not given away
}

// NewBus makes a bus that holds a host bridge at 00:00.0 and nothing else.
func NewBus(cfg BusConfig) *Bus {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	b := &Bus{cfg: cfg, free32: cfg.Window32.Start, free64: cfg.Window64.Start}
	b.table.Store(&table{})
	bridge := hostBridge(cfg.Log)
	bridge.bus = b
	b.slots[0].Store(bridge)
	return b
}

// Add puts f into the next free slot and gives its BARs addresses, as firmware does before the guest runs. It fails when all 32
// slots are taken, when a window has no room left, or when f is or was on a bus. Memory decoding is off until the guest enables it.
func (b *Bus) Add(f *Function) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	b.mu.Lock()
	defer b.mu.Unlock()
	slot := 0
	for b.slots[slot].Load() != nil {
		if slot++; slot == numSlots {
			return fmt.Errorf("add %s to the bus: all %d slots are taken", f.cfg.Name, numSlots)
		}
	}
	if f.bus != nil {
		return fmt.Errorf("add %s to the bus: it is or was on one", f.cfg.Name)
	}
	bars, err := b.assign(f)
	if err != nil {
		return fmt.Errorf("add %s to the bus: %w", f.cfg.Name, err)
	}
	b.enter(slot, f, bars)
	return nil
}

// Insert puts f into a slot while the guest runs. Its BARs are at address 0 and memory decoding is off: the guest has to find f a
// place. It fails when there is no such slot, when it is taken, or when f is or was on a bus.
func (b *Bus) Insert(slot int, f *Function) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case slot < 0 || slot >= numSlots:
		return fmt.Errorf("insert %s into slot %d: the bus has %d", f.cfg.Name, slot, numSlots)
	case b.slots[slot].Load() != nil:
		return fmt.Errorf("insert %s into slot %d: %s is there", f.cfg.Name, slot, b.slots[slot].Load().cfg.Name)
	case f.bus != nil:
		return fmt.Errorf("insert %s into slot %d: it is or was on a bus", f.cfg.Name, slot)
	}
	var bars []*barState
	for i, bar := range f.cfg.BARs {
		if bar.Size != 0 {
			bars = append(bars, &barState{f: f, index: i, size: bar.Size})
		}
	}
	b.enter(slot, f, bars)
	return nil
}

// enter makes f answer in a free slot. The caller holds both locks.
func (b *Bus) enter(slot int, f *Function, bars []*barState) {
	f.bus, f.slot, f.bars = b, slot, bars
	if f.log == nil {
		f.log = b.cfg.Log
	}
	for _, bar := range bars {
		f.setBAR(bar.index, bar.addr)
	}
	b.bars = append(b.bars, bars...)
	b.slots[slot].Store(f)
}

// Remove takes f off the bus for good: its slot is empty, and its BARs are mapped nowhere. An access of a vCPU that is under way may
// still reach f, until the vCPU enters the guest again. Remove of a function that is not on b does nothing.
func (b *Bus) Remove(f *Function) {
	f.mu.Lock()
	defer f.mu.Unlock()
	b.mu.Lock()
	defer b.mu.Unlock()
	if f.bus != b || !b.slots[f.slot].CompareAndSwap(f, nil) {
		return
	}
	for _, bar := range f.bars {
		bar.decode = false
	}
	b.remap()
	b.bars = slices.DeleteFunc(b.bars, func(bar *barState) bool { return bar.f == f })
	f.bars = nil // what the guest writes to the registers from here on places nothing
}

// assign finds an address for each BAR of f. When one finds none, no window has lost room.
func (b *Bus) assign(f *Function) ([]*barState, error) {
	free32, free64 := b.free32, b.free64
	var bars []*barState
	for i, bar := range f.cfg.BARs {
		if bar.Size == 0 {
			continue
		}
		addr, ok := uint64(0), false
		if bar.Wide {
			addr, ok = take(b.cfg.Window64, &free64, bar.Size)
		}
		if !ok {
			addr, ok = take(b.cfg.Window32, &free32, bar.Size)
		}
		if !ok || !bar.Wide && addr+bar.Size > 1<<32 {
			return nil, fmt.Errorf("BAR %d of %#x bytes: no room in the windows %v and %v", i, bar.Size, b.cfg.Window32, b.cfg.Window64)
		}
		bars = append(bars, &barState{f: f, index: i, size: bar.Size, addr: addr})
	}
	b.free32, b.free64 = free32, free64
	return bars, nil
}

// take cuts size bytes, aligned to size, off the rest of a window that starts at *free.
func take(w guestmem.Range, free *uint64, size uint64) (uint64, bool) {
	addr := (*free + size - 1) &^ (size - 1)
	if addr < *free || !w.Contains(addr, size) {
		return 0, false
	}
	*free = addr + size
	return addr, true
}

// Info is a line in the list of what the guest sees on the bus.
type Info struct {
	Slot           int // device number on bus 0
	Name           string
	Vendor, Device uint16
	Class          uint32 // base class, subclass and interface: 24 bits
}

// Functions lists what is on the bus, the host bridge first.
func (b *Bus) Functions() []Info {
	var infos []Info
	for slot := range b.slots {
		if f := b.slots[slot].Load(); f != nil {
			infos = append(infos, Info{slot, f.cfg.Name, f.cfg.Vendor, f.cfg.Device, f.cfg.Class})
		}
	}
	return infos
}

// Config is the configuration window: bus 0 in ECAM layout, [ECAMSize] bytes.
func (b *Bus) Config() ConfigSpace { return ConfigSpace{b} }

// ConfigSpace answers accesses to configuration space. Offsets count from the start of the window.
type ConfigSpace struct{ bus *Bus }

// Read fills p with registers. All bytes are ones when no function is there or when the access crosses the end of one.
func (c ConfigSpace) Read(off uint64, p []byte) {
	f, reg, err := c.bus.function(off, len(p))
	if err != nil {
		ones(p)
		return
	}
	f.readConfig(reg, p)
}

// Write changes registers, as far as they can be written. What Read answers with ones ignores writes.
func (c ConfigSpace) Write(off uint64, p []byte) {
	if f, reg, err := c.bus.function(off, len(p)); err == nil {
		f.writeConfig(reg, p)
	}
}

var errNoFunction = errors.New("no function at this configuration address")

// function finds who answers n bytes at off in the configuration window.
func (b *Bus) function(off uint64, n int) (f *Function, reg int, err error) {
	if off >= ECAMSize || off>>functionShift&7 != 0 {
		return nil, 0, errNoFunction
	}
	reg = int(off & (1<<functionShift - 1))
	f = b.slots[off>>slotShift].Load()
	if f == nil || reg+n > configSize {
		return nil, 0, errNoFunction
	}
	return f, reg, nil
}

func ones(p []byte) {
	for i := range p {
		p[i] = 0xff
	}
}
