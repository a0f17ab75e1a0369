// Package tap is Linux's tap: a network interface whose cable is a file descriptor.
//
// # Place
//
// Stratum host. The network card of machine/virtio/net reads and writes the descriptors; cmd/usui opens the interface. Source:
// the kernel's Documentation/networking/tuntap.rst and drivers/net/tun.c.
//
// # Idea
//
// What the host sends through the interface is read from the descriptor, and what is written to it arrives at the host, one
// Ethernet frame a call. In front of each frame is a header of 12 bytes (struct virtio_net_hdr_v1, virtio 1.2 section
// 5.1.6) that says which work was left to the other side: a checksum that is not computed yet, a large packet that is yet to be
// cut into segments. So 64 KiB cross in one call, and inside one host nobody ever cuts or sums them. Which of this
// work may be left to the reader is for the reader to say: [Tap.SetOffloads].
//
// An interface with several queues has a descriptor for each; the kernel spreads flows over those that are switched on.
//
// [Make] makes an interface, which lives as long as its descriptors. [Open] uses one that somebody has made, and needs no
// privilege where that somebody has given it to the user: ip tuntap add dev NAME mode tap user USER.
//
// # Invariants
//
//   - An interface that was made is gone when its process has ended, however that happens.
//   - The descriptors are non-blocking and closed on exec. They are not in Go's poller: a descriptor that is has the
//     poller's thread wake with each frame, even while its reader is busy.
//   - An error says which interface, and what to do.
//
// # Limits
//
// Addresses, bridges and routes are the user's. An interface that is there keeps what it is: only a link that is down is set
// up, and the MTU is changed only by SetMTU. The kernel lets two programs share an interface with several queues, which then
// share its traffic; one with a single queue has one user.
package tap
