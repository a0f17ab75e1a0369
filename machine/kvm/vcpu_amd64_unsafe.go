//go:build amd64

package kvm

import "unsafe"

// sharedRegs is the first member of struct kvm_sync_regs, the general registers.
func (v *VCPU) sharedRegs() *Regs {
	// SAFETY: kvm_run's member s is 8-aligned and larger than the registers; the mapping lies outside Go's heap.
	return (*Regs)(unsafe.Pointer(&v.run.S))
}
