// Package disk is the little of a file system that the log needs, so that a test can put another one below it.
//
// # Place
//
// The lowest part of layer/kv; it imports no other part. Package engine calls it, package disktest has disks that lose what was not synced.
//
// # Idea
//
// A log needs files of a fixed size that are written at an offset, read through memory and synced. A [Folder] makes and opens them. On
// Linux a file is mapped shared and read-only: what is written by pwrite is seen in the mapping at once, because both are the page
// cache, so that reading a value is no system call.
//
// # Invariants
//
//   - A file that [Folder.Create] returned has all its blocks written, and its name is durable: writes into it change no
//     metadata, which makes a sync as cheap as the device allows.
//   - After an error of Sync the file is not to be trusted (fsync(2): pages may be marked clean without having been written).
//   - One process at a time has a folder: [Open] takes a lock that ends with the process.
//
// # Limits
//
// Linux. A page of the mapping that the device cannot read is a fault (SIGBUS); who reads mappings turns it into an error with
// [Guard].
package disk
