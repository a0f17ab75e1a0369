// Package netstack is the network that a guest sees behind a card with user networking: a gateway that hands out an address, answers
// DNS and carries TCP and UDP to the host's own network, without privilege.
//
// # Place
//
// Stratum host; the sole user of gVisor. Linked by the program usui-net alone, which runs it in a process beside the monitor. What it
// may be asked for is [usernet.Config], and how frames travel is told in [usui/host/usernet].
//
// # Idea
//
// gVisor's TCP/IP stack takes the guest's packets for any address. For each TCP connection that the guest opens, a connection to the
// same address is opened from the host first, and the guest's is accepted only then, so that it learns of a refusal; two goroutines
// copy until both sides have finished. UDP is a socket of the host for each pair of addresses that the guest uses, until it has been
// idle. A published port is the same in the other direction. DHCP and DNS are small servers on the stack.
//
// The wire is in memory and loses nothing, so frames carry what virtio lets them: segments of up to 64 KiB in both directions, and
// checksums that nobody computes. Checksums of what the guest sends are not verified: a wrong one is the guest's own loss.
//
// # Invariants
//
//   - The guest is hostile. A frame passes [admit] before the stack sees it: the header of virtio makes sense, the source is an
//     address of the guest's subnet, and ARP asks for nothing but our two addresses.
//   - All that grows is bounded: connections, UDP flows, DNS questions under way, connection attempts, buffers of each connection,
//     frames that wait for a card that does not read. What is beyond is refused or dropped, counted in [Stats], and not logged.
//   - A connection counts until nothing of it is left in the stack, its unread data included. Those through published ports cannot take
//     the room of those that the guest opens.
//   - No goroutine of a Network outlives [Network.Run]; no descriptor outlives [Network.Close].
//   - The guest reaches no address of the host's loopback but through the gateway's address, and with Restrict nothing at all.
//
// # Limits
//
// IPv4 only: IPv6 frames are dropped, and a name's IPv6 addresses are of no use to the guest. ICMP: the gateway answers echo requests,
// nothing else is carried. UDP has a mapping for each pair of addresses, which is a symmetric NAT. Datagrams that the host's network
// refuses end their flow without a word to the guest. The name host.usui.internal is answered over UDP only. Broadcast and multicast
// are not carried. A connection that the host's client opens to a published port is accepted before the guest is asked, and reset
// when the guest refuses.
//
// # Locks
//
// A queue's mu is a leaf: it is held for a write to a socket that does not block. The mu of flows is a leaf too.
package netstack
