package kvm_test

import (
	"bytes"
	"strings"
	"testing"

	"usui/machine/kvm"
	"usui/machine/tinyguest"
)

const page = 4096

// writesTwoPages is a guest that writes to the first and the third page of scratch, and to the first again each time.
func writesTwoPages(a *tinyguest.Asm) {
	a.Mov(rbx, scratch)
	a.Store(8, rbx, 0, rax)
	a.Store(1, rbx, 2*page+17, rax)
	a.Label("again")
	a.Out(done, 1)
	a.Store(8, rbx, 8, rax)
	a.Jmp("again")
}

// logged boots a guest whose memory has a dirty log.
func logged(t *testing.T, cfg tinyguest.Config) *tinyguest.Guest {
	t.Helper()
	g := boot(t, cfg, writesTwoPages)
	setFlags(t, g, kvm.MemLogDirtyPages)
	return g
}

func setFlags(t *testing.T, g *tinyguest.Guest, flags uint32) {
	t.Helper()
	r := g.Memory.Regions()[0]
	if err := g.VM.SetMemory(0, flags, r.Start, r.Size, r.HostAddr); err != nil {
		t.Fatal(err)
	}
}

// dirty returns which of the first four pages of scratch the log has.
func dirty(t *testing.T, g *tinyguest.Guest) [4]bool {
	t.Helper()
	bitmap := make([]uint64, kvm.DirtyWords(tinyguest.DefaultRAM))
	if err := g.VM.DirtyLog(0, bitmap); err != nil {
		t.Fatal(err)
	}
	var pages [4]bool
	for i := range pages {
		n := scratch/page + i
		pages[i] = bitmap[n/64]>>(n%64)&1 == 1
	}
	return pages
}

func TestDirtyLog(t *testing.T) {
	g := logged(t, tinyguest.Config{})
	v := g.CPUs[0]
	runToPort(t, v, done)
	if got, want := dirty(t, g), [4]bool{true, false, true, false}; got != want {
		t.Errorf("dirty pages %t, want %t", got, want)
	}
	if got := dirty(t, g); got != [4]bool{} {
		t.Errorf("dirty pages %t after the log was taken, want none", got)
	}
	runToPort(t, v, done)
	if got, want := dirty(t, g), [4]bool{true}; got != want {
		t.Errorf("dirty pages %t after another write, want %t", got, want)
	}
}

func TestManualDirtyLog(t *testing.T) {
	g := logged(t, tinyguest.Config{Prepare: func(vm *kvm.VM) error {
		return vm.EnableCap(kvm.CapManualDirtyLogProtect2, kvm.DirtyLogManualProtect)
	}})
	v := g.CPUs[0]
	runToPort(t, v, done)
	want := [4]bool{true, false, true, false}
	for range 2 { // taking the log does not clear it
		if got := dirty(t, g); got != want {
			t.Errorf("dirty pages %t, want %t", got, want)
		}
	}
	const first = scratch / page // a multiple of 64
	if err := g.VM.ClearDirtyLog(0, first, 64, []uint64{1 << 2}); err != nil {
		t.Fatal(err)
	}
	if got, want := dirty(t, g), [4]bool{true}; got != want {
		t.Errorf("dirty pages %t after the third was cleared, want %t", got, want)
	}
}

func TestDirtyLogRefusesShortBitmaps(t *testing.T) {
	g := logged(t, tinyguest.Config{})
	for want, err := range map[string]error{
		"KVM_GET_DIRTY_LOG slot 0: bitmap has 3 words, want 4":   g.VM.DirtyLog(0, make([]uint64, 3)),
		"KVM_GET_DIRTY_LOG slot 9: there is no such slot":        g.VM.DirtyLog(9, make([]uint64, 3)),
		"KVM_CLEAR_DIRTY_LOG slot 0: bitmap has 1 words, want 2": g.VM.ClearDirtyLog(0, 0, 65, make([]uint64, 1)),
	} {
		if err == nil || err.Error() != want {
			t.Errorf("error %v, want %s", err, want)
		}
	}
}

func TestReadonlyMemory(t *testing.T) {
	g := boot(t, tinyguest.Config{}, func(a *tinyguest.Asm) {
		a.Mov(rbx, nowhere)
		a.Load(1, rax, rbx, 3)
		a.Store(1, rbx, 4, rax)
	})
	v, r := g.CPUs[0], g.Memory.Regions()[0]
	memory, err := g.Memory.Slice(scratch, page)
	if err != nil {
		t.Fatal(err)
	}
	memory[3] = 0x5a
	if err := g.VM.SetMemory(1, kvm.MemReadonly, nowhere, page, r.HostAddr+scratch); err != nil {
		t.Fatal(err)
	}
	runTo(t, v, kvm.ExitMMIO)
	if m := v.MMIO(); !m.Write || m.Addr != nowhere+4 || m.Data[0] != 0x5a {
		t.Errorf("exit %+v, want the 0x5a that was read to be written", m)
	}
	if memory[4] != 0 {
		t.Error("the guest wrote to read-only memory")
	}
	if err := g.VM.SetMemory(1, 0, nowhere, 0, 0); err != nil {
		t.Errorf("delete the slot: %v", err)
	}
	if err := g.VM.DirtyLog(1, make([]uint64, 1)); err == nil || !strings.Contains(err.Error(), "no such slot") {
		t.Errorf("DirtyLog of a deleted slot: %v", err)
	}
}

func TestCoalescedWrites(t *testing.T) {
	g := boot(t, tinyguest.Config{}, func(a *tinyguest.Asm) {
		a.Mov(rbx, nowhere)
		a.Mov(rcx, 100)
		a.Label("loop")
		a.Store(4, rbx, 0x10, rcx)
		a.MovReg(rax, rcx)
		a.Out(0x60, 2)
		a.Dec(rcx)
		a.JNZ("loop")
		a.Out(done, 1)
		a.Store(4, rbx, 0x10, rcx)
	})
	v := g.CPUs[0]
	zones := []kvm.CoalescedZone{{Addr: nowhere, Size: page}, {Addr: 0x60, Size: 2, PIO: true}}
	for _, z := range zones {
		if err := g.VM.RegisterCoalesced(z); err != nil {
			t.Fatal(err)
		}
	}
	var writes []kvm.CoalescedWrite
	take := func() {
		for w, ok := v.NextCoalesced(); ok; w, ok = v.NextCoalesced() {
			writes = append(writes, w)
		}
	}
	// 200 writes are more than the ring holds: one of them exits, and comes after those in the ring.
	exits := 0
	for ; ; exits++ {
		reason, err := v.Run()
		if err != nil {
			t.Fatal(err)
		}
		take()
		switch {
		case reason == kvm.ExitMMIO:
			m := v.MMIO()
			writes = append(writes, kvm.CoalescedWrite{Addr: m.Addr, Len: len(m.Data), Data: [8]byte(append(bytes.Clone(m.Data), make([]byte, 8)...))})
			continue
		case reason == kvm.ExitIO && v.IO().Port == 0x60:
			writes = append(writes, kvm.CoalescedWrite{Addr: 0x60, PIO: true, Len: 2, Data: [8]byte{v.IO().Data[0]}})
			continue
		}
		break
	}
	if io := v.IO(); io.Port != done {
		t.Fatalf("exit %+v, want port %#x", io, done)
	}
	if exits > 2 {
		t.Errorf("%d exits for 200 writes, want at most 2", exits)
	}
	if len(writes) != 200 {
		t.Fatalf("%d writes, want 200", len(writes))
	}
	for i, w := range writes {
		want := kvm.CoalescedWrite{Addr: nowhere + 0x10, Len: 4, Data: [8]byte{byte(100 - i/2)}}
		if i%2 == 1 {
			want = kvm.CoalescedWrite{Addr: 0x60, PIO: true, Len: 2, Data: want.Data}
		}
		if w != want {
			t.Fatalf("write %d is %+v, want %+v", i, w, want)
		}
	}
	for _, z := range zones {
		if err := g.VM.UnregisterCoalesced(z); err != nil {
			t.Fatal(err)
		}
	}
	runTo(t, v, kvm.ExitMMIO)
}
