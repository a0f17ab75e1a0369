//go:build amd64

package kvm

import (
	"testing"
	"unsafe"
)

func TestLayoutIsTheKernelsOnAMD64(t *testing.T) {
	for _, tt := range []struct {
		name      string
		got, want uintptr
	}{
		{"kvm_regs", unsafe.Sizeof(Regs{}), 144},
		{"kvm_regs.rip", unsafe.Offsetof(Regs{}.Rip), 128},
		{"kvm_segment", unsafe.Sizeof(Segment{}), 24},
		{"kvm_sregs", unsafe.Sizeof(Sregs{}), 312},
		{"kvm_sregs.gdt", unsafe.Offsetof(Sregs{}.Gdt), 192},
		{"kvm_sregs.cr0", unsafe.Offsetof(Sregs{}.Cr0), 224},
		{"kvm_sregs.efer", unsafe.Offsetof(Sregs{}.Efer), 264},
		{"kvm_fpu", unsafe.Sizeof(FPU{}), 416},
		{"kvm_msr_entry", unsafe.Sizeof(MSREntry{}), 16},
		{"kvm_cpuid_entry2", unsafe.Sizeof(CPUIDEntry2{}), 40},
		{"kvm_lapic_state", unsafe.Sizeof(LAPICState{}), 1024},
		{"kvm_vcpu_events", unsafe.Sizeof(VCPUEvents{}), 64},
		{"kvm_debugregs", unsafe.Sizeof(DebugRegs{}), 128},
		{"kvm_xcrs", unsafe.Sizeof(XCRs{}), 392},
		{"kvm_clock_data", unsafe.Sizeof(ClockData{}), 48},
		{"kvm_pit_config", unsafe.Sizeof(pitConfig{}), 64},
		{"kvm_run.msr.data", unsafe.Offsetof(exitMSR{}.Data), 16},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, tt.got, tt.want)
		}
	}
}
