package kvm_test

import (
	"testing"

	"usui/host/need"
	"usui/machine/kvm"
	"usui/machine/tinyguest"
)

// kernelMode is the mode of a kernel.
const kernelMode = tinyguest.Long

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

// at returns where the vCPU stands.
func at(v *kvm.VCPU) uint64 {
	r, _ := v.Regs() // for a message only
	return r.Rip
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
