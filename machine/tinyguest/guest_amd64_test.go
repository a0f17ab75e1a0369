package tinyguest_test

import (
	"encoding/binary"
	"runtime"
	"strings"
	"testing"
	"time"

	"usui/host/need"
	"usui/machine/kvm"
	"usui/machine/tinyguest"
)

const (
	resultPort = 0x42       // where the tests' guests say that they are done
	nowhere    = 0xd0000000 // guest-physical address without memory
	scratch    = 0x40000    // address in the guest's memory that nothing else uses
)

// boot assembles a program and makes a guest of it.
func boot(t *testing.T, mode tinyguest.Mode, cfg tinyguest.Config, emit func(a *tinyguest.Asm)) *tinyguest.Guest {
	t.Helper()
	need.KVM(t)
	a := tinyguest.NewAsm(mode)
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

// runTo runs the vCPU to its next exit and fails when that is another. A guest that hangs is kicked, which is another.
func runTo(t *testing.T, v *kvm.VCPU, want kvm.ExitReason) {
	t.Helper()
	hang := time.AfterFunc(20*time.Second, v.Kick)
	defer hang.Stop()
	got, err := v.Run()
	if err != nil || got != want {
		regs, _ := v.Regs()
		t.Fatalf("Run() = %v, %v, want %v; rip %#x; error %v", got, err, want, regs.Rip, v.InternalError())
	}
}

func regs(t *testing.T, v *kvm.VCPU) kvm.Regs {
	t.Helper()
	r, err := v.Regs()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestModesComputeAndReachMemory(t *testing.T) {
	for _, tt := range []struct {
		name    string
		mode    tinyguest.Mode
		scratch uint64
	}{{"real", tinyguest.Real, 0xc000}, {"long", tinyguest.Long, scratch}} {
		t.Run(tt.name, func(t *testing.T) {
			g := boot(t, tt.mode, tinyguest.Config{}, func(a *tinyguest.Asm) {
				a.Mov(tinyguest.RBX, tt.scratch)
				a.Mov(tinyguest.RCX, 10)
				a.Mov(tinyguest.RAX, 0)
				a.Label("loop")
				a.Add(tinyguest.RAX, 7)
				a.Dec(tinyguest.RCX)
				a.JNZ("loop")
				a.Store(4, tinyguest.RBX, 4, tinyguest.RAX)
				a.Load(4, tinyguest.RSI, tinyguest.RBX, 8)
				a.MovReg(tinyguest.RAX, tinyguest.RSI)
				a.Out(resultPort, 2)
			})
			p, err := g.Memory.Slice(tt.scratch, 12)
			if err != nil {
				t.Fatal(err)
			}
			binary.LittleEndian.PutUint32(p[8:], 0xcafe)
			runTo(t, g.CPUs[0], kvm.ExitIO)
			if got := binary.LittleEndian.Uint32(p[4:]); got != 70 {
				t.Errorf("guest stored %d, want 70", got)
			}
			io := g.CPUs[0].IO()
			if io.Port != resultPort || io.In || string(io.Data) != "\xfe\xca" {
				t.Errorf("exit is %+v, want fe ca written to port %#x", io, resultPort)
			}
		})
	}
}

func TestUnexpectedExceptionTellsItsNumber(t *testing.T) {
	beyondLimit := func(a *tinyguest.Asm) { // of the data segment, 64 KiB
		a.Mov(tinyguest.RBX, 1<<20)
		a.Load(1, tinyguest.RAX, tinyguest.RBX, 0)
	}
	for _, tt := range []struct {
		name   string
		mode   tinyguest.Mode
		fault  func(*tinyguest.Asm)
		vector byte
	}{
		{"real", tinyguest.Real, beyondLimit, 13},
		{"long", tinyguest.Long, (*tinyguest.Asm).Ud2, 6},
		{"user", tinyguest.User, (*tinyguest.Asm).Ud2, 6},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := boot(t, tt.mode, tinyguest.Config{}, tt.fault)
			runTo(t, g.CPUs[0], kvm.ExitIO)
			if io := g.CPUs[0].IO(); io.Port != tinyguest.ExceptionPort || io.Data[0] != tt.vector {
				t.Errorf("exit is %+v, want exception %d", io, tt.vector)
			}
			runTo(t, g.CPUs[0], kvm.ExitHLT)
		})
	}
}

func TestVectorsLeadToLabels(t *testing.T) {
	vectors := map[uint8]string{6: "handler"}
	g := boot(t, tinyguest.User, tinyguest.Config{Vectors: vectors}, func(a *tinyguest.Asm) {
		a.Mov(tinyguest.RBX, 1)
		a.Ud2()
		a.Label("handler")
		a.Add(tinyguest.RBX, 10)
		a.Out(resultPort, 1)
	})
	runTo(t, g.CPUs[0], kvm.ExitIO)
	if io, rbx := g.CPUs[0].IO(), regs(t, g.CPUs[0]).Rbx; io.Port != resultPort || rbx != 11 {
		t.Errorf("exit is %+v with rbx = %d, want port %#x and 11", io, rbx, resultPort)
	}
}

// interruptAndReturn calls a handler and comes back.
func interruptAndReturn(t *testing.T, mode tinyguest.Mode) {
	vectors := map[uint8]string{0x40: "handler", 0x41: "end"}
	g := boot(t, mode, tinyguest.Config{Vectors: vectors}, func(a *tinyguest.Asm) {
		a.Mov(tinyguest.RBX, 1)
		a.Int(0x40)
		a.Add(tinyguest.RBX, 100)
		a.Int(0x41)
		a.Label("handler")
		a.Add(tinyguest.RBX, 10)
		a.Iret()
		a.Label("end")
		a.Out(resultPort, 1)
	})
	runTo(t, g.CPUs[0], kvm.ExitIO)
	if io, rbx := g.CPUs[0].IO(), regs(t, g.CPUs[0]).Rbx; io.Port != resultPort || rbx != 111 {
		t.Errorf("exit is %+v with rbx = %d, want port %#x and 111", io, rbx, resultPort)
	}
}

func TestInterruptAndReturn(t *testing.T) { interruptAndReturn(t, tinyguest.Real) }

// KVM's own emulator knows no INT and no IRET beyond real mode.
func TestLabInterruptAndReturn(t *testing.T) {
	need.HardwareKVM(t)
	t.Run("long", func(t *testing.T) { interruptAndReturn(t, tinyguest.Long) })
	t.Run("user", func(t *testing.T) { interruptAndReturn(t, tinyguest.User) })
}

// On kvm_pvm SYSCALL does not leave ring 3.
func TestLabUserModeCallsTheKernelAndComesBack(t *testing.T) {
	need.HardwareKVM(t)
	g := boot(t, tinyguest.User, tinyguest.Config{}, func(a *tinyguest.Asm) {
		a.Mov(tinyguest.RBX, nowhere)
		a.Mov(tinyguest.RAX, 5)
		a.Syscall()
		a.Store(8, tinyguest.RBX, 0, tinyguest.RAX)
		a.Label("kernel")
		a.Inc(tinyguest.RAX)
		a.Sysret()
	})
	const star, lstar = 0xc0000081, 0xc0000082 // AMD64 manual volume 2, section 6.1.1
	kernel, err := g.Program.Addr("kernel")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.CPUs[0].SetMSRs([]kvm.MSREntry{{Index: star, Data: tinyguest.STAR}, {Index: lstar, Data: kernel}}); err != nil {
		t.Fatal(err)
	}
	runTo(t, g.CPUs[0], kvm.ExitMMIO)
	m := g.CPUs[0].MMIO()
	if !m.Write || m.Addr != nowhere || binary.LittleEndian.Uint64(m.Data) != 6 {
		t.Errorf("exit is %+v, want 6 written to %#x", m, uint64(nowhere))
	}
}

func TestUserModeReachesMemoryAndLeaves(t *testing.T) {
	g := boot(t, tinyguest.User, tinyguest.Config{}, func(a *tinyguest.Asm) {
		a.Mov(tinyguest.RBX, scratch)
		a.Mov(tinyguest.RAX, 0x1234)
		a.Store(8, tinyguest.RBX, 0, tinyguest.RAX)
		a.Mov(tinyguest.RBX, nowhere)
		a.Load(4, tinyguest.RCX, tinyguest.RBX, 4)
	})
	runTo(t, g.CPUs[0], kvm.ExitMMIO)
	if m := g.CPUs[0].MMIO(); m.Write || m.Addr != nowhere+4 || len(m.Data) != 4 {
		t.Errorf("exit is %+v, want 4 bytes read at %#x", m, uint64(nowhere+4))
	}
	p, err := g.Memory.Slice(scratch, 8)
	if err != nil || binary.LittleEndian.Uint64(p) != 0x1234 {
		t.Errorf("guest stored %x, %v, want 0x1234", p, err)
	}
	s, err := g.CPUs[0].Sregs()
	if err != nil || s.Cs.Dpl != 3 || s.Ss.Dpl != 3 {
		t.Errorf("code segment %+v, %v: want ring 3", s.Cs, err)
	}
}

func TestSeveralCPUsHaveTheirOwnStacks(t *testing.T) {
	g := boot(t, tinyguest.Long, tinyguest.Config{CPUs: tinyguest.MaxCPUs}, func(a *tinyguest.Asm) {
		a.Hlt()
	})
	seen := map[uint64]bool{}
	for _, v := range g.CPUs {
		seen[regs(t, v).Rsp] = true
		runTo(t, v, kvm.ExitHLT)
	}
	if len(seen) != tinyguest.MaxCPUs {
		t.Errorf("%d stacks, want %d", len(seen), tinyguest.MaxCPUs)
	}
}

func TestNewRefuses(t *testing.T) {
	need.KVM(t)
	a := tinyguest.NewAsm(tinyguest.Long)
	a.Raw(make([]byte, tinyguest.DefaultRAM)...)
	tooLong, err := a.Program()
	if err != nil {
		t.Fatal(err)
	}
	a = tinyguest.NewAsm(tinyguest.Long)
	a.Hlt()
	halt, err := a.Program()
	if err != nil {
		t.Fatal(err)
	}
	for want, cfg := range map[string]tinyguest.Config{
		"load program":                        {Program: tooLong},
		"9 vCPUs, at most 8":                  {Program: halt, CPUs: 9},
		"vector 3: label x: not defined":      {Program: halt, Vectors: map[uint8]string{3: "x"}},
		"KVM_CREATE_IRQCHIP pic, ioapic and ": {Program: halt, Prepare: twoIRQChips},
	} {
		if g, err := tinyguest.New(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New() = %v, %v, want %q", g, err, want)
		}
	}
}

func twoIRQChips(vm *kvm.VM) error {
	if err := vm.NewIRQChip(); err != nil {
		return err
	}
	return vm.NewIRQChip()
}

// TestLabOnHardware repeats the tests where the processor runs the guests instead of an interpreter.
func TestLabOnHardware(t *testing.T) {
	need.HardwareKVM(t)
	t.Run("modes", TestModesComputeAndReachMemory)
	t.Run("exceptions", TestUnexpectedExceptionTellsItsNumber)
	t.Run("vectors", TestVectorsLeadToLabels)
	t.Run("interrupt", TestInterruptAndReturn)
	t.Run("user", TestUserModeReachesMemoryAndLeaves)
	t.Run("stacks", TestSeveralCPUsHaveTheirOwnStacks)
	t.Run("speed", TestRing0SpeedTellsSoftwareFromHardware)
}
