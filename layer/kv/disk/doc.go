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
// On a DAX file system a file can be persistent memory ([FSDAX]): WriteAt copies into a mapping with MAP_SYNC, past the caches, and Sync
// is one fence, so that neither is a system call ([OnMemory], over a [Memory]). What is relied on, beside the processor:
//
//   - mmap(2), MAP_SYNC: "while some memory is mapped writable in the address space of the process, it will be visible in the same file at
//     the same offset even after the system crashes or is rebooted". The fault that maps a page writes what the file system has to know of it.
//   - Documentation/filesystems/dax.rst: reads and writes go "directly to the storage device", which for file mappings "is mapped directly into
//     userspace". So what was written by system calls is seen in the mapping, and the other way round.
//
// A [Device] is persistent memory without files, to which others than the processor write: lines of its caches are written back (CLWB), for nobody streams
// there, and a fence waits for that.
//
// Making files, their zeros and their names stays as it is for ordinary files, with fsync: that is not what a batch waits for.
//
// # Invariants
//
//   - A file that [Folder.Create] returned has all its blocks written, and its name is durable: writes into it change no
//     metadata, which makes a sync as cheap as the device allows.
//   - Persistent memory is stored in words of 8 bytes, each of which is old or new after a crash; a fence covers all that were stored before.
//   - After an error of Sync the file is not to be trusted (fsync(2): pages may be marked clean without having been written).
//   - One process at a time has a folder: [Open] takes a lock that ends with the process.
//
// # Limits
//
// Linux; persistent memory on amd64 only. A page of the mapping that the device cannot read or write is a fault (SIGBUS); who reads mappings
// turns it into an error with [Guard], as WriteAt does. The kernel says that a device is persistent: of memory that was declared so on its
// command line (memmap=) nobody knows better. The first store into a page, and the first after the kernel wrote it back (every
// 30 s), faults, which costs more than the store.
package disk
