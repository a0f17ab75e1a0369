// Package fusedev is what /dev/fuse does beside carrying requests: files that the kernel reads and writes for a server.
//
// # Place
//
// Stratum host. For servers that read the device themselves (linux/fuse.h, FUSE_DEV_IOC_BACKING_OPEN; Linux 6.9).
//
// # Idea
//
// A server tells the kernel of a file that it has open and gets a number. When it answers an open with that number, the kernel does reads, writes and mmap of that handle on the file
// itself, and the server hears of none.
//
// # Invariants
//
// The kernel holds the file, not the descriptor: that may be closed at once.
//
// # Limits
//
// It takes CAP_SYS_ADMIN, a connection that agreed on FUSE_PASSTHROUGH, and a file system that is not itself stacked.
package fusedev
