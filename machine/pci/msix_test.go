package pci

import (
	"bytes"
	"encoding/binary"
	"sync"
	"sync/atomic"
	"testing"
)

const (
	tableOff   = 0x4000
	pendingOff = 0x5000
	msg        = 0xfee00000
)

// setControl writes message control of a test card.
func setControl(b *Bus, slot int, v uint16) { write16(b.Config(), reg(slot, 0x42), v) }

// writeEntry writes an MSI-X entry in four words, as operating systems do.
func writeEntry(b *Bus, i int, addr uint64, data, control uint32) {
	var e [16]byte
	binary.LittleEndian.PutUint64(e[:], addr)
	binary.LittleEndian.PutUint32(e[8:], data)
	binary.LittleEndian.PutUint32(e[12:], control)
	for w := range 4 {
		b.Window64().Write(tableOff+16*uint64(i)+4*uint64(w), e[4*w:4*w+4])
	}
}

// maskEntry writes vector control alone.
func maskEntry(b *Bus, i int, masked byte) {
	b.Window64().Write(tableOff+16*uint64(i)+12, []byte{masked, 0, 0, 0})
}

// enableMSIX opens the given vectors.
func enableMSIX(b *Bus, slot int, vectors ...int) {
	for _, v := range vectors {
		writeEntry(b, v, msg|uint64(v)<<12, uint32(0x20+v), 0)
	}
	setControl(b, slot, msixEnable<<8)
}

func pendingBits(b *Bus) uint64 {
	var p [8]byte
	b.Window64().Read(pendingOff, p[:])
	return binary.LittleEndian.Uint64(p[:])
}

// newCard gives a bus with a test card on it, decoding on.
func newCard(t testing.TB) (*Bus, *Function, *fakeVectors, *logBook) {
	t.Helper()
	log, vectors := &logBook{}, &fakeVectors{}
	b := NewBus(BusConfig{Window32: low, Window64: high, Log: log.logger()})
	f := mustAdd(t, b, testCard(vectors))
	enableMemory(b.Config(), 1)
	t.Cleanup(func() { vectors.check(t) })
	return b, f, vectors, log
}

func TestMSIXDelivers(t *testing.T) {
	b, f, vs, _ := newCard(t)
	f.Signal(1) // before the driver is there: lost, not pending
	if f.MSIXEnabled() || pendingBits(b) != 0 {
		t.Errorf("enabled %t, pending %#x before the driver", f.MSIXEnabled(), pendingBits(b))
	}
	enableMSIX(b, 1, 0, 1)
	for _, i := range []int{1, 1, 0, 2, 3, -1, 1 << 40} { // 2 is masked, the others do not exist
		f.Signal(i)
	}
	if !f.MSIXEnabled() || vs.made[0].signals != 1 || vs.made[1].signals != 2 || vs.made[2].signals != 0 {
		t.Errorf("signals %d, %d, %d, want 1, 2, 0", vs.made[0].signals, vs.made[1].signals, vs.made[2].signals)
	}
	if v := vs.made[1]; v.addr != msg|1<<12 || v.data != 0x21 {
		t.Errorf("vector 1 is routed to %#x, %#x, want %#x, 0x21", v.addr, v.data, uint64(msg|1<<12))
	}
	if got := pendingBits(b); got != 1<<2 {
		t.Errorf("pending %#x, want bit 2", got)
	}
}

// TestMSIXMasks holds a signal back by each of the three masks and lets it go.
func TestMSIXMasks(t *testing.T) {
	masks := []struct {
		name           string
		mask, unmask   func(*Bus)
		keepsPending   bool
		routesAreEnded bool
	}{
		{"entry", func(b *Bus) { maskEntry(b, 0, 1) }, func(b *Bus) { maskEntry(b, 0, 0) }, true, true},
		{"function", func(b *Bus) { setControl(b, 1, (msixEnable|msixMaskAll)<<8) }, func(b *Bus) { setControl(b, 1, msixEnable<<8) }, true, true},
		{"disabled", func(b *Bus) { setControl(b, 1, 0) }, func(b *Bus) { setControl(b, 1, msixEnable<<8) }, false, true},
		{"no message", func(b *Bus) { writeEntry(b, 0, 0x1234, 0, 0) }, func(b *Bus) { writeEntry(b, 0, msg, 0, 0) }, true, true},
	}
	for _, tt := range masks {
		t.Run(tt.name, func(t *testing.T) {
			b, f, vs, _ := newCard(t)
			enableMSIX(b, 1, 0)
			tt.mask(b)
			f.Signal(0)
			f.Signal(0)
			if v := vs.made[0]; v.routed || v.signals != 0 {
				t.Errorf("masked: routed %t, %d signals, want none", v.routed, v.signals)
			}
			if got := pendingBits(b) == 1; got != tt.keepsPending {
				t.Errorf("masked: pending %t, want %t", got, tt.keepsPending)
			}
			tt.unmask(b)
			want := 0
			if tt.keepsPending {
				want = 1
			}
			if v := vs.made[0]; !v.routed || v.signals != want || pendingBits(b) != 0 {
				t.Errorf("unmasked: routed %t, %d signals, pending %#x, want a route, %d signals, 0", v.routed, v.signals, pendingBits(b), want)
			}
		})
	}
}

func TestDisablingForgetsPending(t *testing.T) {
	b, f, vs, _ := newCard(t)
	setControl(b, 1, msixEnable<<8)
	f.Signal(0)
	setControl(b, 1, 0)
	enableMSIX(b, 1, 0)
	if v := vs.made[0]; v.signals != 0 {
		t.Errorf("%d signals from before MSI-X was disabled, want none", v.signals)
	}
}

func TestMSIXReroutes(t *testing.T) {
	b, f, vs, _ := newCard(t)
	enableMSIX(b, 1, 0)
	writeEntry(b, 0, msg|5<<12, 0x77, 0) // without masking first
	if v := vs.made[0]; !v.routed || v.addr != msg|5<<12 || v.data != 0x77 {
		t.Errorf("routed %t to %#x, %#x, want the new message", v.routed, v.addr, v.data)
	}
	if err := f.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if vs.made[0].routed {
		t.Error("a closed function has a route")
	}
	maskEntry(b, 0, 0)
	if vs.made[0].routed {
		t.Error("unmasking an entry of a closed function routes it")
	}
}

// TestMSIXNonsense writes messages that nobody can deliver: one line in the log for each entry.
func TestMSIXNonsense(t *testing.T) {
	b, f, vs, log := newCard(t)
	setControl(b, 1, msixEnable<<8)
	for range 5 {
		writeEntry(b, 0, 0xffffffffffffffff, 0xffffffff, 0)
		writeEntry(b, 1, 0, 0, 0xffffffff) // masked
		f.Signal(0)
	}
	if n := log.lines(); n != 1 {
		t.Errorf("%d lines in the log, want 1", n)
	}
	writeEntry(b, 0, msg, 1, 0)
	if v := vs.made[0]; !v.routed || v.signals != 1 {
		t.Errorf("after a good message: routed %t, %d signals, want a route and the pending signal", v.routed, v.signals)
	}
}

// TestMSIXTableTakesAnySize writes the table in pieces of every size and alignment and compares it with plain memory.
func TestMSIXTableTakesAnySize(t *testing.T) {
	b, _, _, _ := newCard(t)
	model := make([]byte, 3*16)
	for i := range 3 {
		model[16*i+12] = 1
	}
	got := make([]byte, len(model))
	for n := 1; n <= 40; n++ {
		for off := range len(model) {
			p := make([]byte, n)
			for i := range p {
				p[i] = byte(off*7 + n*13 + i)
			}
			b.Window64().Write(tableOff+uint64(off), p)
			copy(model[off:], p)
			for i := range 3 { // only the mask bit of vector control exists
				binary.LittleEndian.PutUint32(model[16*i+12:], uint32(model[16*i+12]&1))
			}
			b.Window64().Read(tableOff, got)
			if !bytes.Equal(got, model) {
				t.Fatalf("after %d bytes at %d the table is\n% x, want\n% x", n, off, got, model)
			}
			piece := make([]byte, n)
			b.Window64().Read(tableOff+uint64(off), piece)
			want := make([]byte, n) // behind the table there is nothing
			copy(want, model[off:])
			if !bytes.Equal(piece, want) {
				t.Fatalf("read %d bytes at %d = % x, want % x", n, off, piece, want)
			}
		}
	}
}

func TestPendingBitsAreReadOnly(t *testing.T) {
	b, f, _, _ := newCard(t)
	setControl(b, 1, msixEnable<<8) // all entries masked
	f.Signal(0)
	f.Signal(2)
	b.Window64().Write(pendingOff, bytes.Repeat([]byte{0xff}, 8))
	if got := pendingBits(b); got != 0b101 {
		t.Errorf("pending %#b, want 0b101", got)
	}
	p := []byte{9, 9, 9}
	b.Window64().Read(pendingOff+7, p)
	if !bytes.Equal(p, []byte{0, 0, 0}) {
		t.Errorf("across the end of the pending bits: % x, want zeros", p)
	}
}

// TestTableLiesInItsBAROnly reads the same offsets in the other BAR and around the table.
func TestTableLiesInItsBAROnly(t *testing.T) {
	vectors := &fakeVectors{}
	cfg := testCard(vectors)
	wide := cfg.BARs[2].Region.(ram)
	for i := range wide {
		wide[i] = 0x5a
	}
	b := NewBus(BusConfig{Window32: low, Window64: high})
	mustAdd(t, b, cfg)
	enableMemory(b.Config(), 1)
	for off, want := range map[uint64]byte{
		tableOff - 1: 0x5a, tableOff: 0, tableOff + 12: 1, tableOff + 47: 0, tableOff + 48: 0x5a,
		pendingOff - 1: 0x5a, pendingOff: 0, pendingOff + 7: 0, pendingOff + 8: 0x5a,
	} {
		if got := at(b, high.Start+off); got != want {
			t.Errorf("byte %#x of the BAR = %#x, want %#x", off, got, want)
		}
	}
}

// TestHammerSignalsAreNotLost signals from a device while two vCPUs mask and unmask in every way: after the last unmask, the
// last signal has been delivered.
func TestHammerSignalsAreNotLost(t *testing.T) {
	b, f, vs, _ := newCard(t)
	enableMSIX(b, 1, 0)
	var made, delivered atomic.Int64
	vs.made[0].onDeliver = func() { delivered.Store(made.Load()) }
	for range 50 {
		var vcpus sync.WaitGroup
		vcpus.Go(func() {
			for range 50 {
				maskEntry(b, 0, 1)
				writeEntry(b, 0, 0x10, 0, 0)
				writeEntry(b, 0, msg, 0x20, 0)
			}
		})
		vcpus.Go(func() {
			for range 50 {
				setControl(b, 1, (msixEnable|msixMaskAll)<<8)
				pendingBits(b)
				setControl(b, 1, msixEnable<<8)
			}
		})
		vcpus.Go(func() {
			for range 100 {
				made.Add(1)
				f.Signal(0)
			}
		})
		vcpus.Wait()
		if m, d := made.Load(), delivered.Load(); m != d {
			t.Fatalf("%d signals were made, the last one delivered is %d", m, d)
		}
	}
}
