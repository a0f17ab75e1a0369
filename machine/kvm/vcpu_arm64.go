package kvm

import (
	"encoding/binary"
	"fmt"
)

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

// RegSize returns the bytes of a register, which its number says.
func RegSize(id uint64) int { return 1 << (id & regSizeMask >> regSizeShift) }

// OneReg returns a register of at most 8 bytes.
func (v *VCPU) OneReg(id uint64) (uint64, error) {
	var word [8]byte
	if err := v.oneReg(kvmGetOneReg, id, word[:min(len(word), RegSize(id))]); err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint64(word[:]), nil
}

// SetOneReg sets a register of at most 8 bytes.
func (v *VCPU) SetOneReg(id, value uint64) error {
	var word [8]byte
	binary.LittleEndian.PutUint64(word[:], value)
	return v.oneReg(kvmSetOneReg, id, word[:min(len(word), RegSize(id))])
}

// ReadReg reads a register of any size; p has [RegSize] bytes.
func (v *VCPU) ReadReg(id uint64, p []byte) error { return v.oneReg(kvmGetOneReg, id, p) }

// WriteReg sets a register of any size; p has [RegSize] bytes.
func (v *VCPU) WriteReg(id uint64, p []byte) error { return v.oneReg(kvmSetOneReg, id, p) }

// oneReg checks the length, because the kernel takes it from the number alone.
func (v *VCPU) oneReg(r request, id uint64, p []byte) error {
	if len(p) != RegSize(id) {
		return fmt.Errorf("%v vcpu %d: register %#x has %d bytes, not %d", r, v.id, id, RegSize(id), len(p))
	}
	_, e := ioctl(v.fd, r, &oneReg{Id: id, Addr: bytesOf(p)})
	return e.about("vcpu %d: register %#x", v.id, id)
}

// RegList returns the numbers of all registers that make up the vCPU's state.
func (v *VCPU) RegList() ([]uint64, error) {
	return growing(512, func(n int) ([]uint64, *Error) {
		list := newFlexible[regListHeader, uint64](n)
		list.header().N = uint64(n)
		_, e := ioctl(v.fd, kvmGetRegList, list.header())
		return list.entries()[:min(uint64(n), list.header().N)], e
	})
}
