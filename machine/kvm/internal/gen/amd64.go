//go:build ignore

// Template of kernel_amd64_gen.go. See usui/internal/uapigen.

package kvm

const (
	kvmGetSupportedCPUID  request = C.KVM_GET_SUPPORTED_CPUID
	kvmGetMSRIndexList    request = C.KVM_GET_MSR_INDEX_LIST
	kvmSetTSSAddr         request = C.KVM_SET_TSS_ADDR
	kvmSetIdentityMapAddr request = C.KVM_SET_IDENTITY_MAP_ADDR
	kvmCreatePIT2         request = C.KVM_CREATE_PIT2
	kvmGetClock           request = C.KVM_GET_CLOCK
	kvmSetClock           request = C.KVM_SET_CLOCK
	kvmGetRegs            request = C.KVM_GET_REGS
	kvmSetRegs            request = C.KVM_SET_REGS
	kvmGetSregs           request = C.KVM_GET_SREGS
	kvmSetSregs           request = C.KVM_SET_SREGS
	kvmGetMSRs            request = C.KVM_GET_MSRS
	kvmSetMSRs            request = C.KVM_SET_MSRS
	kvmGetFPU             request = C.KVM_GET_FPU
	kvmSetFPU             request = C.KVM_SET_FPU
	kvmGetLAPIC           request = C.KVM_GET_LAPIC
	kvmSetLAPIC           request = C.KVM_SET_LAPIC
	kvmSetCPUID2          request = C.KVM_SET_CPUID2
	kvmGetCPUID2          request = C.KVM_GET_CPUID2
	kvmGetDebugRegs       request = C.KVM_GET_DEBUGREGS
	kvmSetDebugRegs       request = C.KVM_SET_DEBUGREGS
	kvmGetXSave           request = C.KVM_GET_XSAVE
	kvmGetXSave2          request = C.KVM_GET_XSAVE2
	kvmSetXSave           request = C.KVM_SET_XSAVE
	kvmGetXCRs            request = C.KVM_GET_XCRS
	kvmSetXCRs            request = C.KVM_SET_XCRS
	kvmGetTSCKHz          request = C.KVM_GET_TSC_KHZ
	kvmSetTSCKHz          request = C.KVM_SET_TSC_KHZ
)

// Capabilities of amd64.
const (
	CapExtCPUID           Cap = C.KVM_CAP_EXT_CPUID
	CapPIT2               Cap = C.KVM_CAP_PIT2
	CapAdjustClock        Cap = C.KVM_CAP_ADJUST_CLOCK
	CapSetTSSAddr         Cap = C.KVM_CAP_SET_TSS_ADDR
	CapSetIdentityMapAddr Cap = C.KVM_CAP_SET_IDENTITY_MAP_ADDR
	CapTSCControl         Cap = C.KVM_CAP_TSC_CONTROL
	CapGetTSCKHz          Cap = C.KVM_CAP_GET_TSC_KHZ
	CapTSCDeadlineTimer   Cap = C.KVM_CAP_TSC_DEADLINE_TIMER
	CapSplitIRQChip       Cap = C.KVM_CAP_SPLIT_IRQCHIP
	CapX2APICAPI          Cap = C.KVM_CAP_X2APIC_API
	CapX86DisableExits    Cap = C.KVM_CAP_X86_DISABLE_EXITS
	CapX86UserSpaceMSR    Cap = C.KVM_CAP_X86_USER_SPACE_MSR
	CapXSave              Cap = C.KVM_CAP_XSAVE
	CapXSave2             Cap = C.KVM_CAP_XSAVE2
	CapXCRs               Cap = C.KVM_CAP_XCRS
	CapDebugRegs          Cap = C.KVM_CAP_DEBUGREGS
	CapExitHypercall      Cap = C.KVM_CAP_EXIT_HYPERCALL
	CapExceptionPayload   Cap = C.KVM_CAP_EXCEPTION_PAYLOAD
	CapSyncRegs           Cap = C.KVM_CAP_SYNC_REGS
)

// syncRegs is the bit of [CapSyncRegs], and of what is valid and dirty, that stands for the general registers.
const syncRegs = C.KVM_SYNC_X86_REGS

// Arguments of EnableCap(CapX86DisableExits, ...): these instructions no longer leave the guest.
const (
	DisableExitsMWAIT  = C.KVM_X86_DISABLE_EXITS_MWAIT
	DisableExitsHLT    = C.KVM_X86_DISABLE_EXITS_HLT
	DisableExitsPause  = C.KVM_X86_DISABLE_EXITS_PAUSE
	DisableExitsCState = C.KVM_X86_DISABLE_EXITS_CSTATE
)

// Arguments of EnableCap(CapX86UserSpaceMSR, ...), and reasons of an [MSRExit].
const (
	MSRExitInvalid = C.KVM_MSR_EXIT_REASON_INVAL
	MSRExitUnknown = C.KVM_MSR_EXIT_REASON_UNKNOWN
	MSRExitFilter  = C.KVM_MSR_EXIT_REASON_FILTER
)

// Chips of an [IRQRoute].
const (
	IRQChipPICMaster = C.KVM_IRQCHIP_PIC_MASTER
	IRQChipPICSlave  = C.KVM_IRQCHIP_PIC_SLAVE
	IRQChipIOAPIC    = C.KVM_IRQCHIP_IOAPIC
)

// Flags of a [CPUIDEntry2].
const (
	CPUIDSignificantIndex = C.KVM_CPUID_FLAG_SIGNIFCANT_INDEX
)

// PITSpeakerDummy is a flag of NewPIT2: port 0x61 is emulated by the kernel too.
const PITSpeakerDummy = C.KVM_PIT_SPEAKER_DUMMY

// Flags of [ClockData].
const (
	ClockTSCStable = C.KVM_CLOCK_TSC_STABLE
	ClockRealtime  = C.KVM_CLOCK_REALTIME
	ClockHostTSC   = C.KVM_CLOCK_HOST_TSC
)

// Flags of [VCPUEvents]: which fields SetVCPUEvents takes.
const (
	VCPUEventNMIPending = C.KVM_VCPUEVENT_VALID_NMI_PENDING
	VCPUEventSIPIVector = C.KVM_VCPUEVENT_VALID_SIPI_VECTOR
	VCPUEventShadow     = C.KVM_VCPUEVENT_VALID_SHADOW
	VCPUEventSMM        = C.KVM_VCPUEVENT_VALID_SMM
	VCPUEventPayload    = C.KVM_VCPUEVENT_VALID_PAYLOAD
)

// coalescedPage is the page of a vCPU's mapping that holds the machine's ring of coalesced writes.
const coalescedPage = C.KVM_COALESCED_MMIO_PAGE_OFFSET

// Regs are the general registers of a vCPU.
type Regs C.struct_kvm_regs

// Segment is a segment register with its hidden part.
type Segment C.struct_kvm_segment

// DTable is the register of a descriptor table, GDTR or IDTR.
type DTable C.struct_kvm_dtable

// Sregs are the system registers of a vCPU.
type Sregs C.struct_kvm_sregs

// FPU is the x87 and SSE state of a vCPU.
type FPU C.struct_kvm_fpu

// MSREntry is a model-specific register and its value.
type MSREntry C.struct_kvm_msr_entry

// CPUIDEntry2 is one leaf, or sub-leaf when its flags say so, of the CPUID instruction.
type CPUIDEntry2 C.struct_kvm_cpuid_entry2

// LAPICState is the register page of a local APIC: a register of 32 bits every 16 bytes.
type LAPICState C.struct_kvm_lapic_state

// VCPUEvents are the exceptions, interrupts and NMIs that a vCPU has in flight.
type VCPUEvents C.struct_kvm_vcpu_events

// DebugRegs are DR0-DR3, DR6 and DR7.
type DebugRegs C.struct_kvm_debugregs

// XCR is an extended control register.
type XCR C.struct_kvm_xcr

// XCRs are the extended control registers of a vCPU.
type XCRs C.struct_kvm_xcrs

// ClockData is the machine's paravirtual clock.
type ClockData C.struct_kvm_clock_data

type pitConfig C.struct_kvm_pit_config
type cpuidHeader C.cpuid_header
type msrsHeader C.msrs_header
type msrListHeader C.msr_list_header
type exitMSR C.exit_msr
type exitEOI C.exit_eoi
