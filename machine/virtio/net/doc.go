// Package net is the virtio network card: it moves Ethernet frames between a guest and what the card is plugged into.
//
// # Place
//
// A virtio.Device behind the transport of machine/virtio. Behind the card is a [Backend]: an interface of the host (host/tap) or
// sockets to a process. Source: virtio 1.2 section 5.1; the kernel's drivers/net/tun.c and drivers/net/virtio_net.c for what the
// two ends do in fact.
//
// # Idea
//
// Each queue pair has a descriptor of the backend and two goroutines, one a direction. A frame is never copied here: one
// readv brings it from the backend into the guest's buffers, one writev from them to the backend.
//
// Toward the guest, chains are taken off the ring ahead of the frames until the largest one fits, because nobody says how long
// the next frame is. It then takes as many of them as it needs, which the driver sees at once (F_MRG_RXBUF), and the rest waits for the
// next. Without F_MRG_RXBUF a chain holds one frame, and a frame that is longer is dropped.
//
// With each frame comes a header that says which work was left undone: checksums, and cutting large packets into segments. It
// is passed on, after a look: a process behind a socket sees no header that makes no sense, and the guest none that
// asks for what its driver cannot do.
//
// A goroutine that finds nothing to read sleeps in poll(2). A driver is interrupted when there is nothing more to read, or
// after a batch. Frames from the guest wait while the backend is full, as with QEMU, and no other queue waits with them.
//
// A limit (machine/limit) holds for a direction, over all queue pairs. What the guest sends too fast stays in its queue; what comes
// too fast for it stays with the backend, which drops what it has no room for, as a tap does.
//
// With vhost the host's kernel serves the queue pairs of a tap instead: kicks and interrupts go between the guest and a thread of the kernel,
// and only the control queue is left here.
//
// # Invariants
//
//   - Each popped chain is pushed once, except those that wait for frames at Stop.
//   - A header from the guest is copied, checked, and passed on from the copy.
//   - Nothing allocates or logs for a frame. What is dropped is counted.
//   - A backend that goes away takes the link down: one log line, an interrupt of the configuration, and what the guest sends is
//     dropped from then on. So does an empty message of a peer, which looks the same.
//   - After Stop no goroutine of the device is left. Stop waits for no peer.
//
// # Limits
//
// There is no receive filter: all frames that arrive reach the guest, whose kernel knows its addresses. Commands that set filters, other
// addresses or VLANs (F_CTRL_RX, F_CTRL_MAC_ADDR, F_CTRL_VLAN) are not offered. Neither are changes of offloads while the driver
// runs (F_CTRL_GUEST_OFFLOADS, without which Linux loads no XDP program), UFO, which Linux no longer makes, hashes and notification coalescing.
//
// While an interface of the host is down, what the guest sends is dropped and its link stays up. A link that went down because the
// backend has gone stays down. Chains that wait for frames at Stop are forgotten, as a reset forgets them: who wants to go on with the
// same ring needs them handed back. A driver whose chains together have no room for a frame it said it takes waits for
// itself, as with QEMU, unless each entry of the ring is a chain: then the frame is dropped.
//
// With vhost there are no limits, frames are not counted, and a tap that goes away is not noticed: the link stays up.
package net
