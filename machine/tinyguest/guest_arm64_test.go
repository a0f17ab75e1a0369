package tinyguest_test

import (
	"encoding/binary"
	"runtime"
	"testing"
	"time"

	"usui/host/need"
	"usui/machine/kvm"
	"usui/machine/tinyguest"
)

func TestLabGuestComputesStoresAndPowersOff(t *testing.T) {
	need.KVM(t)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	const nowhere, systemOff = 0x9000000, 0x84000008 // PSCI 0.2, section 5.1.9
	a := tinyguest.NewAsm(tinyguest.EL1)
	a.Mov(0, 0)
	a.Mov(1, 10)
	a.Label("loop")
	a.Add(0, 0, 7)
	a.Subs(1, 1, 1)
	a.BNE("loop")
	a.Mov(2, nowhere)
	a.Store(4, 2, 8, 0)
	a.Load(2, 3, 2, 4)
	a.Mov(4, tinyguest.CodeAddr+0x1000)
	a.Store(8, 4, 0, 3)
	a.Mov(0, systemOff)
	a.Hvc()
	program, err := a.Program()
	if err != nil {
		t.Fatal(err)
	}
	g, err := tinyguest.New(tinyguest.Config{Program: program})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	v := g.CPUs[0]
	hang := time.AfterFunc(20*time.Second, v.Kick)
	defer hang.Stop()

	if r, err := v.Run(); err != nil || r != kvm.ExitMMIO {
		t.Fatalf("Run() = %v, %v, want a store", r, err)
	}
	if m := v.MMIO(); !m.Write || m.Addr != nowhere+8 || binary.LittleEndian.Uint32(m.Data) != 70 {
		t.Errorf("exit is %+v, want 70 written to %#x", m, nowhere+8)
	}
	if r, err := v.Run(); err != nil || r != kvm.ExitMMIO {
		t.Fatalf("Run() = %v, %v, want a load", r, err)
	}
	m := v.MMIO()
	if m.Write || m.Addr != nowhere+4 || len(m.Data) != 2 {
		t.Fatalf("exit is %+v, want 2 bytes read from %#x", m, nowhere+4)
	}
	copy(m.Data, "\xfe\xca")
	if r, err := v.Run(); err != nil || r != kvm.ExitSystemEvent || v.SystemEvent().Type != kvm.SystemEventShutdown {
		t.Fatalf("Run() = %v, %v, want a shutdown", r, err)
	}
	p, err := g.Memory.Slice(tinyguest.CodeAddr+0x1000, 8)
	if err != nil || binary.LittleEndian.Uint64(p) != 0xcafe {
		t.Errorf("guest stored %x, %v, want 0xcafe", p, err)
	}
}
