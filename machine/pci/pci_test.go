package pci

import (
	"bytes"
	"encoding/binary"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"

	"usui/machine/guestmem"
)

const (
	mib = 1 << 20
	gib = 1 << 30
)

// The windows of the test bus.
var (
	low  = guestmem.Range{Start: 3 * gib, Size: 256 * mib}
	high = guestmem.Range{Start: 64 * gib, Size: 1 * gib}
)

// logBook is a log that counts its lines.
type logBook struct {
	mu   sync.Mutex
	text bytes.Buffer // guarded by mu
}

func (l *logBook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logBook) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// lines gives how many lines were written since the last call.
func (l *logBook) lines() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.text.Reset()
	return bytes.Count(l.text.Bytes(), []byte("\n"))
}

// ram is a Region that is memory.
type ram []byte

func (r ram) Read(off uint64, p []byte)  { copy(p, r[off:]) }
func (r ram) Write(off uint64, p []byte) { copy(r[off:], p) }

var errNoMessage = errors.New("not an address for messages")

// fakeVector holds what the interface promises: one call at a time, Route without a route, Signal with one, none after
// Close. Messages to addresses outside 0xfeexxxxx cannot be routed, as on amd64.
type fakeVector struct {
	busy      atomic.Bool
	routed    bool // guarded by busy, as all below
	closed    bool
	addr      uint64
	data      uint32
	signals   int
	broken    []string // promises that were not held
	onDeliver func()
}

func (v *fakeVector) enter(what string) {
	if v.busy.Swap(true) {
		panic(what + " overlaps another call")
	}
	if v.closed {
		v.broken = append(v.broken, what+" after Close")
	}
}

func (v *fakeVector) leave() { v.busy.Store(false) }

func (v *fakeVector) Route(addr uint64, data uint32) error {
	v.enter("Route")
	defer v.leave()
	if v.routed {
		v.broken = append(v.broken, "Route with a route")
	}
	if addr>>20 != 0xfee {
		return errNoMessage
	}
	v.routed, v.addr, v.data = true, addr, data
	return nil
}

func (v *fakeVector) Unroute() error {
	v.enter("Unroute")
	defer v.leave()
	if !v.routed {
		v.broken = append(v.broken, "Unroute without a route")
	}
	v.routed = false
	return nil
}

func (v *fakeVector) FD() int { return 77 }

func (v *fakeVector) Signal() error {
	v.enter("Signal")
	defer v.leave()
	if !v.routed {
		v.broken = append(v.broken, "Signal without a route")
	}
	v.signals++
	if v.onDeliver != nil {
		v.onDeliver()
	}
	return nil
}

func (v *fakeVector) Close() error {
	v.enter("Close")
	defer v.leave()
	if v.routed {
		v.broken = append(v.broken, "Close with a route")
	}
	v.closed = true
	return nil
}

// fakeVectors makes and keeps fake vectors, up to a limit.
type fakeVectors struct {
	made  []*fakeVector
	limit int // 0: none
}

func (vs *fakeVectors) NewVector() (Vector, error) {
	if vs.limit != 0 && len(vs.made) == vs.limit {
		return nil, errors.New("no more interrupts")
	}
	v := &fakeVector{}
	vs.made = append(vs.made, v)
	return v, nil
}

func (vs *fakeVectors) check(t testing.TB) {
	t.Helper()
	for i, v := range vs.made {
		for _, what := range v.broken {
			t.Errorf("vector %d: %s", i, what)
		}
	}
}

// open counts the vectors that are not closed.
func (vs *fakeVectors) open() (n int) {
	for _, v := range vs.made {
		if !v.closed {
			n++
		}
	}
	return n
}

// mustFunction makes a function.
func mustFunction(t testing.TB, cfg FunctionConfig) *Function {
	t.Helper()
	f, err := NewFunction(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Errorf("close %s: %v", f.Name(), err)
		}
	})
	return f
}

// mustAdd makes a function and puts it on the bus.
func mustAdd(t testing.TB, b *Bus, cfg FunctionConfig) *Function {
	t.Helper()
	f := mustFunction(t, cfg)
	if err := b.Add(f); err != nil {
		t.Fatal(err)
	}
	return f
}

// reg is the offset of a register of a slot in the configuration window.
func reg(slot, reg int) uint64 { return uint64(slot)<<slotShift | uint64(reg) }

func read16(c ConfigSpace, off uint64) uint16 {
	var p [2]byte
	c.Read(off, p[:])
	return binary.LittleEndian.Uint16(p[:])
}

func read32(c ConfigSpace, off uint64) uint32 {
	var p [4]byte
	c.Read(off, p[:])
	return binary.LittleEndian.Uint32(p[:])
}

func write16(c ConfigSpace, off uint64, v uint16) {
	c.Write(off, binary.LittleEndian.AppendUint16(nil, v))
}

func write32(c ConfigSpace, off uint64, v uint32) {
	c.Write(off, binary.LittleEndian.AppendUint32(nil, v))
}

// enableMemory is what a driver does first.
func enableMemory(c ConfigSpace, slot int) {
	write16(c, reg(slot, regCommand), commandMemory|commandMaster)
}

// bar64Of reads a wide BAR's address.
func bar64Of(c ConfigSpace, slot, i int) uint64 {
	lo, hi := read32(c, reg(slot, regBAR0+4*i)), read32(c, reg(slot, regBAR0+4*i+4))
	return uint64(hi)<<32 | uint64(lo&^barTypeBits)
}

func setBAR64(c ConfigSpace, slot, i int, addr uint64) {
	write32(c, reg(slot, regBAR0+4*i), uint32(addr))
	write32(c, reg(slot, regBAR0+4*i+4), uint32(addr>>32))
}
