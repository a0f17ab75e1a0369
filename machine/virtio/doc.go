// Package virtio is the device side of virtio 1.2: split virtqueues, the interface that a device model implements, and the
// PCI transport that shows it to the guest.
//
// # Place
//
// Between machine/pci, which routes the guest's accesses here, and the device models in machine/virtio/NAME, which implement
// [Device] and serve [Queue]s. Guest memory is only reached through machine/guestmem.
//
// # Idea
//
// A device model sees no bus and no register: it says what it is, gets its queues at Start and gives them up at Stop. In
// between it serves: [Queue.Pop] takes a request off the ring as slices of guest memory, [Queue.Push] gives it back,
// [Queue.Notify] interrupts the driver if the driver wants that. A goroutine that finds the ring empty asks for a kick with
// [Queue.Arm] and sleeps in [Queue.Wait] without holding a thread.
//
// [Transport] is a modern device on PCI: one BAR with a page for each structure, one MSI-X vector for each queue and one for
// configuration changes, and an eventfd at each queue's notify address. A kick goes from the guest to the kernel to the
// goroutine that waits, and an interrupt from the goroutine to the kernel to the guest; no exit to the monitor is part of it.
//
// The driver is hostile. Every index, address and length is copied out of guest memory once, checked, and only then used.
// What cannot be checked into sense breaks the queue: the device is marked DEVICE_NEEDS_RESET, one line is logged, the
// driver gets a configuration interrupt, and this device stands still until it is reset, while all others go on.
//
// # Invariants
//
//   - Every slice in a [Chain] lies wholly inside one region of guest memory.
//   - [Queue.Pop] ends: a chain has at most as many descriptors as its table, and at most [MaxChain] buffers.
//   - A head is in flight at most once, so at most [Queue.Size] chains are, whatever the driver writes to the ring.
//   - Serving a queue does not allocate, and neither does a register access.
//   - Start and Stop of a device alternate. A reset, as the guest sees it, is done when Stop has returned.
//   - The device status shows NEEDS_RESET before the driver hears of it, and one line is logged for it, however many things
//     go wrong before the reset.
//   - Doorbells are attached exactly where the BAR is mapped, and nowhere after Close.
//
// # Locks
//
// Transport.mu is held while the device is called, so Stop is waited for under it. A goroutine of the device must not take
// it: marking the device broken, interrupts and [Transport.ConfigChanged] use atomics alone, and then the locks of
// machine/pci's MSI-X entries and of the logger, which are held only briefly. The lock of the doorbells is independent: moves
// of the BAR come with machine/pci's bus lock held and do not wait for a device.
//
// # Limits
//
//   - Split rings only; no packed rings, no in-order completion, no reset of a single queue, no legacy interface.
//   - Interrupts need MSI-X; without it only the ISR register tells.
//   - A device that the guest forbids to master the bus goes on.
//   - At most 255 queues.
//   - A buffer of 0 bytes breaks the queue, as it does in QEMU; the specification leaves it open.
package virtio
