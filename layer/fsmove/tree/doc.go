// Package tree reads a directory tree with all that a file system says of it, and makes entries that say the same.
//
// # Place
//
// Part of layer/fsmove; it knows nothing of a migration.
//
// # Idea
//
// A path is never joined: each step is an openat(2) of one name that follows no symbolic link, so that neither the depth of a tree nor somebody who
// changes it can lead elsewhere. An inode of a tree that is written to is named by its [Handle], which outlives renames and restarts, and says no more
// to one that took the number over. Extended attributes are read by way of /proc/self/fd: that needs no right to open the file, and works for symbolic
// links, fifos and devices.
//
// # Invariants
//
//   - Nothing that reads changes what it reads, times of access neither.
//   - [MakeMost] leaves an entry with all of [Meta] or none. Its content is a hole.
//
// # Limits
//
// Times of change and of birth cannot be set, and flags of ext4 (chattr(1)) are not read. Handles need
// CAP_DAC_READ_SEARCH and a file system that has them.
package tree
