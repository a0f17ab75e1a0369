package kvm_test

import (
	"encoding/binary"
	"errors"
	"runtime"
	"slices"
	"testing"

	"usui/machine/kvm"
	"usui/machine/tinyguest"
)

func TestIO(t *testing.T) {
	g := boot(t, tinyguest.Config{}, func(a *tinyguest.Asm) {
		a.Mov(rax, 0x11223344)
		a.Out(0x60, 1)
		a.Out(0x70, 2)
		a.Out(0x80, 4)
		a.In(0x61, 4)
		a.MovReg(rbx, rax)
		a.Mov(rsi, scratch)
		a.Mov(rcx, 5)
		a.Mov(rdx, 0xe9)
		a.RepOut(1)
		a.Mov(rdi, scratch+0x100)
		a.Mov(rcx, 3)
		a.RepIn(2)
		a.Out(done, 1)
	})
	v := g.CPUs[0]
	for _, want := range []struct {
		port uint16
		data string
	}{{0x60, "\x44"}, {0x70, "\x44\x33"}, {0x80, "\x44\x33\x22\x11"}} {
		io := runToPort(t, v, want.port)
		if io.In || io.Count != 1 || io.Size != len(want.data) || string(io.Data) != want.data {
			t.Errorf("access %+v, want one write of %x", io, want.data)
		}
	}
	io := runToPort(t, v, 0x61)
	if !io.In || io.Size != 4 || len(io.Data) != 4 {
		t.Errorf("access %+v, want a read of 4 bytes", io)
	}
	binary.LittleEndian.PutUint32(io.Data, 0xfeedbeef)

	memory, err := g.Memory.Slice(scratch, 0x200)
	if err != nil {
		t.Fatal(err)
	}
	copy(memory, "usui!")
	if got := stringIO(t, v, 0xe9, 1, 5, nil); string(got) != "usui!" {
		t.Errorf("guest wrote %q, want %q", got, "usui!")
	}
	if got := uint32(regs(t, v).Rbx); got != 0xfeedbeef {
		t.Errorf("guest read %#x, want 0xfeedbeef", got)
	}
	stringIO(t, v, 0xe9, 2, 3, []byte("abcdef"))
	runToPort(t, v, done)
	if got := memory[0x100:0x106]; string(got) != "abcdef" {
		t.Errorf("guest read %q, want %q", got, "abcdef")
	}
}

// stringIO serves one string instruction of count units, in however many exits the kernel makes of it. It gives in
// to a guest that reads, and returns what a guest wrote.
func stringIO(t *testing.T, v *kvm.VCPU, port uint16, size, count int, in []byte) (out []byte) {
	t.Helper()
	for n := 0; n < count; {
		io := runToPort(t, v, port)
		if io.Size != size || io.Count < 1 || io.Count > count-n || len(io.Data) != io.Size*io.Count || io.In != (in != nil) {
			t.Fatalf("access %+v, want at most %d units of %d bytes", io, count-n, size)
		}
		if io.In {
			copy(io.Data, in[n*size:])
		}
		out = append(out, io.Data...)
		n += io.Count
	}
	return out
}

func TestMMIO(t *testing.T) {
	g := boot(t, tinyguest.Config{}, func(a *tinyguest.Asm) {
		a.Mov(rbx, nowhere)
		a.Mov(rax, 0x1122334455667788)
		for _, size := range []int{1, 2, 4, 8} {
			a.Store(size, rbx, int32(size), rax)
		}
		a.Store(2, rbx, 0x13, rax) // unaligned
		a.Load(8, rcx, rbx, 0x20)
		a.Load(1, rdx, rbx, 0x31)
		a.Out(done, 1)
	})
	v := g.CPUs[0]
	for _, want := range []struct {
		offset uint64
		data   string
	}{{1, "\x88"}, {2, "\x88\x77"}, {4, "\x88\x77\x66\x55"}, {8, "\x88\x77\x66\x55\x44\x33\x22\x11"}, {0x13, "\x88\x77"}} {
		runTo(t, v, kvm.ExitMMIO)
		if m := v.MMIO(); !m.Write || m.Addr != nowhere+want.offset || string(m.Data) != want.data {
			t.Errorf("access %+v, want a write of %x to %#x", m, want.data, nowhere+want.offset)
		}
	}
	for _, want := range []struct {
		offset uint64
		data   string
	}{{0x20, "\x01\x02\x03\x04\x05\x06\x07\x08"}, {0x31, "\x99"}} {
		runTo(t, v, kvm.ExitMMIO)
		m := v.MMIO()
		if m.Write || m.Addr != nowhere+want.offset || len(m.Data) != len(want.data) {
			t.Errorf("access %+v, want a read of %d bytes at %#x", m, len(want.data), nowhere+want.offset)
		}
		copy(m.Data, want.data)
	}
	runToPort(t, v, done)
	if r := regs(t, v); r.Rcx != 0x0807060504030201 || byte(r.Rdx) != 0x99 {
		t.Errorf("guest read %#x and %#x, want 0x807060504030201 and 0x99", r.Rcx, byte(r.Rdx))
	}
}

func TestHaltAndShutdown(t *testing.T) {
	g := boot(t, tinyguest.Config{}, func(a *tinyguest.Asm) {
		a.Hlt()
		a.Ud2()
	})
	v := g.CPUs[0]
	runTo(t, v, kvm.ExitHLT)
	s, err := v.Sregs()
	if err != nil {
		t.Fatal(err)
	}
	s.Idt.Limit = 0 // no handler for the exception, nor for the double fault: a triple fault
	if err := v.SetSregs(&s); err != nil {
		t.Fatal(err)
	}
	runTo(t, v, kvm.ExitShutdown)
}

func TestMSRExit(t *testing.T) {
	const unknown = 0x4b564d99
	userSpaceMSRs := func(vm *kvm.VM) error {
		return vm.EnableCap(kvm.CapX86UserSpaceMSR, kvm.MSRExitUnknown|kvm.MSRExitInvalid)
	}
	g := boot(t, tinyguest.Config{Prepare: userSpaceMSRs}, func(a *tinyguest.Asm) {
		a.Mov(rcx, unknown)
		a.Mov(rax, 0x55667788)
		a.Mov(rdx, 0x11223344)
		a.Wrmsr()
		a.Rdmsr()
		a.Out(done, 1)
		a.Rdmsr()
	})
	v := g.CPUs[0]
	runTo(t, v, kvm.ExitWRMSR)
	if m := v.MSR(); m.Index != unknown || m.Data != 0x1122334455667788 {
		t.Errorf("WRMSR %+v, want 0x1122334455667788 to %#x", m, unknown)
	}
	v.SetMSRResult(0, false)
	runTo(t, v, kvm.ExitRDMSR)
	if m := v.MSR(); m.Index != unknown {
		t.Errorf("RDMSR %+v, want %#x", m, unknown)
	}
	v.SetMSRResult(0x0a0b0c0d01020304, false)
	runToPort(t, v, done)
	if r := regs(t, v); r.Rax != 0x01020304 || r.Rdx != 0x0a0b0c0d {
		t.Errorf("guest read %#x:%#x, want 0xa0b0c0d:0x1020304", r.Rdx, r.Rax)
	}
	runTo(t, v, kvm.ExitRDMSR)
	v.SetMSRResult(0, true)
	if io := runToPort(t, v, tinyguest.ExceptionPort); io.Data[0] != 13 {
		t.Errorf("exception %d, want 13", io.Data[0])
	}
}

func TestCPUID(t *testing.T) {
	g := boot(t, tinyguest.Config{}, func(a *tinyguest.Asm) {
		a.Mov(rax, 0)
		a.Cpuid()
		a.Out(done, 1)
	})
	v := g.CPUs[0]
	leaves, err := v.CPUID2()
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(leaves, func(e kvm.CPUIDEntry2) bool { return e.Function == 0 })
	if i < 0 {
		t.Fatal("no leaf 0 among the supported")
	}
	leaves[i].Ebx, leaves[i].Edx, leaves[i].Ecx = 0x69757375, 0x65756e6f, 0x6e69616c
	if err := v.SetCPUID2(leaves); err != nil {
		t.Fatal(err)
	}
	if again, err := v.CPUID2(); err != nil || !slices.Equal(again, leaves) {
		t.Errorf("CPUID2() = %v, %v, want what was set, %v", again, err, leaves)
	}
	runToPort(t, v, done)
	if r := regs(t, v); r.Rbx != 0x69757375 || r.Rdx != 0x65756e6f || r.Rcx != 0x6e69616c {
		t.Errorf("CPUID gave the guest %#x %#x %#x, want what was set", r.Rbx, r.Rdx, r.Rcx)
	}
}

// exitLoop is a guest that leaves for each kind of access in turn, for ever.
func exitLoop(a *tinyguest.Asm) {
	a.Mov(rbx, nowhere)
	a.Label("loop")
	a.Out(0x60, 1)
	a.In(0x61, 4)
	a.Store(8, rbx, 0, rax)
	a.Load(4, rax, rbx, 8)
	a.Jmp("loop")
}

// serveExits runs through the loop of exitLoop once and looks at each exit as a machine would.
func serveExits(v *kvm.VCPU) (sum int, err error) {
	for range 4 {
		reason, err := v.Run()
		if err != nil {
			return 0, err
		}
		switch reason {
		case kvm.ExitIO:
			io := v.IO()
			io.Data[0]++
			sum += int(io.Port)
		case kvm.ExitMMIO:
			m := v.MMIO()
			m.Data[0]++
			sum += int(m.Addr & 0xff)
		}
	}
	return sum, nil
}

func TestExitsAllocateNothing(t *testing.T) {
	g := boot(t, tinyguest.Config{}, exitLoop)
	v := g.CPUs[0]
	allocs := testing.AllocsPerRun(200, func() {
		if sum, err := serveExits(v); err != nil || sum != 0x60+0x61+8 {
			t.Errorf("exits sum to %#x, %v, want %#x", sum, err, 0x60+0x61+8)
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations for four exits, want 0", allocs)
	}
	allocs = testing.AllocsPerRun(200, func() {
		v.Kick()
		if r, err := v.Run(); err != nil || r != kvm.ExitKicked {
			t.Errorf("Run() = %v, %v, want %v", r, err, kvm.ExitKicked)
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations for a kick, want 0", allocs)
	}
}

func BenchmarkExit(b *testing.B) {
	g := boot(b, tinyguest.Config{}, exitLoop)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := serveExits(g.CPUs[0]); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(4*b.N), "ns/exit")
}

func BenchmarkKick(b *testing.B) {
	g := boot(b, tinyguest.Config{}, func(a *tinyguest.Asm) {
		a.Label("loop")
		a.Jmp("loop")
	})
	v := g.CPUs[0]
	kicks := make(chan struct{})
	go func() {
		for range kicks {
			v.Kick()
		}
	}()
	defer close(kicks)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for b.Loop() {
		kicks <- struct{}{}
		if _, err := v.Run(); err != nil {
			b.Fatal(err)
		}
	}
}

func TestStats(t *testing.T) {
	g := boot(t, tinyguest.Config{}, exitLoop)
	v := g.CPUs[0]
	exits := func() uint64 {
		s, err := v.Stats()
		if err != nil {
			t.Fatal(err)
		}
		if len(s["exits"]) != 1 {
			t.Fatalf("Stats() = %v, want exits", s)
		}
		return s["exits"][0]
	}
	before := exits()
	for range 10 {
		if _, err := serveExits(v); err != nil {
			t.Fatal(err)
		}
	}
	if n := exits() - before; n < 40 {
		t.Errorf("%d exits counted, want at least 40", n)
	}
	if one, err := v.Stat("exits"); err != nil || one != exits() {
		t.Errorf("Stat() = %d, %v, want %d", one, err, exits())
	}
	if _, err := v.Stat("nothing"); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("Stat() of no statistic = %v, want %v", err, errors.ErrUnsupported)
	}
	if n := testing.AllocsPerRun(10, func() { _, _ = v.Stat("exits") }); n != 0 {
		t.Errorf("Stat allocates %v times", n)
	}
	// Also while the vCPU runs, which answers no ioctl then.
	asked := make(chan error)
	go func() {
		_, err := v.Stats()
		v.Kick()
		asked <- err
	}()
	for r := kvm.ExitUnknown; r != kvm.ExitKicked; {
		var err error
		if r, err = v.Run(); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-asked; err != nil {
		t.Error(err)
	}
	if s, err := g.VM.Stats(); err != nil || len(s) == 0 {
		t.Errorf("statistics of the machine: %v, %v", s, err)
	}
}
