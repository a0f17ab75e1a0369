// Package vhost is the kernel's vhost interface as Go values: a device in the kernel serves the virtqueues of a guest.
//
// # Place
//
// Stratum host. Device models of machine/virtio hand their queues over to it. Source: the kernel's include/uapi/linux/vhost.h, from
// which the constants and structures are generated, and drivers/vhost.
//
// # Idea
//
// A device is an open file, whose owner's memory a thread of the kernel works in. [Net] and [Vsock] get at Start what a driver
// laid out: features, memory, rings. From then on kicks and interrupts go between the guest and that thread, and this process has no part in
// it. Stop says how far each ring was served, so that another one can go on there.
//
// # Invariants
//
// Addresses of rings are checked here and again by the kernel, and each one in a ring by the kernel alone. After Stop or Close no guest
// memory is touched. Nothing runs after a Start that failed.
//
// # Limits
//
// No log of dirty memory, no IOTLB, no busy polling. A fault of a driver is told by an eventfd that says nothing more.
package vhost
