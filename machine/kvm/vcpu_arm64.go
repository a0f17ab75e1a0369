package kvm

// PreferredTarget returns the CPU that fits the host best, for [VCPU.Init].
func (vm *VM) PreferredTarget() (VCPUInit, error) {
	var x VCPUInit
	_, e := ioctl(vm.fd, kvmARMPreferredTarget, &x)
	return x, e.about("vm")
}

// Init makes the vCPU what x says and resets its registers. It must come before anything else on the vCPU. Bit
// FeaturePowerOff lets it wait for a PSCI CPU_ON of another.
func (v *VCPU) Init(x *VCPUInit) error {
	_, e := ioctl(v.fd, kvmARMVCPUInit, x)
	return e.about("vcpu %d: target %d, features %#x", v.id, x.Target, x.Features[0])
}

// Finalize fixes the configuration of a feature, of which only [FeatureSVE] needs it.
func (v *VCPU) Finalize(feature int32) error {
	_, e := ioctl(v.fd, kvmARMVCPUFinalize, &feature)
	return e.about("vcpu %d: feature %d", v.id, feature)
}
