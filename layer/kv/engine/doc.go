// Package engine keeps keys with values or collections in a log, and finds them by an index outside of Go's heap.
//
// # Place
//
// Part of layer/kv, on packages disk and collection. It knows nothing of clients or of their protocol.
//
// # Idea
//
// All that is kept is a log in segments: files of a fixed size, filled with zeros once and used again for ever. A write appends a record to
// a batch in memory. [Store.Advance] hands the batch to the committer, a thread that writes it with one call, syncs the file once and
// reports back; meanwhile the next batch grows. So at most one batch is not synced at any time, and everything about recovery follows from
// that. A batch may wait for more, no longer than the last one took. On a medium that is immediate (disk.Folder) Advance does the committer's work itself and returns when the batch is durable.
//
// A record checks itself: its CRC32C starts from the epoch of its segment, a random number drawn whenever the segment is used anew, so that
// records of an earlier use are noise. No commit mark and no pointer has to be made durable beside it. After a crash the log ends at the
// first record that does not check. Behind it there may be valid records. Each tells the first record of its batch: if that is the
// missing one or one before it, the batch was never acknowledged and is torn; if it is a later one, the missing record had been synced, so
// it rotted, and the store is refused rather than cut short. The headers of spare and free segments tell of a record that was durable when they
// were written, and an orderly end has one tell of the last: a log that ends before is refused, too. A segment with the remains of a torn batch is never appended to, lest they
// become part of the log.
//
// The index is an extendible hash table (Fagin et al., TODS 1979) of tables with buckets of 64 bytes: seven entries of 24 bits of hash, 39
// of address and one that says whether the record has an expiry, and a link (the bucket is FASTER's, SIGMOD 2018). The bits by which a table splits are in the entry, so that growing reads
// no keys. Values are read from the mapping of the segment, or, before they are durable, from their batch.
//
// The keys are divided into shards, by the upper bits of their hashes, so that several goroutines get at keys of different ones at once. A shard has the tables whose
// entries begin with its bits, and a lock; all shards write to one log, whose lock is held for as long as it takes to append a record. So what belongs together is one group, of
// whichever shards its keys are, and one sync is for all of them. Nothing on the disk tells of shards: a checkpoint has the tables in the order of their bits, and a store
// is opened with any number. A reader needs no lock of the log. A batch's memory is used again when no shard's lock has been held all the time since the batch came to be
// in the mapping: who reads has one.
//
// A collection (a hash, a set, a list, a sorted set) has a record for each element, which names the collection by a number that is never used
// again, and not by its key; the record of the key has that number as its value. So giving a collection another key or another expiry is one
// record, and so is dropping it, whatever its size. Elements are not in the index: the collection's [collection.Elements] know where their
// records are. What no key leads to is not there: a large result is written element by element, and appears at once with its key.
// Compaction moves keys and elements in any order, so that the log may tell of an element before its key: whichever comes first makes the
// collection, and what has no key at the end of the log is dropped.
//
// A string can lie on a [Device], where it was received: its record says where, and has its CRC. The frames that it lies in are held until the record that takes its
// place is durable. Which are held is not written anywhere: opening looks at those records, in segments that have any, to which the index leads. Compaction
// moves such values into the log when frames are few.
//
// A checkpoint is the index as it was at a place in the log, so that opening a store reads the log from there on. It is a file of its own, which
// takes the place of the one before when it is whole and the log is durable up to its place. It is made beside the writes: one table of the index at
// a time is copied as it is by then, and what was removed or replaced since the place, in tables that were not copied yet, is noted. What came
// after the place is known by its address. The log alone is the truth: a checkpoint that does not check or does not fit is ignored.
//
// Several records that belong together are a group: each but the last says that more follows, and a reader of the log ends it before a group
// that is not whole. A group is written as part of one batch.
//
// Compaction takes the oldest segment and appends what is still live. So the numbers of the segments never have a hole, one that is missing before
// others is noticed, and a deletion in the oldest segment has nothing left to delete.
//
// A [Snapshot] is the log up to a moment. What it has changes no more but by being used again, so that a backup needs no more than to put that
// off; a copy is what a crash at that moment would have left. Segments leave the log in its order, held or not: what deletes is never gone before
// what it deletes.
//
// # Invariants
//
//   - One WriteAt and one Sync for each batch, and none for a checkpoint, whose file has its own; a batch lies in one segment, and a group in one batch.
//   - Nothing that [Store.Durable] covers is lost by a crash, and what it does not cover is there as a whole group or not at all.
//   - A collection is there as long as a key has it. Its last element and its key go together: that is up to the caller.
//   - After a failed write or sync no write is accepted ([ErrSealed]) and Durable never moves again. Reads go on.
//   - A header of a segment is written twice, with a sync after each, so that one of the two is always whole.
//   - A full disk refuses writes ([ErrFull]) before it takes away the room that deletions and compaction need.
//
// # Locks
//
// A [Store] is one goroutine's way to a store ([Store.Share]). Who has the whole store, by an agreement of the callers, needs no lock. Others take those of the shards of their keys, all at
// once and in their order ([Store.Lock]); a key of another shard panics then. Behind these come the log's, which a group holds from its beginning to its end, and behind that, with
// nothing else taken under them, those of the registry of collections and of what a checkpoint notes. Nobody waits for a shard who has the log. What takes compaction, or a checkpoint, is for who has the
// whole store ([Store.Tend]); others are to leave writes to him when room may become short ([Store.Roomy]), and those
// that were refused for want of it ([Store.Short]).
//
// The three other goroutines, the committer, the keeper of spare segments and the saver of checkpoints, get work by channels and touch files only.
//
// # Limits
//
// After a crash, batches at the very end of the log that rotted or were lost, one or several, look as if they had never been acknowledged: nothing
// behind them proves that they were durable, but for what the header of the newest spare knew when it was made, about a segment before. A record is at most a quarter of a segment, and so
// is a group. Addresses end at 4 TiB. The index does not shrink but by [Store.Clear], and takes up to
// 1.1 MiB for each shard that has few keys; one that has none takes nothing until then. Compaction is done by one at a time, and with the whole store.
// The keys of elements are on Go's heap, those of strings are not. A key that expired stays in the log and in the count of keys until it is
// looked up or compacted; should the clock be set back after a restart, a collection that was being compacted then comes back in part.
// Records before a checkpoint are not verified when a store is opened: their CRCs are when compaction comes to them, and by [Check]. Until then one
// that rotted is noticed only if it cannot be read as a record; it seals the store, and reads do not find its key. A checkpoint has no collections:
// segments that have any of their records are read as a whole. Making one takes some 10 MiB of memory, and disk for a second file as large as
// the index; a saver that is slower than what is replaced makes writes wait.
//
// A value on a device that has expired keeps its frames until it is swept.
// Compaction by age moves cold data once each time around, where one by share of live bytes would not.
package engine
