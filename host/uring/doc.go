// Package uring moves bytes between memory and one file through a small io_uring.
//
// # Place
//
// Below machine/block, which keeps the requests of a disk in flight with it. It knows the kernel's ring and nothing of
// disks: reads, writes, fdatasync and fallocate of one registered file. Source: include/uapi/linux/io_uring.h, the
// manual pages io_uring_setup(2) and io_uring_enter(2).
//
// # Idea
//
// A ring has a fixed number of slots. The caller puts a request into a free slot, hands everything queued to the kernel
// with one Submit, and takes completions with Next, which is a look at shared memory and no system call. What the page
// cache holds is read inside io_uring_enter: its completion is there when Submit returns, and nobody has to be woken.
// Wait sleeps in the kernel until a completion is there; the kernel loses no wake-up there, which an eventfd that is
// switched off during a submission could not promise.
//
// The flags IORING_SETUP_SINGLE_ISSUER and DEFER_TASKRUN bind a ring to one thread, and COOP_TASKRUN lets a completion wait
// for the submitting thread's next entry into the kernel. Goroutines move between threads, and a Go thread may compute
// for long after it submitted: a ring here uses none of the three.
//
// # Invariants
//
// Each request that was queued completes exactly once, also when the kernel refuses it. A slot is free again when Next has
// returned its completion. The table of buffers of a slot lies outside Go's heap and stays until the slot's request is
// complete, and the slot keeps the buffers alive until then. The completion queue holds twice the slots, so it
// never overflows.
//
// # Locks
//
// None inside: the caller's own lock covers every method but Wait, which runs beside them.
//
// # Limits
//
// One file a ring. Kernel 5.9 or later (flag IORING_FEAT_POLL_32BITS). A thread that ends cancels what it submitted: the
// completion is then ECANCELED, and the caller queues the request again.
package uring
