// Package xfs asks xfs what it does not tell of by system calls that all file systems have.
//
// # Place
//
// Stratum host. For servers that find files by their numbers.
//
// # Idea
//
// A handle of an inode (name_to_handle_at(2)) has its number and its generation. Whoever has kept the number alone asks for the generation (XFS_IOC_BULKSTAT in ioctl_xfs_bulkstat(2), Linux 5.3).
//
// # Invariants
//
// What is told is of the number that was asked for.
//
// # Limits
//
// It takes CAP_SYS_ADMIN. An inode without a name may not be told of.
package xfs
