// Package nonblock is read(2) and write(2) of descriptors that never block, without what Go does around a call that may.
//
// # Place
//
// Stratum host. For loops of their own that wait with epoll(7) and make a call or two for each message.
//
// # Idea
//
// Around a system call Go's scheduler notes that the thread may be gone for long, lets its monitor take the thread's processor for other goroutines,
// and asks for one afterwards. For calls that only copy a few bytes that is a good part of the time they take, so these leave it out.
//
// # Invariants
//
// The memory is the caller's until the call returns; the kernel keeps no pointer to it.
//
// # Limits
//
// A descriptor without O_NONBLOCK blocks a processor of Go, and every stop of the world with it: regular files and disks do not belong here. The
// race detector does not see what is read.
package nonblock
