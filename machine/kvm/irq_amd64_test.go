package kvm_test

import (
	"encoding/binary"
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"usui/machine/kvm"
	"usui/machine/tinyguest"
)

// Registers of the interrupt controllers (Intel SDM volume 3, chapter 11; 82093AA data sheet).
const (
	lapicBase  = 0xfee00000
	lapicEOI   = 0xb0
	lapicSpur  = 0xf0
	lapicOn    = 0x1ff
	ioapicBase = 0xfec00000
	ioapicData = 0x10
	levelHigh  = 1 << 15 // in a redirection entry: level-triggered, active high
)

const (
	vector  = 0x55
	other   = 0x45 // of lower priority
	ready   = 0x50 // port: the guest waits for interrupts
	handled = 0x51 // port: it has got one, whose vector it writes
	freeGSI = 40   // behind the I/O APIC's pins
)

// newEventFD makes an eventfd that does not block.
func newEventFD(t *testing.T) int {
	t.Helper()
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

func signal(t *testing.T, fd int) {
	t.Helper()
	if _, err := unix.Write(fd, binary.NativeEndian.AppendUint64(nil, 1)); err != nil {
		t.Fatal(err)
	}
}

// count returns what an eventfd has counted since the last call.
func count(t *testing.T, fd int) uint64 {
	t.Helper()
	var p [8]byte
	switch _, err := unix.Read(fd, p[:]); {
	case errors.Is(err, unix.EAGAIN):
		return 0
	case err != nil:
		t.Fatal(err)
	}
	return binary.NativeEndian.Uint64(p[:])
}

// interruptible is a guest that switches its local APIC on, does what prepare adds, says that it is ready, waits for
// interrupts and tells of each before it ends it.
func interruptible(t *testing.T, prepare func(a *tinyguest.Asm)) *tinyguest.Guest {
	t.Helper()
	vectors := map[uint8]string{vector: "handler", other: "other"}
	g := boot(t, tinyguest.Config{Prepare: irqChip, Vectors: vectors}, func(a *tinyguest.Asm) {
		a.Mov(rbx, lapicBase)
		a.Mov(rax, lapicOn)
		a.Store(4, rbx, lapicSpur, rax)
		a.Mov(rax, 0xff) // the old controllers' mask registers: they would send each line's interrupt too
		a.Out(0x21, 1)
		a.Out(0xa1, 1)
		prepare(a)
		a.Out(ready, 1)
		a.Label("wait")
		a.Sti()
		a.Hlt()
		a.Jmp("wait")
		a.Label("other")
		a.Mov(rax, other)
		a.Jmp("tell")
		a.Label("handler")
		a.Mov(rax, vector)
		a.Label("tell")
		a.Out(handled, 1)
		a.Mov(rax, 0)
		a.Store(4, rbx, lapicEOI, rax)
		a.Out(ready, 1)
		a.Add(rsp, 5*8) // INT's frame; IRET would want more than KVM's emulator can
		a.Jmp("wait")
	})
	runToPort(t, g.CPUs[0], ready)
	return g
}

// runToInterrupt runs the vCPU until it tells of an interrupt.
func runToInterrupt(t *testing.T, v *kvm.VCPU, want byte) {
	t.Helper()
	if io := runToPort(t, v, handled); io.Data[0] != want {
		t.Fatalf("interrupt %#x, want %#x", io.Data[0], want)
	}
}

// wantNone wants that no interrupt of vector waits: the other one, which would come later, comes first.
func wantNone(t *testing.T, g *tinyguest.Guest) {
	t.Helper()
	if _, err := g.VM.SignalMSI(kvm.MSI{Addr: lapicBase, Data: other}); err != nil {
		t.Fatal(err)
	}
	runToInterrupt(t, g.CPUs[0], other)
	runToPort(t, g.CPUs[0], ready)
}

func route(t *testing.T, vm *kvm.VM, routes ...kvm.IRQRoute) {
	t.Helper()
	if err := vm.SetGSIRouting(routes); err != nil {
		t.Fatal(err)
	}
}

func TestIRQFD(t *testing.T) {
	g := interruptible(t, func(*tinyguest.Asm) {})
	v, fd := g.CPUs[0], newEventFD(t)
	route(t, g.VM, kvm.MSIRoute(freeGSI, lapicBase, vector))
	if err := g.VM.IRQFD(fd, freeGSI); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		signal(t, fd)
		runToInterrupt(t, v, vector)
		runToPort(t, v, ready)
	}
	if err := g.VM.RemoveIRQFD(fd, freeGSI); err != nil {
		t.Fatal(err)
	}
	signal(t, fd)
	wantNone(t, g)
	if n := count(t, fd); n != 1 {
		t.Errorf("eventfd counts %d after the removal, want 1 that nobody took", n)
	}
}

func TestSignalMSI(t *testing.T) {
	g := interruptible(t, func(*tinyguest.Asm) {})
	v := g.CPUs[0]
	if delivered, err := g.VM.SignalMSI(kvm.MSI{Addr: lapicBase, Data: vector}); err != nil || !delivered {
		t.Fatalf("SignalMSI() = %t, %v, want delivered", delivered, err)
	}
	runToInterrupt(t, v, vector)
	const cpu9 = 9 << 12 // destination in a message's address
	if delivered, err := g.VM.SignalMSI(kvm.MSI{Addr: lapicBase | cpu9, Data: vector}); delivered {
		t.Errorf("SignalMSI to a CPU that is not there = %t, %v, want not delivered", delivered, err)
	}
}

// unmaskPin adds the guest's code that makes the I/O APIC send vector for a pin; the guest's rbx stays.
func unmaskPin(a *tinyguest.Asm, pin, flags uint64) {
	a.Mov(rcx, ioapicBase)
	for _, w := range [][2]uint64{{0x11 + 2*pin, 0}, {0x10 + 2*pin, vector | flags}} { // destination CPU 0; then unmask
		a.Mov(rax, w[0])
		a.Store(4, rcx, 0, rax)
		a.Mov(rax, w[1])
		a.Store(4, rcx, ioapicData, rax)
	}
}

func TestIRQLine(t *testing.T) {
	const pin = 7
	g := interruptible(t, func(a *tinyguest.Asm) { unmaskPin(a, pin, 0) })
	v := g.CPUs[0]
	for _, up := range []bool{true, false} {
		if err := g.VM.IRQLine(pin, up); err != nil {
			t.Fatal(err)
		}
	}
	runToInterrupt(t, v, vector)
	runToPort(t, v, ready)
	// The same line through a route to another pin reaches nobody.
	route(t, g.VM, kvm.ChipRoute(pin, kvm.IRQChipIOAPIC, pin+1))
	for _, up := range []bool{true, false} {
		if err := g.VM.IRQLine(pin, up); err != nil {
			t.Fatal(err)
		}
	}
	wantNone(t, g)
}

func TestIRQFDResample(t *testing.T) {
	const pin = 5
	g := interruptible(t, func(a *tinyguest.Asm) { unmaskPin(a, pin, levelHigh) })
	v, fd, resample := g.CPUs[0], newEventFD(t), newEventFD(t)
	if err := g.VM.IRQFDResample(fd, resample, pin); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		signal(t, fd)
		if n := count(t, resample); n != 0 {
			t.Errorf("resampled %d times before the guest took its interrupt", n)
		}
		runToInterrupt(t, v, vector)
		runToPort(t, v, ready)
		if n := count(t, resample); n != 1 {
			t.Errorf("resampled %d times after the guest ended its interrupt, want once", n)
		}
		wantNone(t, g) // the line is down again
	}
}

func TestIOEventFD(t *testing.T) {
	g := boot(t, tinyguest.Config{}, func(a *tinyguest.Asm) {
		a.Mov(rbx, nowhere)
		a.Label("again")
		a.Mov(rax, 7)
		a.Store(4, rbx, 0x10, rax)
		a.Store(2, rbx, 0x10, rax)
		a.Store(4, rbx, 0x20, rax)
		a.Out(0x99, 2)
		a.Mov(rax, 8)
		a.Store(4, rbx, 0x20, rax)
		a.Out(done, 1)
		a.Jmp("again")
	})
	v := g.CPUs[0]
	anyLength, matching, port := newEventFD(t), newEventFD(t), newEventFD(t)
	events := []kvm.IOEvent{
		{Addr: nowhere + 0x10, FD: anyLength},
		{Addr: nowhere + 0x20, Len: 4, Match: true, Datamatch: 7, FD: matching},
		{Addr: 0x99, Len: 2, PIO: true, FD: port},
	}
	for _, e := range events {
		if err := g.VM.IOEventFD(e); err != nil {
			t.Fatal(err)
		}
	}
	runTo(t, v, kvm.ExitMMIO)
	if m := v.MMIO(); m.Addr != nowhere+0x20 || m.Data[0] != 8 {
		t.Errorf("exit %+v, want the 8 that does not match", m)
	}
	runToPort(t, v, done)
	for name, want := range map[string]struct {
		fd int
		n  uint64
	}{"any length": {anyLength, 2}, "matching": {matching, 1}, "port": {port, 1}} {
		if n := count(t, want.fd); n != want.n {
			t.Errorf("%s: %d events, want %d", name, n, want.n)
		}
	}
	for _, e := range events {
		if err := g.VM.RemoveIOEventFD(e); err != nil {
			t.Fatal(err)
		}
	}
	runTo(t, v, kvm.ExitMMIO)
	if m := v.MMIO(); m.Addr != nowhere+0x10 {
		t.Errorf("exit %+v, want the write that is an event no more", m)
	}
	if err := g.VM.RemoveIOEventFD(events[0]); !errors.Is(err, unix.ENOENT) {
		t.Errorf("second RemoveIOEventFD: %v, want %v", err, unix.ENOENT)
	}
}
