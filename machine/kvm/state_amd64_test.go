package kvm_test

import (
	"errors"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"usui/machine/kvm"
	"usui/machine/tinyguest"
)

// irqChip is a Config.Prepare that puts the interrupt controllers into the kernel.
func irqChip(vm *kvm.VM) error { return vm.NewIRQChip() }

// roundTrip changes a part of the state, sets it and wants it back as it was set.
func roundTrip[T any](t *testing.T, name string, get func() (T, error), set func(*T) error, change func(*T)) {
	t.Helper()
	want, err := get()
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	change(&want)
	if err := set(&want); err != nil {
		t.Errorf("set %s: %v", name, err)
		return
	}
	if got, err := get(); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%s = %+v, %v, want what was set, %+v", name, got, err, want)
	}
}

func TestStateRoundTrips(t *testing.T) {
	g := boot(t, tinyguest.Config{Prepare: irqChip}, (*tinyguest.Asm).Hlt)
	v := g.CPUs[0]
	roundTrip(t, "Regs", v.Regs, v.SetRegs, func(r *kvm.Regs) { r.Rax, r.R15, r.Rip = 1, 15, 0x10001 })
	roundTrip(t, "Sregs", v.Sregs, v.SetSregs, func(s *kvm.Sregs) { s.Cr2, s.Fs.Base = 0x1234, 0x5000 })
	roundTrip(t, "FPU", v.FPU, v.SetFPU, func(f *kvm.FPU) { f.Fcw, f.Xmm[3][7] = 0x37f, 0x55 })
	roundTrip(t, "LAPIC", v.LAPIC, v.SetLAPIC, func(l *kvm.LAPICState) {
		l.Regs[0x80], l.Regs[0xa0] = 0x20, 0x20 // task and processor priority
	})
	roundTrip(t, "DebugRegs", v.DebugRegs, v.SetDebugRegs, func(d *kvm.DebugRegs) { d.Db[2] = 0x4000 })
	roundTrip(t, "XCRs", v.XCRs, v.SetXCRs, func(*kvm.XCRs) {})
	roundTrip(t, "VCPUEvents", v.VCPUEvents, v.SetVCPUEvents, func(e *kvm.VCPUEvents) { e.Nmi.Masked = 1 })
	roundTrip(t, "MPState", v.MPState, func(s *uint32) error { return v.SetMPState(*s) },
		func(s *uint32) { *s = kvm.MPStateHalted })
	roundTrip(t, "XSave", v.XSave, func(area *[]byte) error { return v.SetXSave(*area) },
		func(area *[]byte) { (*area)[160+16] = 0x77; (*area)[512] |= 3 }) // XMM1, and x87 and SSE in XSTATE_BV
	if err := v.SetXSave(make([]byte, 100)); err == nil || !strings.Contains(err.Error(), "100 bytes, want ") {
		t.Errorf("SetXSave of 100 bytes: %v, want a refusal", err)
	}
	if khz, err := v.TSCKHz(); err != nil || khz <= 0 {
		t.Errorf("TSCKHz() = %d, %v", khz, err)
	}
}

func TestMSRs(t *testing.T) {
	const star, lstar, unknown = 0xc0000081, 0xc0000082, 0x4b564d99
	g := boot(t, tinyguest.Config{}, (*tinyguest.Asm).Hlt)
	v := g.CPUs[0]
	if n, err := v.SetMSRs([]kvm.MSREntry{{Index: star, Data: 1 << 40}, {Index: lstar, Data: 0x7000}}); n != 2 || err != nil {
		t.Fatalf("SetMSRs() = %d, %v, want 2", n, err)
	}
	got := []kvm.MSREntry{{Index: lstar}, {Index: star}, {Index: unknown}, {Index: star}}
	n, err := v.MSRs(got)
	if n != 2 || err == nil || !strings.Contains(err.Error(), "register 0x4b564d99 refused") {
		t.Errorf("MSRs() = %d, %v, want 2 and the third refused", n, err)
	}
	if got[0].Data != 0x7000 || got[1].Data != 1<<40 {
		t.Errorf("MSRs() read %+v, want what was set", got[:2])
	}
	many := slices.Repeat([]kvm.MSREntry{{Index: lstar}}, 600) // more than the kernel takes at once
	if n, err := v.MSRs(many); n != 600 || err != nil || many[599].Data != 0x7000 {
		t.Errorf("MSRs() of 600 = %d, %v, the last %+v", n, err, many[599])
	}
}

func TestListsOfTheSystem(t *testing.T) {
	boot(t, tinyguest.Config{}, (*tinyguest.Asm).Hlt)
	s, err := kvm.Open("/dev/kvm")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	msrs, err := s.MSRIndexList()
	if err != nil || !slices.Contains(msrs, 0x10) { // the time stamp counter
		t.Errorf("MSRIndexList() = %#x, %v, want 0x10 among them", msrs, err)
	}
	leaves, err := s.SupportedCPUID()
	if err != nil || !slices.ContainsFunc(leaves, func(e kvm.CPUIDEntry2) bool { return e.Function == 0x80000001 }) {
		t.Errorf("SupportedCPUID() = %v, %v, want leaf 0x80000001 among them", leaves, err)
	}
}

func TestClock(t *testing.T) {
	g := boot(t, tinyguest.Config{Prepare: irqChip}, (*tinyguest.Asm).Hlt)
	const hour = 3600e9
	if err := g.VM.SetClock(&kvm.ClockData{Clock: hour}); err != nil {
		t.Fatal(err)
	}
	c, err := g.VM.Clock()
	if err != nil || c.Clock < hour || c.Clock > 2*hour {
		t.Errorf("Clock() = %+v, %v, want a little more than an hour", c, err)
	}
	if err := g.VM.SetClock(&kvm.ClockData{Flags: 1 << 31}); !errors.Is(err, unix.EINVAL) {
		t.Errorf("SetClock with an unknown flag: %v, want %v", err, unix.EINVAL)
	}
}

func TestMachineParts(t *testing.T) {
	g := boot(t, tinyguest.Config{Prepare: func(vm *kvm.VM) error {
		return errors.Join(vm.SetIdentityMapAddr(0xfffbc000), vm.SetTSSAddr(0xfffbd000), vm.NewIRQChip(), vm.NewPIT2(kvm.PITSpeakerDummy))
	}}, func(a *tinyguest.Asm) {
		a.In(0x61, 1) // the kernel's speaker port: no exit
		a.In(0x40, 1) // its timer: neither
		a.Out(done, 1)
	})
	runToPort(t, g.CPUs[0], done)
}

func TestSplitIRQChip(t *testing.T) {
	g := boot(t, tinyguest.Config{Prepare: func(vm *kvm.VM) error { return vm.EnableSplitIRQChip(24) }}, func(a *tinyguest.Asm) {
		a.Mov(rbx, lapicBase)
		a.Load(4, rax, rbx, lapicSpur) // the kernel's: no exit
		a.Mov(rbx, ioapicBase)
		a.Load(4, rax, rbx, 0)
	})
	runTo(t, g.CPUs[0], kvm.ExitMMIO)
	if m := g.CPUs[0].MMIO(); m.Addr != ioapicBase {
		t.Errorf("exit %+v, want the I/O APIC's", m)
	}
}

func TestRefusalsNameIoctlAndValue(t *testing.T) {
	g := boot(t, tinyguest.Config{}, (*tinyguest.Asm).Hlt)
	v := g.CPUs[0]
	_, vcpuErr := g.VM.NewVCPU(1 << 20)
	_, deviceErr := g.VM.NewDevice(12345)
	for _, tt := range []struct {
		err  error
		want string
		is   error
	}{
		{vcpuErr, "KVM_CREATE_VCPU vcpu 1048576: invalid argument", unix.EINVAL},
		{deviceErr, "KVM_CREATE_DEVICE type 12345: no such device", unix.ENODEV},
		{g.VM.SetMemory(1, 0, 0x1001, 0x1000, 0), "KVM_SET_USER_MEMORY_REGION slot 1: 0x1000 bytes at 0x1001 from 0x0, flags 0x0: invalid argument", unix.EINVAL},
		{g.VM.EnableCap(kvm.CapHaltPoll, 1, 2), "", nil},
		{g.VM.EnableCap(kvm.Cap(99999), 7), "KVM_ENABLE_CAP KVM_CAP(0x1869f) [0x7]: invalid argument", unix.EINVAL},
		{g.VM.IRQFD(-1, 5), "KVM_IRQFD gsi 5: fd -1, flags 0x0", nil},
		{g.VM.IOEventFD(kvm.IOEvent{Addr: 0x10, Len: 3, FD: 0}), "KVM_IOEVENTFD 3 bytes at 0x10: fd 0, flags 0x0: invalid argument", unix.EINVAL},
		{v.SetMPState(77), "KVM_SET_MP_STATE vcpu 0: 77: invalid argument", unix.EINVAL},
		{v.SetSregs(&kvm.Sregs{Cr0: 1 << 63}), "KVM_SET_SREGS vcpu 0: invalid argument", unix.EINVAL},
	} {
		if tt.want == "" {
			if tt.err != nil {
				t.Errorf("%v, want none", tt.err)
			}
			continue
		}
		if tt.err == nil || !strings.HasPrefix(tt.err.Error(), tt.want) || tt.is != nil && !errors.Is(tt.err, tt.is) {
			t.Errorf("error %q, want %q (%v)", tt.err, tt.want, tt.is)
		}
		var e *kvm.Error
		if !errors.As(tt.err, &e) {
			t.Errorf("error %v is no *kvm.Error", tt.err)
		}
	}
}

// TestSharedRegsAreTheGuests has a guest count in RAX: it is read, and changed, without a system call.
func TestSharedRegsAreTheGuests(t *testing.T) {
	g := boot(t, tinyguest.Config{}, func(a *tinyguest.Asm) {
		a.Label("loop")
		a.Inc(tinyguest.RAX)
		a.Out(0x10, 1)
		a.Jmp("loop")
	})
	v := g.CPUs[0]
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	regs, err := v.ShareRegs()
	if errors.Is(err, errors.ErrUnsupported) {
		t.Fatal("every KVM since Linux 4.17 shares registers:", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	want := regs.Rax
	for i := range 100 {
		if i == 50 {
			regs.Rax = 0x1000
			v.RegsChanged()
			want = 0x1000
		}
		if reason, err := v.Run(); err != nil || reason != kvm.ExitIO {
			t.Fatalf("Run() = %v, %v", reason, err)
		}
		want++
		asked, err := v.Regs()
		if err != nil || asked != *regs || regs.Rax != want {
			t.Fatalf("after %d turns: shared %+v, asked %+v, %v; want RAX %#x", i+1, *regs, asked, err, want)
		}
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := v.ShareRegs(); err == nil {
		t.Error("ShareRegs of a closed vCPU succeeded")
	}
}
