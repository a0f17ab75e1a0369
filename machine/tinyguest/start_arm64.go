package tinyguest

import (
	"errors"
	"fmt"

	"usui/machine/guestmem"
	"usui/machine/kvm"
)

const (
	ramAddr    = 1 << 30 // where guestmem.Layout begins
	stackAddr  = ramAddr
	stackBytes = 0x400

	// CodeAddr is where programs are loaded. A guest's own data may lie behind its code.
	CodeAddr = ramAddr + 0x10000

	// MaxCPUs is how many vCPUs have room for their stacks.
	MaxCPUs = 8
)

// load writes the code into the guest's memory. There are no tables: the MMU is off, and an exception loops at the
// empty vector base.
func (p *Program) load(mem *guestmem.Memory, vectors map[uint8]string) error {
	if len(vectors) > 0 {
		return errors.New("vectors are for amd64")
	}
	if _, err := mem.WriteAt(p.code, CodeAddr); err != nil {
		return fmt.Errorf("load program: %w", err)
	}
	return nil
}

// start makes a new vCPU the host's kind of CPU, with PSCI, and sets its registers. What KVM resets is right for the rest:
// EL1 with its own stack pointer, interrupts masked, MMU off.
func (g *Guest) start(v *kvm.VCPU) error {
	target, err := g.VM.PreferredTarget()
	if err != nil {
		return err
	}
	target.Features[0] |= 1 << kvm.FeaturePSCI02
	if err := v.Init(&target); err != nil {
		return err
	}
	if err := v.SetOneReg(kvm.RegPC, CodeAddr); err != nil {
		return err
	}
	return v.SetOneReg(kvm.RegSPEL1, stackAddr+uint64(v.ID()+1)*stackBytes)
}
