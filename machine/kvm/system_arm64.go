package kvm

// defaultIPABits is the width of guest-physical addresses that the kernel takes machine type 0 for.
const defaultIPABits = 40

// machineType asks for narrower guest-physical addresses on hosts that cannot do the default.
func (s *System) machineType() (uintptr, error) {
	bits, err := s.Extension(CapARMVMIPASize)
	if err != nil || bits == 0 || bits >= defaultIPABits {
		return 0, err
	}
	return uintptr(bits), nil
}
