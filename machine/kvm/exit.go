package kvm

import "fmt"

// ExitReason says why the guest left. The constants are the kernel's KVM_EXIT_ ones; [ExitKicked] is ours.
type ExitReason uint32

const (
	// ExitKicked is the reason of a Run that a [VCPU.Kick] ended.
	ExitKicked ExitReason = ExitReasons - 1
	// ExitReasons is above every reason that Run returns, the length of a table by reason. The kernel's own
	// stay far below it.
	ExitReasons = 64
)

// String returns the kernel's name.
func (r ExitReason) String() string {
	if r == ExitKicked {
		return "kicked"
	}
	if name := exitReasonName(r); name != "" {
		return name
	}
	return fmt.Sprintf("KVM_EXIT(%d)", uint32(r))
}

// IOExit is an access to I/O ports that nothing in the kernel serves: Count accesses of Size bytes each (1, 2 or 4) to
// the same port. Data is the vCPU's own memory, Size*Count bytes: what an OUT writes, or where to put what
// an IN reads, valid until the next Run. Count is above 1 for the string instructions INS and OUTS only.
type IOExit struct {
	Port  uint16
	In    bool
	Size  int
	Count int
	Data  []byte
}

// IO returns the details of [ExitIO].
func (v *VCPU) IO() IOExit {
	x := exit[exitIO](v)
	n := uint64(x.Size) * uint64(x.Count)
	return IOExit{
		Port: x.Port, In: x.Direction == exitIOIn, Size: int(x.Size), Count: int(x.Count),
		Data: v.mem[x.DataOffset : x.DataOffset+n : x.DataOffset+n],
	}
}

// MMIOExit is an access to guest-physical memory that has no slot, or a write to a read-only one. Data is the vCPU's
// own memory, 1 to 8 bytes: what was written, or where to put what is read, valid until the next Run. The guest chooses
// address and length freely: both may be odd, and a long or page-crossing access comes in pieces.
type MMIOExit struct {
	Addr  uint64
	Write bool
	Data  []byte
}

// MMIO returns the details of [ExitMMIO].
func (v *VCPU) MMIO() MMIOExit {
	x := exit[exitMMIO](v)
	n := min(x.Len, uint32(len(x.Data)))
	return MMIOExit{Addr: x.PhysAddr, Write: x.IsWrite != 0, Data: x.Data[:n:n]}
}

// FailEntryExit is a vCPU state that the hardware refuses to enter.
type FailEntryExit struct {
	Reason uint64 // as the hardware gives it: VMX's exit reason, SVM's exit code
	CPU    uint32 // of the host
}

// FailEntry returns the details of [ExitFailEntry].
func (v *VCPU) FailEntry() FailEntryExit {
	x := exit[exitFailEntry](v)
	return FailEntryExit{x.HardwareEntryFailureReason, x.Cpu}
}

// InternalErrorExit is something that KVM itself could not do, most often emulate an instruction.
type InternalErrorExit struct {
	Suberror uint32   // InternalErrorEmulation and its like
	Data     []uint64 // the vCPU's own memory, valid until the next Run; what it says depends on Suberror
}

// InternalError returns the details of [ExitInternalError].
func (v *VCPU) InternalError() InternalErrorExit {
	x := exit[exitInternal](v)
	return InternalErrorExit{x.Suberror, x.Data[:min(x.Ndata, uint32(len(x.Data)))]}
}

// SystemEventExit is the guest's wish to stop, restart or sleep (PSCI on arm64), or its crash.
type SystemEventExit struct {
	Type uint32   // SystemEventShutdown and its like
	Data []uint64 // the vCPU's own memory, valid until the next Run; empty on kernels before 5.19
}

// SystemEvent returns the details of [ExitSystemEvent].
func (v *VCPU) SystemEvent() SystemEventExit {
	x := exit[exitSystemEvent](v)
	return SystemEventExit{x.Type, x.Data[:min(x.Ndata, uint32(len(x.Data)))]}
}

// HypercallExit is a hypercall that the kernel leaves to us ([CapExitHypercall]).
type HypercallExit struct {
	Nr    uint64
	Args  [6]uint64
	Flags uint64
}

// Hypercall returns the details of [ExitHypercall]; SetHypercallResult answers it.
func (v *VCPU) Hypercall() HypercallExit {
	x := exit[exitHypercall](v)
	return HypercallExit{x.Nr, x.Args, x.Flags}
}

// SetHypercallResult sets what the guest's hypercall returns.
func (v *VCPU) SetHypercallResult(ret uint64) { exit[exitHypercall](v).Ret = ret }

// MemoryFaultExit is an access that the host's mappings could not serve. It comes with an error of Run.
type MemoryFaultExit struct {
	Flags uint64
	GPA   uint64
	Size  uint64 // bytes
}

// MemoryFault returns the details of [ExitMemoryFault].
func (v *VCPU) MemoryFault() MemoryFaultExit {
	x := exit[exitMemoryFault](v)
	return MemoryFaultExit{x.Flags, x.Gpa, x.Size}
}
