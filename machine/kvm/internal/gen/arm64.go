//go:build ignore

// Template of kernel_arm64_gen.go. See usui/internal/uapigen.

package kvm

const (
	kvmARMVCPUInit        request = C.KVM_ARM_VCPU_INIT
	kvmARMVCPUFinalize    request = C.KVM_ARM_VCPU_FINALIZE
	kvmARMPreferredTarget request = C.KVM_ARM_PREFERRED_TARGET
)

// Capabilities of arm64.
const (
	CapARMPSCI       Cap = C.KVM_CAP_ARM_PSCI
	CapARMPSCI02     Cap = C.KVM_CAP_ARM_PSCI_0_2
	CapARMVMIPASize  Cap = C.KVM_CAP_ARM_VM_IPA_SIZE
	CapARMPMUV3      Cap = C.KVM_CAP_ARM_PMU_V3
	CapARMSVE        Cap = C.KVM_CAP_ARM_SVE
	CapARMNISVToUser Cap = C.KVM_CAP_ARM_NISV_TO_USER
	CapARMUserIRQ    Cap = C.KVM_CAP_ARM_USER_IRQ
	CapCounterOffset Cap = C.KVM_CAP_COUNTER_OFFSET
	CapARMSystemSusp Cap = C.KVM_CAP_ARM_SYSTEM_SUSPEND
)

// Bits of [VCPUInit].Features.
const (
	FeaturePowerOff       = C.KVM_ARM_VCPU_POWER_OFF
	FeaturePSCI02         = C.KVM_ARM_VCPU_PSCI_0_2
	FeaturePMUV3          = C.KVM_ARM_VCPU_PMU_V3
	FeatureSVE            = C.KVM_ARM_VCPU_SVE
	FeaturePtrAuthAddress = C.KVM_ARM_VCPU_PTRAUTH_ADDRESS
	FeaturePtrAuthGeneric = C.KVM_ARM_VCPU_PTRAUTH_GENERIC
)

// Registers of OneReg and SetOneReg; general register n is RegX0 + n*RegXStep.
const (
	RegX0       = C.REG_X0
	RegXStep    = C.reg_x_step
	RegSP       = C.REG_SP
	RegPC       = C.REG_PC
	RegPState   = C.REG_PSTATE
	RegSPEL1    = C.REG_SP_EL1
	RegELREL1   = C.REG_ELR_EL1
	RegMPIDREL1 = C.REG_MPIDR_EL1

	RegTimerCtl    = C.KVM_REG_ARM_TIMER_CTL
	RegTimerCval   = C.KVM_REG_ARM_TIMER_CVAL
	RegTimerCnt    = C.KVM_REG_ARM_TIMER_CNT
	RegPSCIVersion = C.KVM_REG_ARM_PSCI_VERSION
)

const (
	regSizeMask  = C.KVM_REG_SIZE_MASK
	regSizeShift = C.KVM_REG_SIZE_SHIFT
)

// Groups and attributes of the interrupt controllers: Documentation/virt/kvm/devices/arm-vgic-v3.rst and -its.rst.
const (
	VGICGroupAddr      = C.KVM_DEV_ARM_VGIC_GRP_ADDR
	VGICGroupNrIRQs    = C.KVM_DEV_ARM_VGIC_GRP_NR_IRQS
	VGICGroupCtrl      = C.KVM_DEV_ARM_VGIC_GRP_CTRL
	VGICCtrlInit       = C.KVM_DEV_ARM_VGIC_CTRL_INIT
	VGICV2AddrDist     = C.KVM_VGIC_V2_ADDR_TYPE_DIST
	VGICV2AddrCPU      = C.KVM_VGIC_V2_ADDR_TYPE_CPU
	VGICV3AddrDist     = C.KVM_VGIC_V3_ADDR_TYPE_DIST
	VGICV3AddrRedist   = C.KVM_VGIC_V3_ADDR_TYPE_REDIST
	VGICV3RedistRegion = C.KVM_VGIC_V3_ADDR_TYPE_REDIST_REGION
	VGICITSAddr        = C.KVM_VGIC_ITS_ADDR_TYPE
)

// Groups and attributes of a vCPU, see its SetAttr: Documentation/virt/kvm/devices/vcpu.rst.
const (
	VCPUPMUV3Ctrl      = C.KVM_ARM_VCPU_PMU_V3_CTRL
	VCPUPMUV3IRQ       = C.KVM_ARM_VCPU_PMU_V3_IRQ
	VCPUPMUV3Init      = C.KVM_ARM_VCPU_PMU_V3_INIT
	VCPUTimerCtrl      = C.KVM_ARM_VCPU_TIMER_CTRL
	VCPUTimerIRQVTimer = C.KVM_ARM_VCPU_TIMER_IRQ_VTIMER
	VCPUTimerIRQPTimer = C.KVM_ARM_VCPU_TIMER_IRQ_PTIMER
)

// Fields of IRQLine's number: type, vCPU and interrupt.
const (
	IRQTypeShift = C.KVM_ARM_IRQ_TYPE_SHIFT
	IRQTypeSPI   = C.KVM_ARM_IRQ_TYPE_SPI
	IRQTypePPI   = C.KVM_ARM_IRQ_TYPE_PPI
	IRQVCPUShift = C.KVM_ARM_IRQ_VCPU_SHIFT
)

// coalescedPage is the page of a vCPU's mapping that holds the machine's ring of coalesced writes.
const coalescedPage = C.KVM_COALESCED_MMIO_PAGE_OFFSET

// VCPUInit chooses what CPU a vCPU is.
type VCPUInit C.struct_kvm_vcpu_init

// VCPUEvents are the system errors that a vCPU has in flight.
type VCPUEvents C.struct_kvm_vcpu_events

type exitNISV C.exit_arm_nisv
