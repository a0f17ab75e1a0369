// Package kv is a persistent key-value store for clients of Redis: what it acknowledges is durable.
//
// # Place
//
// A layer that stands on the host and needs no machine. It is a program of its own, usui-kv. Its parts, each of which imports only those
// after it: kv (the commands), server (clients, event loop, commands of the protocol), engine (log, index, compaction), collection (what finds the
// elements of hashes and sets), disk (files); resp (the protocol) stands beside them, and disktest has disks that lose what was not synced.
//
// # Idea
//
// Redis with "appendfsync always" writes, syncs and serves in turn: while the disk syncs, nobody is served, readers neither. Here the event loop
// executes commands into a batch in memory; a committer makes one batch durable at a time, with one write and one sync, while the loop
// fills the next. A reply waits in its connection until the batch is durable that it speaks of, and so does the reply to a read that
// saw what is not durable yet. So there is one sync for as many clients as come while the last one lasted, and reads of other keys wait for
// none.
//
// A connection by TLS is carried by two goroutines to one end of a pair of sockets; the loop has the other end as any client's.
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
// One event loop and one log: one core, and the committer's. One database. Strings, hashes and sets. Values are at most a quarter of a segment, and
// so is what MSET or a transaction writes. Fields and members live in memory. Ordinary files: no persistent memory, no network bypass, no
// replication. A connection by TLS takes about 50 KiB beside what is counted for clients. The parts say theirs.
package kv
