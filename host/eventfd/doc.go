// Package eventfd is eventfd(2): a counter in the kernel that one side adds to and the other waits for.
//
// # Place
//
// Stratum host. KVM's irqfd and ioeventfd, io_uring and the device models meet at these descriptors.
//
// # Idea
//
// Descriptors are non-blocking and waited for through Go's poller, so that a goroutine that waits holds no thread. One that
// nobody waits for here, because the kernel or another poller does, never enters Go's: its signals wake nothing of Go's.
//
// # Invariants
//
// A signal before a Wait is never lost. A descriptor that was closed is never written to, even by a Signal that races with Close.
//
// # Limits
//
// The count is of no use to any caller and is dropped: one Wait takes all signals since the last.
package eventfd
