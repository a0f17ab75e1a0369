package kvm

// MSRExit is an access to a model-specific register that the kernel leaves to us ([CapX86UserSpaceMSR]).
type MSRExit struct {
	Index  uint32
	Reason uint32 // MSRExitUnknown and its like
	Data   uint64 // that a WRMSR writes
}

// MSR returns the details of [ExitRDMSR] and [ExitWRMSR]; without an answer by SetMSRResult RDMSR reads what Data was
// and WRMSR succeeds.
func (v *VCPU) MSR() MSRExit {
	x := exit[exitMSR](v)
	return MSRExit{x.Index, x.Reason, x.Data}
}

// SetMSRResult sets what RDMSR reads, or, when fault is set, gives the guest a general protection fault.
func (v *VCPU) SetMSRResult(data uint64, fault bool) {
	x := exit[exitMSR](v)
	x.Data, x.Error = data, 0
	if fault {
		x.Error = 1
	}
}

// EOIVector returns the interrupt vector of [ExitIOAPICEOI]: with a split irqchip, the level-triggered interrupt that
// the guest has ended.
func (v *VCPU) EOIVector() uint8 { return exit[exitEOI](v).Vector }
