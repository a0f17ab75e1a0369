// Package vhostuser is the front end of the vhost-user protocol: it hands the queues of a virtio device to another process, the back end,
// and takes them back.
//
// # Place
//
// Stratum host. machine/virtio/vhostuser is the device model that uses it. Source: QEMU's docs/interop/vhost-user.rst. vhostusertest has a
// back end for tests.
//
// # Idea
//
// The protocol sets a device up and stops it; it carries no request of a guest. [New] agrees with the back end on what both can.
// [Client.Start] sends the descriptor of the guest's memory and, for each ring, its addresses and two eventfds: the one by which the driver
// kicks and the one that interrupts it. From then on the back end serves the rings alone. [Client.Stop] takes the rings back: when it has
// returned without an error, the back end does not touch them any more.
//
// One goroutine reads the connection as long as there is one. So the end of the back end is noticed at once, by [Client.Lost], and a word
// that nobody asked for is found.
//
// The back end is a process of its own, which may be broken or hostile: each reply must have the size, the version and the kind that was
// asked for, and must come in time. What is wrong ends the connection for good.
//
// # Invariants
//
//   - New, Start and Stop take no longer than the time-out, however slowly the back end speaks.
//   - A reply is read with room for its 20 bytes, whatever size it claims. Descriptors that come with it are closed by the kernel.
//   - After the first error of any kind the connection is closed; each call returns that error.
//
// # Locks
//
// Client.calling is held during a call. Client.mu is held for a few instructions, inside of it.
//
// # Limits
//
//   - A back end has all of the guest's memory mapped, and nothing in the protocol takes it away again. One that does not let go when Stop
//     asks for it is out of reach of this package: who started its process has to end it.
//   - Of the protocol's extensions only MQ, as a question for the number of queues, and REPLY_ACK are used. No log of dirty pages, no
//     inflight descriptors, no requests of the back end, no configuration space, at most eight regions of memory.
package vhostuser
