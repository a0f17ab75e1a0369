package kvm

func (s *System) machineType() (uintptr, error) { return 0, nil }

// SupportedCPUID returns the CPUID leaves that host and kernel offer to a guest, made for [VCPU.SetCPUID2].
func (s *System) SupportedCPUID() ([]CPUIDEntry2, error) {
	return growing(128, func(n int) ([]CPUIDEntry2, *Error) {
		list := newFlexible[cpuidHeader, CPUIDEntry2](n)
		list.header().N = uint32(n)
		_, e := ioctl(s.fd, kvmGetSupportedCPUID, list.header())
		return list.entries()[:min(n, int(list.header().N))], e
	})
}

// MSRIndexList returns the model-specific registers whose values make up a vCPU's state.
func (s *System) MSRIndexList() ([]uint32, error) {
	return growing(512, func(n int) ([]uint32, *Error) {
		list := newFlexible[msrListHeader, uint32](n)
		list.header().N = uint32(n)
		_, e := ioctl(s.fd, kvmGetMSRIndexList, list.header())
		return list.entries()[:min(n, int(list.header().N))], e
	})
}
