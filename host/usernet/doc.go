// Package usernet is user networking as the monitor sees it: what a user may ask for, and the process usui-net that does it.
//
// # Place
//
// Stratum host. Between the command line of "usui run" and the program usui-net, whose network stack is [usui/host/netstack]: both read
// [Config] from here, so that they cannot disagree, and the monitor does not link the stack.
//
// # Idea
//
// A card needs one descriptor for each queue pair. [Start] makes them as pairs of SOCK_SEQPACKET sockets, keeps one end of each and
// gives the other to usui-net, which it finds beside the running program. One datagram is one Ethernet frame behind the 12 bytes of
// virtio_net_hdr_v1 (virtio 1.2 section 5.1.6), in both directions. A datagram of [DriverBytes] bytes is no frame: by it the monitor
// says which offloads the guest's driver takes, as TUNSETOFFLOAD does for a tap, and on how many queue pairs. Before the first of them the
// guest takes none, on one.
//
// # Invariants
//
//   - When the last of the monitor's ends closes, by whatever cause, usui-net ends. It needs no signal and leaves nothing behind.
//   - Start returns when the published ports listen, or with what kept them from it.
//   - The process gets the descriptors named here and an empty environment. It is in a session of its own, so that an interrupt typed
//     at the terminal goes to the guest alone.
//
// # Limits
//
// IPv4 only. The guest's addresses are fixed within the subnet: .2 is the gateway, .3 answers DNS, .15 is the guest.
package usernet
