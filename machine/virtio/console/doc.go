// Package console is the virtio console device: byte streams between guest and host, one of which may be a terminal.
//
// # Place
//
// A virtio.Device behind the transport of machine/virtio. The host's end of each port is an [io.ReadWriteCloser] from
// whoever builds the machine. Source: virtio 1.2 section 5.3; what Linux's drivers/char/virtio_console.c makes of it.
//
// # Idea
//
// Each port has two goroutines, one a direction, and the control queues have two more. So whoever does not take or give
// data blocks his own port and direction, and nothing else. Guest to host, the guest's buffers go into Write as they
// are. Host to guest, one Read of up to 64 KiB is spread over as many guest buffers as it takes, and the driver is interrupted
// once for all of them.
//
// Control messages to the driver are not queued but kept as bits of what is yet to be said for each port: a driver
// that asks again and again and never gives a buffer makes nothing grow.
//
// Port 0 is a console, for drivers without F_MULTIPORT; without a console, ports are numbered from 1, as QEMU does.
//
// # Invariants
//
// Bytes are neither lost nor reordered: not while the guest keeps a port closed, and not over a reset, as far as the
// driver did not have them yet. At most 64 KiB a port are held. The host's end closing is told to the driver (PORT_OPEN 0)
// after the last byte. After Stop no goroutine of the device is left.
//
// # Locks
//
// Console.mu guards the state of the ports that control messages change. Nothing is taken under it.
//
// # Limits
//
// A port whose host end was closed stays closed. Bytes that the guest writes to it are dropped, or its driver would hang. A
// generic port gets bytes only while the guest has it open; a console always, and Linux drops them while no terminal is open. What
// is in a Write when the device is reset is lost from there on. Size changes reach drivers with F_MULTIPORT only,
// in the specification's order (columns first; Linux before 6.16 has it the other way round). No F_EMERG_WRITE.
package console
