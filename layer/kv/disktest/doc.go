// Package disktest has disks that lose what was not synced, for tests of what stands on package disk.
//
// # Place
//
// Beside package disk, of which it has two implementations. Only tests import it.
//
// # Idea
//
// A kernel that dies keeps any part of what was written since the last sync, in any order; a process that dies keeps all of it, so killing
// processes says nothing about syncs. [Disk] is a disk in memory with a moment of crash: every write that was not synced is cut at random
// points, and each piece is kept or lost by itself. [NewMemory] makes it persistent memory: stores are words, a sync is a fence, and the code
// between is package disk's. [Holding] wraps a real folder and lets nothing through to it before a sync, so that
// kill -9 does to it what a power cut does to a disk with a volatile cache.
//
// # Invariants
//
//   - What a successful Sync covered is never lost, unless [Disk.Lie] says so: that is how a test proves that it would notice a missing
//     sync.
//   - The same seed gives the same crash.
//
// # Limits
//
// Pieces are cut at multiples of 8 bytes, which is persistent memory's word and smaller than any disk's sector. A fence is for one file and
// for whoever stored to it, where a processor's is for all that it stored. Blocks that were synced do not rot. A name
// that a crash may take back has what it had before or the last that it got. Holding lets a [disk.Replacement] through: it has no name before it was
// synced.
package disktest
