// Package kv is a persistent key-value store for clients of Redis: what it acknowledges is durable.
//
// # Place
//
// A layer that stands on the host and needs no machine. It is a program of its own, usui-kv. Its parts, each of which imports only those
// after it: kv (the commands), server (clients, event loops, commands of the protocol), engine (log, index, compaction), collection (what finds the
// elements of hashes, sets, lists and sorted sets), disk (files); resp (the protocol) stands beside them, and disktest has disks that lose what was not synced.
//
// # Idea
//
// Redis with "appendfsync always" writes, syncs and serves in turn: while the disk syncs, nobody is served, readers neither. Here event loops
// execute commands into a batch in memory, side by side where their keys are in different shards; a committer makes one batch durable at a time, with one write and one sync, while they
// fill the next. A reply waits in its connection until the batch is durable that it speaks of, and so does the reply to a read that
// saw what is not durable yet. So there is one sync for as many clients as come while the last one lasted, and reads of other keys wait for
// none. Where the disk is persistent memory, making a batch durable is one copy and one fence, and a loop does that itself.
//
// With AF_XDP (host/xdp) and a TCP of its own (host/tcp) a second way leads to the first loop, past the kernel's network stack: commands are executed
// where the card put them. A value is copied once, into the batch; if it came in several frames, it stays in them until its command is whole.
// It then looks at rings instead of calling read and write. INFO bypass and the metrics count copies and system calls.
//
// Frames can lie on a DAX device, /dev/daxX.Y, the only persistent memory that the kernel lets a card write to (it pins pages of no file on a DAX file
// system for as long). Then a long value is not copied at all: its lines are written back where the card put it, and the log gets its places and its CRC. The
// frames are free again when what takes its place is durable, for until then a crash brings the value back; when they become few, values are copied into
// the log as ever.
//
// A connection by TLS is carried by two goroutines to one end of a pair of sockets; a loop has the other end as any client's.
//
// # Invariants
//
//   - No reply tells of a write, its own or another's, that a crash could still lose.
//   - What a command writes is there after a crash as a whole or not at all; DEL of several keys is one for each.
//   - After a failed write or sync nothing is acknowledged: clients whose replies waited are disconnected, writes get an error, reads go on.
//   - Memory for clients is bounded, however many bytes they send or do not fetch.
//
// # Limits
//
// There is a shard for each of --loops, by hashes, and one log for all: transactions, publishing, blocking commands and those about all keys are executed one at a time, and all are with
// AF_XDP. One database. No streams, no scripts. Values are at most a quarter of a segment,
// and so is what MSET or a transaction writes. Fields and members live in memory. No replication. A
// connection by TLS takes about 50 KiB beside what is counted for clients. The parts say theirs.
//
// By AF_XDP there is IPv4 only, and no TLS. No speed is promised of it: on veth, where tests run, the card's copy is the kernel's, and with long
// pipelines the kernel's own way takes less time. On a device stay values that SET gives a key without NX, XX, GET or KEEPTTL; what copies one (COPY,
// RENAME, EXPIRE, APPEND) moves it into the log. A frame is held whole, whatever its value takes of it. A store with a device cannot be backed up online, and
// "usui kv check" reads its log alone: the values are verified when the store is opened, and each time that one is read.
package kv
