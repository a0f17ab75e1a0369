// Package pci is the PCI bus of a machine: configuration space, base address registers and message-signalled interrupts.
//
// # Place
//
// Between machine/vmm, which sends the guest's accesses to the configuration window and the two memory windows here, and the
// functions on the bus: machine/virtio's transport, later machine/vfio. Interrupts leave through [Vector]s, which vmm
// makes of irqfds and routes.
//
// # Idea
//
// One bus, bus 0, whose host bridge is at 00:00.0; every other slot holds one [Function] of type 0. Configuration space is
// reached through memory only (ECAM, PCI Express Base Specification section 7.2.2); there are no ports 0xcf8 and 0xcfc. Each
// function is 256 bytes of registers with a mask of what the guest may change, which is all that the sizing of
// a BAR needs. No function has a PCI Express capability, so Linux takes them for conventional devices, and the 3840
// bytes of extended configuration space read as ones.
//
// The monitor is the firmware: [Bus.Add] gives every BAR an address. A function that comes while the guest runs ([Bus.Insert]) has
// none, as on hardware. The guest may move BARs anywhere inside the windows. The
// table from addresses to BARs is immutable and swapped as a whole, so an access takes no lock and allocates nothing.
//
// MSI-X is the only interrupt (PCI Local Bus Specification 3.0 section 6.8.2): no INTx, no MSI. An entry that the guest has
// unmasked is routed; [Function.Signal] of any other only sets its pending bit, and unmasking delivers it.
//
// # Invariants
//
//   - Two mapped BARs never overlap, and all lie inside a window. A BAR for which that cannot hold is not mapped, until
//     its or another BAR's move makes room.
//   - An access of any size at any offset has a defined answer: ones where nothing is, no effect where nothing can be written.
//   - What a guest does wrong is at most [maxWarnings] lines in the log for each function.
//   - A function that left the bus ([Bus.Remove]) is mapped nowhere and stays so, whatever a vCPU does that reached it before.
//   - Each vector that a function was given is closed once, be it by its Close or because the function could not be made.
//   - A signal is delivered or pending as long as MSI-X is enabled; no concurrent masking loses it.
//
// # Locks
//
// Function.mu, then Bus.mu, then the lock of one MSI-X entry. Hooks of a function (capabilities, Placed) are called with
// the first or the first two held, so they may take locks of their own and use [Function.ReadBAR], [Function.WriteBAR],
// [Function.Signal] and [Function.Warn], and nothing else of this package. Regions are called with no lock held, except by
// such a hook.
//
// # Limits
//
//   - No bridges, no functions other than 0, no I/O space, no expansion ROM, no power management.
//   - The bus master bit is kept and read back, but not enforced: a device that the guest set up works without it.
//   - A BAR is at least 4 KiB.
package pci
