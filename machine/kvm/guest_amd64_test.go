package kvm_test

import (
	"runtime"
	"testing"
	"time"

	"usui/host/need"
	"usui/machine/kvm"
	"usui/machine/tinyguest"
)

// Short names for the registers of the tests' guests.
const (
	rax, rbx, rcx, rdx = tinyguest.RAX, tinyguest.RBX, tinyguest.RCX, tinyguest.RDX
	rsi, rdi, rsp      = tinyguest.RSI, tinyguest.RDI, tinyguest.RSP
)

const (
	nowhere = 0xd0000000 // guest-physical address without memory
	scratch = 0x40000    // guest memory that nothing else uses
	done    = 0xd1       // port where a guest says that it is done
)

// boot assembles a 64-bit guest of ring 0 and makes it, on a thread of the test's own.
func boot(t testing.TB, cfg tinyguest.Config, emit func(a *tinyguest.Asm)) *tinyguest.Guest {
	t.Helper()
	need.KVM(t)
	a := tinyguest.NewAsm(tinyguest.Long)
	emit(a)
	var err error
	if cfg.Program, err = a.Program(); err != nil {
		t.Fatal(err)
	}
	g, err := tinyguest.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	runtime.LockOSThread()
	t.Cleanup(func() {
		runtime.UnlockOSThread()
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	return g
}

// patience is how long a guest may take for its next exit before the test calls it hung.
const patience = 30 * time.Second

// runTo runs the vCPU to its next exit and fails when that is another. A guest that hangs is kicked, which is another.
func runTo(t testing.TB, v *kvm.VCPU, want kvm.ExitReason) {
	t.Helper()
	hung := time.AfterFunc(patience, v.Kick)
	defer hung.Stop()
	got, err := v.Run()
	if err != nil || got != want {
		regs, _ := v.Regs()
		t.Fatalf("Run() = %v, %v, want %v; rip %#x, internal error %v", got, err, want, regs.Rip, v.InternalError())
	}
}

// runToPort runs the vCPU to its next access to a port.
func runToPort(t testing.TB, v *kvm.VCPU, port uint16) kvm.IOExit {
	t.Helper()
	runTo(t, v, kvm.ExitIO)
	io := v.IO()
	if io.Port != port {
		t.Fatalf("access %+v, want one to port %#x", io, port)
	}
	return io
}

func regs(t testing.TB, v *kvm.VCPU) kvm.Regs {
	t.Helper()
	r, err := v.Regs()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestLabOnHardware repeats the tests of guests where the processor runs them instead of an interpreter.
func TestLabOnHardware(t *testing.T) {
	need.HardwareKVM(t)
	for name, test := range map[string]func(*testing.T){
		"io": TestIO, "mmio": TestMMIO, "halt": TestHaltAndShutdown, "msr": TestMSRExit, "cpuid": TestCPUID,
		"allocs": TestExitsAllocateNothing, "state": TestStateRoundTrips,
		"irqfd": TestIRQFD, "resample": TestIRQFDResample, "msi": TestSignalMSI, "ioevent": TestIOEventFD,
		"dirty": TestDirtyLog, "manual dirty": TestManualDirtyLog, "coalesced": TestCoalescedWrites,
		"kick first": TestKickBeforeRun, "kick in": TestKickFinishesAnIN, "kick waiting": TestKickOfAWaitingCPU,
		"hammer": TestHammerKick, "stats": TestStats,
	} {
		t.Run(name, test)
	}
}
