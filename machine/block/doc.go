// Package block is the seam between disk controllers and what holds the bytes of a disk, and holds them in raw files.
//
// # Place
//
// Below the disk controllers (machine/virtio/blk), above host/uring. A layer that caches, encrypts or breaks requests
// on purpose is a [Backend] that wraps a Backend; package blocktest is the suite that each of them passes.
//
// # Idea
//
// A controller gathers what its driver asks for and hands it over in one Submit. The buffers are slices of guest memory: the
// kernel copies between them and the page cache, and nobody else touches the bytes. [File] does that by io_uring; where
// io_uring cannot be had, a bounded number of goroutines call preadv and pwritev. Both first try to answer
// inside Submit: what the page cache holds needs no second thread and no wake-up. A file in memory (tmpfs) never waits,
// so it is always answered inside Submit, by plain preadv and pwritev. A caller with nothing else to do can wait itself ([Waiter]).
//
// # Invariants
//
// Each request completes exactly once. A slot is free before its completion is called, so a caller that counts by completions
// never goes over the depth. Short transfers are continued. No lock of this package is held while a completion runs: it may
// submit again. In steady state a request allocates nothing. A disk that one process writes is opened by nobody else:
// the lock is QEMU's byte-range protocol, so that QEMU is kept out too.
//
// # Locks
//
// ringEngine.mu or workers.mu; nothing else is taken under them. It is held during io_uring_enter, in which cached
// data is copied.
//
// # Limits
//
// The size of the file when it was opened, rounded up to 512 bytes as QEMU does: the rest of the last sector reads as zero, and a
// write there lengthens the file. If somebody shortens the file, what is behind its end reads as zero. Buffered I/O
// only: data lies in the host's page cache besides the guest's, and is durable after Flush. Discard needs holes: without
// FALLOC_FL_PUNCH_HOLE, or on a device that cannot write zeroes by itself, Geometry does not offer it (discard that leaves the
// old bytes is never used). Zero falls back to writing zeroes when FALLOC_FL_ZERO_RANGE is missing: as slow as writes.
// A file system without locks is refused for writing. O_EXCL keeps devices that are mounted or part of a RAID from being
// written, not from being read.
package block
