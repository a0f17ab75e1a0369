package kvm

// NISVExit is an access to memory without a slot whose instruction the hardware does not describe
// ([CapARMNISVToUser]).
type NISVExit struct {
	Syndrome uint64 // ESR_EL2.ISS, only bits that are valid without ISV
	Addr     uint64 // guest-physical
}

// NISV returns the details of [ExitARMNISV].
func (v *VCPU) NISV() NISVExit {
	x := exit[exitNISV](v)
	return NISVExit{x.EsrIss, x.FaultIpa}
}
