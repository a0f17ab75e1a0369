package tinyguest

import (
	"errors"
	"fmt"

	"usui/machine/guestmem"
	"usui/machine/kvm"
)

// Config describes a guest. Only Program must be set.
type Config struct {
	Program *Program

	// System is KVM; nil opens /dev/kvm.
	System *kvm.System
	// Memory is the guest's, whose first range begins where guestmem.Layout begins it; nil makes DefaultRAM bytes.
	Memory *guestmem.Memory
	// CPUs is the number of vCPUs, at most MaxCPUs; 0 is 1. All of them start at the beginning of Program.
	CPUs int
	// Vectors gives interrupts and exceptions to labels of Program (amd64 only). The others end in a write of
	// their number to ExceptionPort.
	Vectors map[uint8]string
	// Prepare, if not nil, is called before the vCPUs are made: the time for interrupt controllers.
	Prepare func(*kvm.VM) error
}

// DefaultRAM is the size of a guest's memory, in bytes.
const DefaultRAM = 1 << 20

// Guest is a machine whose vCPUs stand before their first instruction.
type Guest struct {
	VM      *kvm.VM
	Memory  *guestmem.Memory
	CPUs    []*kvm.VCPU
	Program *Program

	system *kvm.System
	owned  []func() error // in the order in which they were made
}

// New makes a guest. The slots of its memory have the numbers of the memory's regions.
func New(cfg Config) (_ *Guest, err error) {
	g := &Guest{system: cfg.System, Memory: cfg.Memory, Program: cfg.Program}
	defer func() {
		if err != nil {
			g.Close()
		}
	}()
	if err := g.open(); err != nil {
		return nil, err
	}
	if g.VM, err = g.system.NewVM(); err != nil {
		return nil, err
	}
	g.owned = append(g.owned, g.VM.Close)
	for slot, r := range g.Memory.Regions() {
		if err := g.VM.SetMemory(uint32(slot), 0, r.Start, r.Size, r.HostAddr); err != nil {
			return nil, err
		}
	}
	if err := g.Program.load(g.Memory, cfg.Vectors); err != nil {
		return nil, err
	}
	if cfg.Prepare != nil {
		if err := cfg.Prepare(g.VM); err != nil {
			return nil, err
		}
	}
	return g, g.makeCPUs(max(cfg.CPUs, 1))
}

// open makes what the configuration does not bring.
func (g *Guest) open() (err error) {
	if g.system == nil {
		if g.system, err = kvm.Open("/dev/kvm"); err != nil {
			return err
		}
		g.owned = append(g.owned, g.system.Close)
	}
	if g.Memory == nil {
		if g.Memory, err = guestmem.New(guestmem.Layout(DefaultRAM)); err != nil {
			return err
		}
		g.owned = append(g.owned, g.Memory.Close)
	}
	return nil
}

func (g *Guest) makeCPUs(n int) error {
	if n > MaxCPUs {
		return fmt.Errorf("%d vCPUs, at most %d", n, MaxCPUs)
	}
	for id := range n {
		v, err := g.VM.NewVCPU(id)
		if err != nil {
			return err
		}
		g.CPUs = append(g.CPUs, v)
		if err := g.start(v); err != nil {
			return fmt.Errorf("vcpu %d: %w", id, err)
		}
	}
	return nil
}

// Close frees what New made. No vCPU may run.
func (g *Guest) Close() error {
	var errs []error
	for i := len(g.owned) - 1; i >= 0; i-- {
		errs = append(errs, g.owned[i]())
	}
	g.owned = nil
	return errors.Join(errs...)
}
