//go:build ignore

// Template of kernel_gen.go: what amd64 and arm64 have in common. See usui/internal/uapigen.

package kvm

const apiVersion = C.KVM_API_VERSION

// Requests to the system, machine, vCPU and device descriptors.
const (
	kvmGetAPIVersion           request = C.KVM_GET_API_VERSION
	kvmCreateVM                request = C.KVM_CREATE_VM
	kvmCheckExtension          request = C.KVM_CHECK_EXTENSION
	kvmGetVCPUMmapSize         request = C.KVM_GET_VCPU_MMAP_SIZE
	kvmCreateVCPU              request = C.KVM_CREATE_VCPU
	kvmGetDirtyLog             request = C.KVM_GET_DIRTY_LOG
	kvmClearDirtyLog           request = C.KVM_CLEAR_DIRTY_LOG
	kvmSetUserMemoryRegion     request = C.KVM_SET_USER_MEMORY_REGION
	kvmCreateIRQChip           request = C.KVM_CREATE_IRQCHIP
	kvmIRQLine                 request = C.KVM_IRQ_LINE
	kvmRegisterCoalescedMMIO   request = C.KVM_REGISTER_COALESCED_MMIO
	kvmUnregisterCoalescedMMIO request = C.KVM_UNREGISTER_COALESCED_MMIO
	kvmSetGSIRouting           request = C.KVM_SET_GSI_ROUTING
	kvmIRQFD                   request = C.KVM_IRQFD
	kvmIOEventFD               request = C.KVM_IOEVENTFD
	kvmSignalMSI               request = C.KVM_SIGNAL_MSI
	kvmCreateDevice            request = C.KVM_CREATE_DEVICE
	kvmSetDeviceAttr           request = C.KVM_SET_DEVICE_ATTR
	kvmGetDeviceAttr           request = C.KVM_GET_DEVICE_ATTR
	kvmHasDeviceAttr           request = C.KVM_HAS_DEVICE_ATTR
	kvmRun                     request = C.KVM_RUN
	kvmGetMPState              request = C.KVM_GET_MP_STATE
	kvmSetMPState              request = C.KVM_SET_MP_STATE
	kvmGetVCPUEvents           request = C.KVM_GET_VCPU_EVENTS
	kvmSetVCPUEvents           request = C.KVM_SET_VCPU_EVENTS
	kvmEnableCap               request = C.KVM_ENABLE_CAP
	kvmGetOneReg               request = C.KVM_GET_ONE_REG
	kvmSetOneReg               request = C.KVM_SET_ONE_REG
	kvmGetRegList              request = C.KVM_GET_REG_LIST
	kvmGetStatsFD              request = C.KVM_GET_STATS_FD
)

// Capabilities, the arguments of Extension and EnableCap. What each means and returns stands in the kernel's
// Documentation/virt/kvm/api.rst.
const (
	CapIRQChip                Cap = C.KVM_CAP_IRQCHIP
	CapUserMemory             Cap = C.KVM_CAP_USER_MEMORY
	CapNrVCPUs                Cap = C.KVM_CAP_NR_VCPUS
	CapNrMemslots             Cap = C.KVM_CAP_NR_MEMSLOTS
	CapMPState                Cap = C.KVM_CAP_MP_STATE
	CapCoalescedMMIO          Cap = C.KVM_CAP_COALESCED_MMIO
	CapCoalescedPIO           Cap = C.KVM_CAP_COALESCED_PIO
	CapSyncMMU                Cap = C.KVM_CAP_SYNC_MMU
	CapIRQRouting             Cap = C.KVM_CAP_IRQ_ROUTING
	CapIRQFD                  Cap = C.KVM_CAP_IRQFD
	CapIRQFDResample          Cap = C.KVM_CAP_IRQFD_RESAMPLE
	CapIOEventFD              Cap = C.KVM_CAP_IOEVENTFD
	CapIOEventFDNoLength      Cap = C.KVM_CAP_IOEVENTFD_NO_LENGTH
	CapIOEventFDAnyLength     Cap = C.KVM_CAP_IOEVENTFD_ANY_LENGTH
	CapEnableCap              Cap = C.KVM_CAP_ENABLE_CAP
	CapEnableCapVM            Cap = C.KVM_CAP_ENABLE_CAP_VM
	CapMaxVCPUs               Cap = C.KVM_CAP_MAX_VCPUS
	CapMaxVCPUID              Cap = C.KVM_CAP_MAX_VCPU_ID
	CapOneReg                 Cap = C.KVM_CAP_ONE_REG
	CapSignalMSI              Cap = C.KVM_CAP_SIGNAL_MSI
	CapMSIDevID               Cap = C.KVM_CAP_MSI_DEVID
	CapReadonlyMem            Cap = C.KVM_CAP_READONLY_MEM
	CapDeviceCtrl             Cap = C.KVM_CAP_DEVICE_CTRL
	CapCheckExtensionVM       Cap = C.KVM_CAP_CHECK_EXTENSION_VM
	CapVCPUAttributes         Cap = C.KVM_CAP_VCPU_ATTRIBUTES
	CapVCPUEvents             Cap = C.KVM_CAP_VCPU_EVENTS
	CapImmediateExit          Cap = C.KVM_CAP_IMMEDIATE_EXIT
	CapInternalErrorData      Cap = C.KVM_CAP_INTERNAL_ERROR_DATA
	CapManualDirtyLogProtect2 Cap = C.KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2
	CapDirtyLogRing           Cap = C.KVM_CAP_DIRTY_LOG_RING
	CapDirtyLogRingAcqRel     Cap = C.KVM_CAP_DIRTY_LOG_RING_ACQ_REL
	CapHaltPoll               Cap = C.KVM_CAP_HALT_POLL
	CapStealTime              Cap = C.KVM_CAP_STEAL_TIME
	CapBinaryStatsFD          Cap = C.KVM_CAP_BINARY_STATS_FD
	CapSystemEventData        Cap = C.KVM_CAP_SYSTEM_EVENT_DATA
	CapUserMemory2            Cap = C.KVM_CAP_USER_MEMORY2
	CapMemoryFaultInfo        Cap = C.KVM_CAP_MEMORY_FAULT_INFO
	CapMemoryAttributes       Cap = C.KVM_CAP_MEMORY_ATTRIBUTES
	CapGuestMemFD             Cap = C.KVM_CAP_GUEST_MEMFD
	CapPreFaultMemory         Cap = C.KVM_CAP_PRE_FAULT_MEMORY
	CapPtpKVM                 Cap = C.KVM_CAP_PTP_KVM
)

// Why KVM_RUN returned.
const (
	ExitUnknown       ExitReason = C.KVM_EXIT_UNKNOWN
	ExitException     ExitReason = C.KVM_EXIT_EXCEPTION
	ExitIO            ExitReason = C.KVM_EXIT_IO
	ExitHypercall     ExitReason = C.KVM_EXIT_HYPERCALL
	ExitDebug         ExitReason = C.KVM_EXIT_DEBUG
	ExitHLT           ExitReason = C.KVM_EXIT_HLT
	ExitMMIO          ExitReason = C.KVM_EXIT_MMIO
	ExitIRQWindowOpen ExitReason = C.KVM_EXIT_IRQ_WINDOW_OPEN
	ExitShutdown      ExitReason = C.KVM_EXIT_SHUTDOWN
	ExitFailEntry     ExitReason = C.KVM_EXIT_FAIL_ENTRY
	ExitIntr          ExitReason = C.KVM_EXIT_INTR
	ExitSetTPR        ExitReason = C.KVM_EXIT_SET_TPR
	ExitTPRAccess     ExitReason = C.KVM_EXIT_TPR_ACCESS
	ExitNMI           ExitReason = C.KVM_EXIT_NMI
	ExitInternalError ExitReason = C.KVM_EXIT_INTERNAL_ERROR
	ExitWatchdog      ExitReason = C.KVM_EXIT_WATCHDOG
	ExitSystemEvent   ExitReason = C.KVM_EXIT_SYSTEM_EVENT
	ExitIOAPICEOI     ExitReason = C.KVM_EXIT_IOAPIC_EOI
	ExitHyperv        ExitReason = C.KVM_EXIT_HYPERV
	ExitARMNISV       ExitReason = C.KVM_EXIT_ARM_NISV
	ExitRDMSR         ExitReason = C.KVM_EXIT_X86_RDMSR
	ExitWRMSR         ExitReason = C.KVM_EXIT_X86_WRMSR
	ExitDirtyRingFull ExitReason = C.KVM_EXIT_DIRTY_RING_FULL
	ExitAPResetHold   ExitReason = C.KVM_EXIT_AP_RESET_HOLD
	ExitBusLock       ExitReason = C.KVM_EXIT_X86_BUS_LOCK
	ExitXen           ExitReason = C.KVM_EXIT_XEN
	ExitNotify        ExitReason = C.KVM_EXIT_NOTIFY
	ExitMemoryFault   ExitReason = C.KVM_EXIT_MEMORY_FAULT
)

const exitIOIn = C.KVM_EXIT_IO_IN

// Kinds of [InternalErrorExit].
const (
	InternalErrorEmulation      = C.KVM_INTERNAL_ERROR_EMULATION
	InternalErrorSimultaneous   = C.KVM_INTERNAL_ERROR_SIMUL_EX
	InternalErrorDelivery       = C.KVM_INTERNAL_ERROR_DELIVERY_EV
	InternalErrorUnexpectedExit = C.KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON
)

// Kinds of [SystemEventExit].
const (
	SystemEventShutdown = C.KVM_SYSTEM_EVENT_SHUTDOWN
	SystemEventReset    = C.KVM_SYSTEM_EVENT_RESET
	SystemEventCrash    = C.KVM_SYSTEM_EVENT_CRASH
	SystemEventWakeup   = C.KVM_SYSTEM_EVENT_WAKEUP
	SystemEventSuspend  = C.KVM_SYSTEM_EVENT_SUSPEND
)

// Flags of SetMemory.
const (
	MemLogDirtyPages = C.KVM_MEM_LOG_DIRTY_PAGES
	MemReadonly      = C.KVM_MEM_READONLY
)

// Arguments of EnableCap(CapManualDirtyLogProtect2, ...).
const (
	DirtyLogManualProtect = C.KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE
	DirtyLogInitiallySet  = C.KVM_DIRTY_LOG_INITIALLY_SET
)

// Run states of a vCPU, see MPState.
const (
	MPStateRunnable      = C.KVM_MP_STATE_RUNNABLE
	MPStateUninitialized = C.KVM_MP_STATE_UNINITIALIZED
	MPStateInitReceived  = C.KVM_MP_STATE_INIT_RECEIVED
	MPStateHalted        = C.KVM_MP_STATE_HALTED
	MPStateSIPIReceived  = C.KVM_MP_STATE_SIPI_RECEIVED
	MPStateStopped       = C.KVM_MP_STATE_STOPPED
	MPStateAPResetHold   = C.KVM_MP_STATE_AP_RESET_HOLD
	MPStateSuspended     = C.KVM_MP_STATE_SUSPENDED
)

// Types of NewDevice.
const (
	DeviceVFIO      = C.KVM_DEV_TYPE_VFIO
	DeviceARMVGICV2 = C.KVM_DEV_TYPE_ARM_VGIC_V2
	DeviceARMVGICV3 = C.KVM_DEV_TYPE_ARM_VGIC_V3
	DeviceARMITS    = C.KVM_DEV_TYPE_ARM_VGIC_ITS
)

// Group and attributes of a [DeviceVFIO].
const (
	VFIOFile    = C.KVM_DEV_VFIO_FILE
	VFIOFileAdd = C.KVM_DEV_VFIO_FILE_ADD
	VFIOFileDel = C.KVM_DEV_VFIO_FILE_DEL
)

const (
	irqfdDeassign = C.KVM_IRQFD_FLAG_DEASSIGN
	irqfdResample = C.KVM_IRQFD_FLAG_RESAMPLE

	ioeventDatamatch = C.KVM_IOEVENTFD_FLAG_DATAMATCH
	ioeventPIO       = C.KVM_IOEVENTFD_FLAG_PIO
	ioeventDeassign  = C.KVM_IOEVENTFD_FLAG_DEASSIGN

	routeIRQChip = C.KVM_IRQ_ROUTING_IRQCHIP
	routeMSI     = C.KVM_IRQ_ROUTING_MSI

	msiValidDevID = C.KVM_MSI_VALID_DEVID

	createDeviceTest = C.KVM_CREATE_DEVICE_TEST
)

type memoryRegion C.struct_kvm_userspace_memory_region
type irqLevel C.struct_kvm_irq_level
type irqfd C.struct_kvm_irqfd
type ioeventfd C.struct_kvm_ioeventfd
type msi C.struct_kvm_msi
type enableCap C.struct_kvm_enable_cap
type coalescedZone C.struct_kvm_coalesced_mmio_zone
type coalescedEntry C.struct_kvm_coalesced_mmio
type coalescedRing C.struct_kvm_coalesced_mmio_ring
type dirtyLog C.dirty_log
type clearDirtyLog C.clear_dirty_log
type createDevice C.struct_kvm_create_device
type deviceAttr C.device_attr
type oneReg C.one_reg
type mpState C.struct_kvm_mp_state
type routingHeader C.routing_header
type routingEntry C.struct_kvm_irq_routing_entry
type regListHeader C.reg_list_header
type statsHeader C.struct_kvm_stats_header
type statsDesc C.struct_kvm_stats_desc

// runState is what KVM_RUN and its caller share.
type runState C.struct_kvm_run
type exitFailEntry C.exit_fail_entry
type exitIO C.exit_io
type exitMMIO C.exit_mmio
type exitHypercall C.exit_hypercall
type exitInternal C.exit_internal
type exitSystemEvent C.exit_system_event
type exitMemoryFault C.exit_memory_fault
