package kvm

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Regs returns the general registers.
func (v *VCPU) Regs() (Regs, error) { return get[Regs](v, kvmGetRegs) }

// RegsInto is Regs for loops that must not allocate.
func (v *VCPU) RegsInto(x *Regs) error { return set(v, kvmGetRegs, x) }

// ShareRegs has each [VCPU.Run] leave the general registers in memory that is shared with KVM, and returns them there as they are: to read
// them then takes no system call. A change counts once [VCPU.RegsChanged] is called, before the next Run or any other call
// about registers. The memory lives until Close. A KVM without [CapSyncRegs] is an error (Documentation/virt/kvm/api.rst, section 5,
// kvm_valid_regs).
func (v *VCPU) ShareRegs() (*Regs, error) {
	if v.run == nil {
		return nil, (&Error{Ioctl: kvmRun.String(), Errno: unix.EBADF}).about("vcpu %d", v.id)
	}
	shared, err := v.vm.Extension(CapSyncRegs)
	if err != nil {
		return nil, err
	}
	if shared&syncRegs == 0 {
		return nil, fmt.Errorf("vcpu %d: share registers: %w", v.id, errors.ErrUnsupported)
	}
	now, err := v.Regs()
	if err != nil {
		return nil, err
	}
	regs := v.sharedRegs()
	*regs = now
	v.run.KvmValidRegs |= syncRegs
	return regs, nil
}

// RegsChanged tells KVM that the registers of [VCPU.ShareRegs] were changed.
func (v *VCPU) RegsChanged() { v.run.KvmDirtyRegs |= syncRegs }

// SetRegs sets the general registers.
func (v *VCPU) SetRegs(x *Regs) error { return set(v, kvmSetRegs, x) }

// Sregs returns the system registers.
func (v *VCPU) Sregs() (Sregs, error) { return get[Sregs](v, kvmGetSregs) }

// SetSregs sets the system registers.
func (v *VCPU) SetSregs(x *Sregs) error { return set(v, kvmSetSregs, x) }

// FPU returns the x87 and SSE registers; XSave has the wider ones too.
func (v *VCPU) FPU() (FPU, error) { return get[FPU](v, kvmGetFPU) }

// SetFPU sets the x87 and SSE registers.
func (v *VCPU) SetFPU(x *FPU) error { return set(v, kvmSetFPU, x) }

// LAPIC returns the registers of the local APIC in the kernel.
func (v *VCPU) LAPIC() (LAPICState, error) { return get[LAPICState](v, kvmGetLAPIC) }

// SetLAPIC sets the registers of the local APIC in the kernel.
func (v *VCPU) SetLAPIC(x *LAPICState) error { return set(v, kvmSetLAPIC, x) }

// DebugRegs returns the debug registers.
func (v *VCPU) DebugRegs() (DebugRegs, error) { return get[DebugRegs](v, kvmGetDebugRegs) }

// SetDebugRegs sets the debug registers.
func (v *VCPU) SetDebugRegs(x *DebugRegs) error { return set(v, kvmSetDebugRegs, x) }

// XCRs returns the extended control registers.
func (v *VCPU) XCRs() (XCRs, error) { return get[XCRs](v, kvmGetXCRs) }

// SetXCRs sets the extended control registers.
func (v *VCPU) SetXCRs(x *XCRs) error { return set(v, kvmSetXCRs, x) }

// XSave returns all registers that XSAVE saves, in the layout of CPUID leaf 0xd: 4096 bytes, or more when the host
// has large features on ([CapXSave2]).
func (v *VCPU) XSave() ([]byte, error) {
	size, r, err := v.xsaveSize()
	if err != nil {
		return nil, err
	}
	area := make([]byte, size)
	_, e := ioctl(v.fd, r, bytesOf(area))
	return area, e.about("vcpu %d", v.id)
}

// SetXSave sets all registers that XSAVE saves; area is as long as XSave returns it.
func (v *VCPU) SetXSave(area []byte) error {
	size, _, err := v.xsaveSize()
	if err != nil {
		return err
	}
	if len(area) != size {
		return fmt.Errorf("%v vcpu %d: %d bytes, want %d", kvmSetXSave, v.id, len(area), size)
	}
	_, e := ioctl(v.fd, kvmSetXSave, bytesOf(area))
	return e.about("vcpu %d", v.id)
}

// xsaveBytes is the size of struct kvm_xsave without its flexible array.
const xsaveBytes = 4096

// xsaveSize returns how many bytes the kernel reads and writes, and the request that reads them.
func (v *VCPU) xsaveSize() (int, request, error) {
	size, err := v.vm.Extension(CapXSave2)
	if size <= xsaveBytes {
		return xsaveBytes, kvmGetXSave, err
	}
	return size, kvmGetXSave2, err
}

// CPUID2 returns the CPUID leaves of the guest.
func (v *VCPU) CPUID2() ([]CPUIDEntry2, error) {
	return growing(128, func(n int) ([]CPUIDEntry2, *Error) {
		list := newFlexible[cpuidHeader, CPUIDEntry2](n)
		list.header().N = uint32(n)
		_, e := ioctl(v.fd, kvmGetCPUID2, list.header())
		return list.entries()[:min(n, int(list.header().N))], e
	})
}

// SetCPUID2 sets the CPUID leaves of the guest. It must come before the first Run.
func (v *VCPU) SetCPUID2(leaves []CPUIDEntry2) error {
	list := newFlexible[cpuidHeader, CPUIDEntry2](len(leaves))
	list.header().N = uint32(len(leaves))
	copy(list.entries(), leaves)
	_, e := ioctl(v.fd, kvmSetCPUID2, list.header())
	return e.about("vcpu %d: %d leaves", v.id, len(leaves))
}

// MSRs reads the registers that the entries name, in order, and returns how many it could read. The error then says
// which one the kernel refused.
func (v *VCPU) MSRs(entries []MSREntry) (n int, err error) { return v.msrs(kvmGetMSRs, entries) }

// SetMSRs sets the registers, in order, and returns how many it could set. The error then says which one the kernel
// refused.
func (v *VCPU) SetMSRs(entries []MSREntry) (n int, err error) { return v.msrs(kvmSetMSRs, entries) }

// maxMSRs is how many registers the kernel takes at once: below MAX_IO_MSRS, 256, of its arch/x86/kvm/x86.c.
const maxMSRs = 255

func (v *VCPU) msrs(r request, entries []MSREntry) (n int, err error) {
	for n < len(entries) {
		chunk := entries[n:min(n+maxMSRs, len(entries))]
		list := newFlexible[msrsHeader, MSREntry](len(chunk))
		list.header().N = uint32(len(chunk))
		copy(list.entries(), chunk)
		done, e := ioctl(v.fd, r, list.header())
		if e != nil {
			return n, e.about("vcpu %d: %d registers", v.id, len(chunk))
		}
		done = min(done, len(chunk))
		copy(chunk[:done], list.entries())
		n += done
		if done < len(chunk) {
			return n, fmt.Errorf("%v vcpu %d: register %#x refused", r, v.id, chunk[done].Index)
		}
	}
	return n, nil
}

// TSCKHz returns the frequency of the guest's time stamp counter in kHz.
func (v *VCPU) TSCKHz() (int, error) {
	khz, e := ioctlValue(v.fd, kvmGetTSCKHz, 0)
	return khz, e.about("vcpu %d", v.id)
}

// SetTSCKHz sets the frequency, where the kernel has [CapTSCControl] or it is the host's own.
func (v *VCPU) SetTSCKHz(khz int) error {
	_, e := ioctlValue(v.fd, kvmSetTSCKHz, uintptr(khz))
	return e.about("vcpu %d: %d kHz", v.id, khz)
}
