package vmm

import (
	"fmt"
	"runtime"
	"sync/atomic"

	"usui/machine/kvm"
)

// vcpu is one virtual processor and its run loop.
type vcpu struct {
	machine *Machine
	kvm     *kvm.VCPU
	exits   [kvm.ExitReasons]atomic.Uint64 // written by the vCPU's thread alone
	missed  atomic.Uint64                  // accesses to addresses where nothing answers
}

// loop runs the guest on this thread until the machine is asked to stop or the vCPU fails.
func (c *vcpu) loop() error {
	runtime.LockOSThread() // KVM ties a vCPU to its thread; never unlocked, so the thread ends too
	for {
		reason, err := c.kvm.Run()
		if err != nil {
			return fmt.Errorf("vcpu %d: %w", c.kvm.ID(), err)
		}
		c.exits[reason].Add(1)
		switch reason {
		case kvm.ExitIO:
			c.portIO()
		case kvm.ExitMMIO:
			c.memoryIO()
		case kvm.ExitKicked:
			if !c.machine.park() {
				return nil
			}
		case kvm.ExitShutdown:
			c.machine.end(TripleFault)
			return nil
		default:
			return c.unexpected(reason)
		}
	}
}

// portIO answers IN and OUT, with or without a repeat prefix: Count items of Size bytes, all for the same port.
func (c *vcpu) portIO() {
	io := c.kvm.IO()
	for data := io.Data; len(data) >= io.Size && io.Size > 0; data = data[io.Size:] {
		item := data[:io.Size:io.Size]
		var found bool
		if io.In {
			found = c.machine.ports.read(uint64(io.Port), item)
		} else {
			found = c.machine.ports.write(uint64(io.Port), item)
		}
		if !found {
			c.missed.Add(1)
		}
	}
}

// memoryIO answers a load or store to an address without RAM.
func (c *vcpu) memoryIO() {
	access := c.kvm.MMIO()
	var found bool
	if access.Write {
		found = c.machine.mmio.write(access.Addr, access.Data)
	} else {
		found = c.machine.mmio.read(access.Addr, access.Data)
	}
	if !found {
		c.missed.Add(1)
	}
}
