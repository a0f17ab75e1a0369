package pci

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
)

// Vector is one interrupt that can be routed to a message: what the guest wrote into an MSI-X entry. Calls for one
// vector do not overlap.
type Vector interface {
	// Route makes Signal deliver the message: data, written to addr. The vector has no route when it is called, and none
	// when it fails, which it does for a message that the machine cannot deliver.
	Route(addr uint64, data uint32) error
	// Unroute ends the route.
	Unroute() error
	// Signal delivers the message. It is called only while routed. It must not block and not allocate.
	Signal() error
	// FD is an eventfd: a write to it by any process is a Signal, and one that comes while there is no route is delivered
	// when there is one.
	FD() int
	// Close gives the vector back, once, as the last call. It has no route then.
	Close() error
}

// Vectors makes vectors, which their user closes.
type Vectors interface {
	NewVector() (Vector, error)
}

// Sizes and bits of MSI-X (PCI Local Bus Specification 3.0 section 6.8.2).
const (
	// MSIXEntrySize is the size in bytes of one entry in an MSI-X table.
	MSIXEntrySize = 16

	maxVectors      = 2048
	capMSIX         = 0x11
	msixEnable      = 1 << 7 // both in the upper byte of message control
	msixMaskAll     = 1 << 6
	msixEntryMasked = 1 << 0
)

// MSIX says how many vectors a function has and where in its BARs their table and pending bits are. That part of the BAR is
// then answered here and not by the BAR's region.
type MSIX struct {
	Vectors int    // 1 to 2048; 0: no MSI-X
	BAR     int    // the BAR that holds both
	Table   uint32 // offset of the table, 16 bytes for each vector
	Pending uint32 // offset of the pending bits, one 64-bit word for each 64 vectors
}

// tableSize and pendingSize are in bytes.
func (x MSIX) tableSize() uint64   { return uint64(x.Vectors) * MSIXEntrySize }
func (x MSIX) pendingSize() uint64 { return uint64(x.Vectors+63) / 64 * 8 }

// check says what is wrong with the place of the table.
func (x MSIX) check(bars *[numBARs]BAR) error {
	if x.Vectors < 1 || x.Vectors > maxVectors || x.BAR < 0 || x.BAR >= numBARs {
		return fmt.Errorf("MSI-X: %d vectors in BAR %d, want 1 to %d in BAR 0 to %d", x.Vectors, x.BAR, maxVectors, numBARs-1)
	}
	size := bars[x.BAR].Size
	table, pending := uint64(x.Table), uint64(x.Pending)
	if table%8 != 0 || pending%8 != 0 || table+x.tableSize() > size || pending+x.pendingSize() > size {
		return fmt.Errorf("MSI-X: table at %#x and pending bits at %#x do not fit in BAR %d of %#x bytes", table, pending, x.BAR, size)
	}
	if table < pending+x.pendingSize() && pending < table+x.tableSize() {
		return fmt.Errorf("MSI-X: table at %#x and pending bits at %#x overlap", table, pending)
	}
	return nil
}

// msix is the interrupt logic of one function.
type msix struct {
	MSIX
	entries []entry
	enabled atomic.Bool
}

// entry is one vector: the guest's words, and what is made of them.
type entry struct {
	f      *Function
	vector Vector

	mu      sync.Mutex
	addr    uint64 // guarded by mu, as all below
	data    uint32
	control uint32 // only the mask bit can be written
	enabled bool   // message control: MSI-X is on
	maskAll bool   // message control: all entries are masked
	closed  bool

	routed  bool
	message uint64 // the addr and data that are routed
	payload uint32
	pending bool
	warned  bool // that this entry cannot be routed
}

// newMSIX makes the vectors and gives the capability that controls them.
func (f *Function) newMSIX() (Capability, error) {
	x := f.cfg.MSIX
	if err := x.check(&f.cfg.BARs); err != nil {
		return Capability{}, err
	}
	if f.cfg.Vectors == nil {
		return Capability{}, errors.New("MSI-X: nobody makes vectors")
	}
	f.msix = &msix{MSIX: x, entries: make([]entry, x.Vectors)}
	for i := range f.msix.entries {
		v, err := f.cfg.Vectors.NewVector()
		if err != nil {
			return Capability{}, fmt.Errorf("MSI-X vector %d: %w", i, err)
		}
		e := &f.msix.entries[i]
		e.f, e.vector, e.control = f, v, msixEntryMasked
	}
	body := make([]byte, 10)
	binary.LittleEndian.PutUint16(body, uint16(x.Vectors-1))
	binary.LittleEndian.PutUint32(body[2:], x.Table|uint32(x.BAR))
	binary.LittleEndian.PutUint32(body[6:], x.Pending|uint32(x.BAR))
	return Capability{
		ID: capMSIX, Body: body, Writable: []byte{1: msixEnable | msixMaskAll, 9: 0},
		AfterWrite: func(body []byte, _, _ int) { f.msix.setControl(body[1]) },
	}, nil
}

// setControl follows a write to the upper byte of message control.
func (x *msix) setControl(control byte) {
	enabled := control&msixEnable != 0
	x.enabled.Store(enabled)
	for i := range x.entries {
		e := &x.entries[i]
		e.mu.Lock()
		e.enabled, e.maskAll = enabled, control&msixMaskAll != 0
		e.update()
		e.mu.Unlock()
	}
}

// update brings the route in line with the guest's words and delivers what was pending. The caller holds e.mu.
func (e *entry) update() {
	open := e.enabled && !e.maskAll && e.control&msixEntryMasked == 0 && !e.closed
	if e.routed && (!open || e.addr != e.message || e.data != e.payload) {
		e.routed = false
		if err := e.vector.Unroute(); err != nil {
			e.f.Warn("end the route of an MSI-X vector", "error", err)
		}
	}
	if open && !e.routed {
		e.route()
	}
	if !e.enabled {
		e.pending = false
	}
	if e.routed && e.pending {
		e.deliver()
	}
}

// route tries to route the message that the guest wrote. If nobody can deliver it, the entry stays as if masked.
func (e *entry) route() {
	if err := e.vector.Route(e.addr, e.data); err != nil {
		if !e.warned {
			e.warned = true
			e.f.Warn("MSI-X message cannot be routed, treated as masked",
				"address", hex(e.addr), "data", hex(uint64(e.data)), "error", err)
		}
		return
	}
	e.routed, e.message, e.payload, e.warned = true, e.addr, e.data, false
}

// deliver signals the vector. The caller holds e.mu and has a route.
func (e *entry) deliver() {
	e.pending = false
	if err := e.vector.Signal(); err != nil {
		e.f.Warn("signal an MSI-X vector", "error", err)
	}
}

// fd is the eventfd of vector i, -1 if there is none such.
func (x *msix) fd(i int) int {
	if i < 0 || i >= len(x.entries) {
		return -1
	}
	e := &x.entries[i]
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return -1
	}
	return e.vector.FD()
}

func (x *msix) signal(i int) {
	if i < 0 || i >= len(x.entries) {
		return
	}
	e := &x.entries[i]
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.routed:
		e.deliver()
	case e.enabled:
		e.pending = true
	}
}

// read answers an access that begins in the table or the pending bits. What it holds beyond their end is zero.
func (x *msix) read(bar int, off uint64, p []byte) bool {
	table, pending := uint64(x.Table), uint64(x.MSIX.Pending)
	switch {
	case bar != x.BAR:
		return false
	case off-table < x.tableSize():
		clear(p)
		x.readTable(int(off-table), p)
	case off-pending < x.pendingSize():
		clear(p)
		x.readPending(int(off-pending), p)
	default:
		return false
	}
	return true
}

// write is read's other direction. Pending bits cannot be written.
func (x *msix) write(bar int, off uint64, p []byte) bool {
	table, pending := uint64(x.Table), uint64(x.MSIX.Pending)
	switch {
	case bar != x.BAR:
		return false
	case off-table < x.tableSize():
		x.writeTable(int(off-table), p)
	case off-pending < x.pendingSize():
	default:
		return false
	}
	return true
}

func (x *msix) readTable(off int, p []byte) {
	for len(p) > 0 && off/MSIXEntrySize < len(x.entries) {
		e := &x.entries[off/MSIXEntrySize]
		e.mu.Lock()
		words := e.words()
		e.mu.Unlock()
		n := copy(p, words[off%MSIXEntrySize:])
		p, off = p[n:], off+n
	}
}

// writeTable merges any bytes into the entries, so that an access of any size and alignment has a meaning.
func (x *msix) writeTable(off int, p []byte) {
	for len(p) > 0 && off/MSIXEntrySize < len(x.entries) {
		e := &x.entries[off/MSIXEntrySize]
		e.mu.Lock()
		words := e.words()
		n := copy(words[off%MSIXEntrySize:], p)
		e.addr = binary.LittleEndian.Uint64(words[0:])
		e.data = binary.LittleEndian.Uint32(words[8:])
		e.control = binary.LittleEndian.Uint32(words[12:]) & msixEntryMasked
		e.update()
		e.mu.Unlock()
		p, off = p[n:], off+n
	}
}

// words is the entry as the guest sees it. The caller holds e.mu.
func (e *entry) words() (w [MSIXEntrySize]byte) {
	binary.LittleEndian.PutUint64(w[0:], e.addr)
	binary.LittleEndian.PutUint32(w[8:], e.data)
	binary.LittleEndian.PutUint32(w[12:], e.control)
	return w
}

func (x *msix) readPending(off int, p []byte) {
	for i := range p {
		for bit := range 8 {
			v := (off+i)*8 + bit
			if v >= len(x.entries) {
				return
			}
			e := &x.entries[v]
			e.mu.Lock()
			if e.pending {
				p[i] |= 1 << bit
			}
			e.mu.Unlock()
		}
	}
}

// close ends all routes, for good, and gives the vectors back. Some entries have none if they could not be made.
func (x *msix) close() error {
	var errs []error
	for i := range x.entries {
		e := &x.entries[i]
		e.mu.Lock()
		e.closed = true
		if e.routed {
			e.routed = false
			errs = append(errs, e.vector.Unroute())
		}
		if e.vector != nil {
			errs = append(errs, e.vector.Close())
		}
		e.mu.Unlock()
	}
	return errors.Join(errs...)
}
