package kvm_test

import (
	"encoding/binary"
	"errors"
	"testing"

	"usui/machine/kvm"
	"usui/machine/tinyguest"
)

// spin is a guest that never leaves by itself.
func spin(a *tinyguest.Asm) {
	a.Label("loop")
	a.Jmp("loop")
}

func TestKickBeforeRun(t *testing.T) {
	g := boot(t, tinyguest.Config{}, spin)
	v := g.CPUs[0]
	for range 3 { // before the first Run, which makes the thread known, and after it
		v.Kick()
		v.Kick()
		runTo(t, v, kvm.ExitKicked)
	}
}

// A kick that comes with an exit does not replace it, and is not lost. What the guest waits for arrives before the
// kick is reported, and no instruction is executed after it.
func TestKickFinishesAnIN(t *testing.T) {
	g := boot(t, tinyguest.Config{}, func(a *tinyguest.Asm) {
		a.In(0x61, 4)
		a.Label("behind")
		a.MovReg(rbx, rax)
		a.Out(done, 1)
	})
	v := g.CPUs[0]
	behind, err := g.Program.Addr("behind")
	if err != nil {
		t.Fatal(err)
	}
	io := runToPort(t, v, 0x61)
	binary.LittleEndian.PutUint32(io.Data, 0x12345678)
	v.Kick()
	runTo(t, v, kvm.ExitKicked)
	if r := regs(t, v); r.Rax != 0x12345678 || r.Rip != behind || r.Rbx != 0 {
		t.Errorf("rax %#x, rip %#x, rbx %#x; want the IN done, rip %#x and nothing more", r.Rax, r.Rip, r.Rbx, behind)
	}
	runToPort(t, v, done)
}

// Complete ends an access and goes no further. It takes no kick away.
func TestCompleteFinishesAnIN(t *testing.T) {
	g := boot(t, tinyguest.Config{}, func(a *tinyguest.Asm) {
		a.In(0x61, 4)
		a.Label("behind")
		a.MovReg(rbx, rax)
		a.Out(done, 1)
	})
	v := g.CPUs[0]
	behind, err := g.Program.Addr("behind")
	if err != nil {
		t.Fatal(err)
	}
	io := runToPort(t, v, 0x61)
	binary.LittleEndian.PutUint32(io.Data, 0x12345678)
	if err := v.Complete(); err != nil {
		t.Fatal(err)
	}
	if r := regs(t, v); r.Rax != 0x12345678 || r.Rip != behind || r.Rbx != 0 {
		t.Errorf("rax %#x, rip %#x, rbx %#x; want the IN done, rip %#x and nothing more", r.Rax, r.Rip, r.Rbx, behind)
	}
	v.Kick()
	if err := v.Complete(); err != nil {
		t.Fatal(err)
	}
	runTo(t, v, kvm.ExitKicked)
	runToPort(t, v, done)
	if err := errors.Join(v.Close(), v.Close()); err != nil {
		t.Fatal(err)
	}
	if err := v.Complete(); err == nil {
		t.Error("Complete() after Close: no error")
	}
}

// An application processor waits in the kernel for its start: a kick gets it out of there too.
func TestKickOfAWaitingCPU(t *testing.T) {
	g := boot(t, tinyguest.Config{CPUs: 2, Prepare: irqChip}, spin)
	v := g.CPUs[1]
	if state, err := v.MPState(); err != nil || state != kvm.MPStateUninitialized {
		t.Fatalf("MPState() = %d, %v, want %d", state, err, kvm.MPStateUninitialized)
	}
	hammer(t, v, 1, 50, func(kvm.ExitReason) bool { return false })
}

func TestKickAfterClose(t *testing.T) {
	g := boot(t, tinyguest.Config{}, spin)
	v := g.CPUs[0]
	v.Kick()
	runTo(t, v, kvm.ExitKicked)
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	v.Kick()
	if err := v.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	if r, err := v.Run(); err == nil {
		t.Errorf("Run() after Close = %v, want an error", r)
	}
}

// TestHammerKick kicks one vCPU from several goroutines while its guest computes, sleeps or keeps leaving. Beside them
// come signals that are no kicks, as often as they can: each makes Run look for a kick, at any moment of one.
func TestHammerKick(t *testing.T) {
	leaves := func(r kvm.ExitReason) bool { return r == kvm.ExitIO }
	never := func(kvm.ExitReason) bool { return false }
	for _, tt := range []struct {
		name    string
		prepare func(*kvm.VM) error
		emit    func(*tinyguest.Asm)
		also    func(kvm.ExitReason) bool // other exits that the guest makes
	}{
		{"tight loop", nil, spin, never},
		{"halt", irqChip, (*tinyguest.Asm).Hlt, never}, // sleeps in the kernel
		{"exits", nil, func(a *tinyguest.Asm) { a.Label("loop"); a.Out(0x60, 1); a.Jmp("loop") }, leaves},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := boot(t, tinyguest.Config{Prepare: tt.prepare}, tt.emit)
			hammer(t, g.CPUs[0], 1, 300, tt.also)
			defer disturb(t)()
			hammer(t, g.CPUs[0], 1, 300, tt.also)
			hammer(t, g.CPUs[0], 3, 100, tt.also)
		})
	}
}
