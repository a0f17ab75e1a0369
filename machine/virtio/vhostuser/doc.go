// Package vhostuser is a virtio device that another process serves: the queues are its, the registers are ours.
//
// # Place
//
// A [usui/machine/virtio.Device] behind the transport of machine/virtio, and in front of a back end that host/vhostuser talks to. A device
// type adds what makes it one: its number, its features, its configuration and what to do with requests when the back end is gone (see
// machine/virtio/fs).
//
// # Idea
//
// At Start the back end gets the guest's memory and the rings with both of their eventfds; from then on a kick goes from the guest by the
// kernel to the back end, and an interrupt back the same way. Nothing of that passes through this process. At Stop the rings are taken
// back.
//
// A back end is a process, and processes die. Its end is noticed at once. A device type that can refuse a request then has it served here:
// what the back end had taken and what comes is answered with an error, so that no program in the guest waits for ever. One that cannot is
// marked DEVICE_NEEDS_RESET. Either way one line is logged and the machine goes on. The back end does not come back: what it knew of the
// guest is lost.
//
// # Invariants
//
//   - After Stop nothing touches guest memory: the back end has said so, or it was ended by Config.End.
//   - Start and Stop wait for the back end no longer than the time-out of its connection, and then for Config.End.
//   - A driver cannot tell from the registers whether a back end lives, but for DEVICE_NEEDS_RESET.
//   - A back end is logged once at most.
//
// # Limits
//
//   - A back end maps all of the guest's memory and can change it at any time, as the guest's own kernel can. It is as trusted as the guest
//     is by itself, and not by us.
//   - It must know version 1, indirect descriptors and event indices, for the transport offers them to every driver.
//   - What a back end had taken longest ago, with more than a whole ring of requests finished since, cannot be found any more when it dies,
//     and stays open.
//   - No configuration space of the back end, so no device whose configuration it has to know.
package vhostuser
