package kvm_test

import (
	"slices"
	"testing"

	"usui/machine/kvm"
	"usui/machine/tinyguest"
)

const (
	kernelMode = tinyguest.EL1
	nowhere    = 0x9000000 // guest-physical address without memory
)

// at returns where the vCPU stands.
func at(v *kvm.VCPU) uint64 {
	pc, _ := v.OneReg(kvm.RegPC) // for a message only
	return pc
}

func TestLabRegisters(t *testing.T) {
	g := boot(t, tinyguest.Config{}, (*tinyguest.Asm).Wfi)
	v := g.CPUs[0]
	list, err := v.RegList()
	if err != nil || !slices.Contains(list, kvm.RegPC) {
		t.Fatalf("RegList() has %d registers, %v; want RegPC among them", len(list), err)
	}
	for _, id := range list {
		p := make([]byte, kvm.RegSize(id))
		if err := v.ReadReg(id, p); err != nil {
			t.Error(err)
		}
	}
	const x7 = kvm.RegX0 + 7*kvm.RegXStep
	if err := v.SetOneReg(x7, 0x1122334455667788); err != nil {
		t.Fatal(err)
	}
	if got, err := v.OneReg(x7); err != nil || got != 0x1122334455667788 {
		t.Errorf("x7 = %#x, %v, want what was set", got, err)
	}
	if err := v.ReadReg(kvm.RegPC, make([]byte, 4)); err == nil {
		t.Error("a register of 8 bytes was read into 4")
	}
}

func TestLabExitsAllocateNothing(t *testing.T) {
	g := boot(t, tinyguest.Config{}, func(a *tinyguest.Asm) {
		a.Mov(1, nowhere)
		a.Label("loop")
		a.Store(4, 1, 0, 0)
		a.Load(8, 0, 1, 8)
		a.B("loop")
	})
	v := g.CPUs[0]
	allocs := testing.AllocsPerRun(100, func() {
		for _, write := range []bool{true, false} {
			r, err := v.Run()
			if m := v.MMIO(); err != nil || r != kvm.ExitMMIO || m.Write != write {
				t.Errorf("Run() = %v, %v, %+v, want a store and a load in turn", r, err, m)
			}
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations for two exits, want 0", allocs)
	}
}

func TestLabHammerKick(t *testing.T) {
	never := func(kvm.ExitReason) bool { return false }
	for name, emit := range map[string]func(*tinyguest.Asm){
		"tight loop": func(a *tinyguest.Asm) { a.Label("loop"); a.B("loop") },
		"wfi":        func(a *tinyguest.Asm) { a.Label("loop"); a.Wfi(); a.B("loop") },
	} {
		t.Run(name, func(t *testing.T) {
			g := boot(t, tinyguest.Config{}, emit)
			hammer(t, g.CPUs[0], 1, 50, never)
			defer disturb(t)()
			hammer(t, g.CPUs[0], 3, 50, never)
		})
	}
}
