// Package vmm puts the parts of the machine together: Config -> New -> Run -> Close.
//
// # Place
//
// Stratum machine, at its top: it knows kvm, guestmem, boot, pci and virtio; no layer. The seam of simple devices, [Device], is declared here,
// because here it is called.
//
// # Idea
//
// A machine is what a stock kernel needs and nothing more: RAM, vCPUs, KVM's interrupt controllers, one PCI bus with virtio functions, a
// 16550A for the first and last words, the reset and sleep registers of a hardware-reduced ACPI machine, and pvpanic. Everything that happens
// often goes past this process: queue kicks are ioeventfds, completions are irqfds. What is left for the run loop is probing and configuration.
//
// Start-up: memory -> VM with interrupt controllers -> PCI functions -> ACPI tables -> kernel image into memory -> vCPUs at the kernel's entry.
//
// Devices come and go while the guest runs ([Machine.Plug], [Machine.Unplug]) by ACPI, which stock kernels know: an interrupt makes the
// guest read which slots have news, and it writes which it has emptied ([acpi.Hotplug]). The guest has the last word on leaving.
//
// # Invariants
//
// A vCPU belongs to one locked thread for its life; others ask it through its request word and a kick. The tables that vCPUs read on an exit
// (ports, memory) never change while the machine lives. The exit path does not allocate, but for an ejection. A machine ends for exactly one cause.
//
// A device leaves only by the guest's ejection or by Close, and leaves nothing: its goroutines, doorbells, interrupts and descriptors are
// gone when its owner is told, which happens once. What the guest can make happen this way is bounded by what was plugged in.
//
// Nothing that a guest does ends the process that runs the monitor: accesses to nothing read as ones, devices mark themselves broken,
// instructions that KVM cannot emulate end the machine with an error that names the address.
//
// # Locks
//
// Machine.mu guards the wish (run, pause, stop) and the count of parked vCPUs; it is never held over a call into a device. interrupts.mu is
// taken inside PCI's locks (pci -> interrupts) and holds nothing further. slots.mu is taken before PCI's locks and never held while a device
// stops or its owner is told.
//
// # Limits
//
// amd64: up to 64 vCPUs (with more, Linux faults in the lab as it brings them up, and why is not known); RAM from 0 with a hole of
// 1 GiB below 4 GiB. [SpareSlots] devices can be plugged in beside those of the start. arm64 machines are refused.
package vmm
