package vmm

import (
	"context"
	"fmt"

	"usui/machine/boot"
	"usui/machine/guestmem"
	"usui/machine/kvm"
)

// MaxCPUs is the number of vCPUs that a machine can have.
const MaxCPUs = 64

var window32 = guestmem.Range{}

func window64(*guestmem.Memory) guestmem.Range { return guestmem.Range{} }

// hostCPUID is nothing: arm64 has identification registers instead.
type hostCPUID struct{}

// errArch is why no machine is built: an arm64 machine needs a flattened device tree, a GIC and PSCI, and this monitor makes none.
var errArch = fmt.Errorf("machines on arm64: %w", ErrUnsupported)

// newChips is the first step of building that differs between architectures, and refuses.
func (m *Machine) newChips() error { return errArch }

func appendPins(table []kvm.IRQRoute) []kvm.IRQRoute { return table }

func checkMSI(uint64) error { return errArch }

func (m *Machine) buildBuses(Config) error { return errArch }

func (m *Machine) load(context.Context, Config) (boot.Entry, error) { return boot.Entry{}, errArch }

func (m *Machine) newVCPU(int, int, boot.Entry) (*vcpu, error) { return nil, errArch }

func (c *vcpu) unexpected(kvm.ExitReason) error { return errArch }
