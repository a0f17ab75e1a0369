// Package vsock is the virtio socket device: stream sockets between a guest and its host, without a network.
//
// # Place
//
// Two virtio.Devices behind the transport of machine/virtio, which look the same to a guest: [Vsock] has Unix sockets at the host's side,
// [Vhost] has AF_VSOCK sockets there and is served by the host's kernel, through host/vhost. Source: virtio 1.2 section 5.10; what Linux's
// net/vmw_vsock and drivers/vhost/vsock.c make of it.
//
// # Idea
//
// The names of the Unix sockets are those of Firecracker, so that its clients work. The host is CID 2, the guest has one of its own.
//
//   - A program of the guest that connects to port P of CID 2 reaches whoever listens at the Unix socket PATH_P, such as v.sock_1024.
//   - A program of the host connects to the Unix socket PATH and writes "CONNECT P\n". When the guest's port P took the connection, it
//     reads "OK N\n", N being the port that it has for the guest, and the stream follows. When not, the socket is closed.
//
// One goroutine serves everything ([mux]): the kicks of the queues, the listening socket and each connection are in one epoll, which is
// itself in Go's poller, so that an idle device holds no thread. It knows of each socket whether it can be read, from the edges that
// epoll reports, and takes turns among those that can. The alternative, two goroutines for each connection, would have a lock around each
// ring and each connection, 16 MiB of stacks for 1024 connections, and a guest that decides how many goroutines there are; and
// what moves bytes, the system call, would be the same. A thread that sleeps in epoll_wait(2) itself was measured too: Go hands its
// processor on and takes it back for each sleep, and BenchmarkPingPong takes five times as long.
//
// No byte is copied here in the usual case. Bytes of the host are read from its socket into the guest's receive buffers, up to 16 of them
// in one system call; bytes of the guest are written to the socket from where the driver put them. What the socket does not take at
// once goes into a ring of the connection and follows when there is room; the other connections go on. The guest's credit is the
// room in that ring, so it never overflows. Packets that a connection has for the guest wait as bits ([say]), answers to
// packets of no connection in a queue of 64; when that is full, the guest is not heard until it takes them.
//
// # Invariants
//
// Header fields are copied out of guest memory before they are looked at. A connection holds at most 256 KiB, and only while its reader is behind; there
// are at most 1024 connections, and 64 clients that have not said which port they want, for at most 5 s each. A guest that breaks the protocol
// loses that connection by a reset. A packet moves without an allocation. Bytes are neither lost nor reordered while both ends are
// there; when the guest closes, or is gone, the host's reader still gets what the guest had sent. After Stop nothing touches guest memory. A socket
// file is its owner's alone, replaces no other, and goes with the device.
//
// # Limits
//
// No SOCK_SEQPACKET in [Vsock]. A program of the host that neither reads nor closes keeps its connection's place, even when the guest closed. When the
// machine ends, slow readers of the host have one second to take what is left, at most 256 KiB each. A path has at most 96 bytes. Nobody else than
// the guest speaks for it: there is no forwarding between guests. [Vhost] has no statistics, as the kernel has none.
package vsock
