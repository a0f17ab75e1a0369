package kvm

import (
	"testing"
	"unsafe"
)

// The numbers are the kernel's ABI, written down by hand: a generator that goes astray must not be able to agree with
// itself.
func TestLayoutIsTheKernels(t *testing.T) {
	var run runState
	var entry routingEntry
	var event ioeventfd
	for _, tt := range []struct {
		name      string
		got, want uintptr
	}{
		{"kvm_run.immediate_exit", unsafe.Offsetof(run.ImmediateExit), 1},
		{"kvm_run.exit_reason", unsafe.Offsetof(run.ExitReason), 8},
		{"kvm_run.cr8", unsafe.Offsetof(run.Cr8), 16},
		{"kvm_run's union", unsafe.Offsetof(run.Union), 32},
		{"size of kvm_run's union", unsafe.Sizeof(run.Union), 256},
		{"kvm_run.kvm_valid_regs", unsafe.Offsetof(run.KvmValidRegs), 288},
		{"kvm_run", unsafe.Sizeof(run), 2352},
		{"kvm_run.io", unsafe.Sizeof(exitIO{}), 16},
		{"kvm_run.io.data_offset", unsafe.Offsetof(exitIO{}.DataOffset), 8},
		{"kvm_run.mmio", unsafe.Sizeof(exitMMIO{}), 24},
		{"kvm_run.mmio.is_write", unsafe.Offsetof(exitMMIO{}.IsWrite), 20},
		{"kvm_run.hypercall.ret", unsafe.Offsetof(exitHypercall{}.Ret), 56},
		{"kvm_run.internal.data", unsafe.Offsetof(exitInternal{}.Data), 8},
		{"kvm_run.system_event.data", unsafe.Offsetof(exitSystemEvent{}.Data), 8},
		{"kvm_userspace_memory_region", unsafe.Sizeof(memoryRegion{}), 32},
		{"kvm_irqfd", unsafe.Sizeof(irqfd{}), 32},
		{"kvm_ioeventfd", unsafe.Sizeof(event), 64},
		{"kvm_ioeventfd.flags", unsafe.Offsetof(event.Flags), 24},
		{"kvm_msi", unsafe.Sizeof(msi{}), 32},
		{"kvm_enable_cap", unsafe.Sizeof(enableCap{}), 104},
		{"kvm_irq_routing_entry", unsafe.Sizeof(entry), 48},
		{"kvm_irq_routing_entry.u", unsafe.Offsetof(entry.U), 16},
		{"kvm_dirty_log", unsafe.Sizeof(dirtyLog{}), 16},
		{"kvm_clear_dirty_log", unsafe.Sizeof(clearDirtyLog{}), 24},
		{"kvm_coalesced_mmio", unsafe.Sizeof(coalescedEntry{}), 24},
		{"kvm_device_attr", unsafe.Sizeof(deviceAttr{}), 24},
		{"kvm_one_reg", unsafe.Sizeof(oneReg{}), 16},
		{"kvm_stats_desc", unsafe.Sizeof(statsDesc{}), 16},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, tt.got, tt.want)
		}
	}
}

// A request holds the size of its structure in bits 16 to 29 (Documentation/userspace-api/ioctl/ioctl-decoding.rst).
func TestRequestsHoldTheSizesOfTheirStructures(t *testing.T) {
	for r, want := range map[request]uintptr{
		kvmSetUserMemoryRegion:   unsafe.Sizeof(memoryRegion{}),
		kvmIRQFD:                 unsafe.Sizeof(irqfd{}),
		kvmIOEventFD:             unsafe.Sizeof(ioeventfd{}),
		kvmSignalMSI:             unsafe.Sizeof(msi{}),
		kvmEnableCap:             unsafe.Sizeof(enableCap{}),
		kvmIRQLine:               unsafe.Sizeof(irqLevel{}),
		kvmGetDirtyLog:           unsafe.Sizeof(dirtyLog{}),
		kvmClearDirtyLog:         unsafe.Sizeof(clearDirtyLog{}),
		kvmRegisterCoalescedMMIO: unsafe.Sizeof(coalescedZone{}),
		kvmSetGSIRouting:         unsafe.Sizeof(routingHeader{}),
		kvmCreateDevice:          unsafe.Sizeof(createDevice{}),
		kvmSetDeviceAttr:         unsafe.Sizeof(deviceAttr{}),
		kvmGetOneReg:             unsafe.Sizeof(oneReg{}),
		kvmGetMPState:            unsafe.Sizeof(mpState{}),
		kvmGetVCPUEvents:         unsafe.Sizeof(VCPUEvents{}),
		kvmGetRegList:            unsafe.Sizeof(regListHeader{}),
	} {
		if got := uintptr(r) >> 16 & 0x3fff; got != want {
			t.Errorf("%v has %d bytes, its structure %d", r, got, want)
		}
	}
}

func TestFlexibleStructuresAreContiguous(t *testing.T) {
	f := newFlexible[msrListTestHeader, uint32](3)
	f.header().n = 0x11
	copy(f.entries(), []uint32{0x22, 0x33, 0x44})
	if len(f.entries()) != 3 || len(f.words) != 2 || f.words[0] != 0x22<<32|0x11 || f.words[1] != 0x44<<32|0x33 {
		t.Errorf("words %#x, want header and entries one after the other", f.words)
	}
	if e := newFlexible[msrListTestHeader, uint32](0); len(e.entries()) != 0 {
		t.Errorf("%d entries, want none", len(e.entries()))
	}
}

type msrListTestHeader struct{ n uint32 }
