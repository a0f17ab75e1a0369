// Package server serves clients of Redis from a store, by event loops.
//
// # Place
//
// Part of layer/kv, on packages engine and resp. Package kv gives it a listening socket and a store.
//
// # Idea
//
// A loop is a goroutine that waits for the sockets of its clients by epoll, reads what there is into a buffer that they share, executes the
// commands that are whole, and hands the batch of writes to the store's committer at the end of each turn. A connection has memory of
// its own only for half a command and for replies that are not sent yet.
//
// Each loop has a lock, and holds it always but while it makes the three system calls of each turn. What is a client's belongs to who holds that of its loop. There is a shard of the store for each
// loop: a command that names its keys is executed with the locks of their shards (one place takes them), beside commands of other shards that other loops execute. All others,
// those that look at all keys, transactions, and what is about other clients, are for who has the locks of all loops, as if there were one. So is a write of a key that somebody
// watches or waits for, and one for which there may be no room; one that met a lack of room beside others is done again so. Who watches and waits does not change while a loop has its lock. Who wants all goes before loops that come from a system call, and
// keeps all for what its client has sent so far. With one loop its lock is all there is, and with [Bypass] loops share one.
//
// A client whose loop is in a system call for it, or waits for all locks, keeps its descriptor and its buffers until that is back, even if another loop
// ends it. What a loop has to send for clients of another one it leaves to that one. When a batch is durable, loops are told whose clients wait for it.
//
// What carries a client's bytes is a wire: a socket, or a connection of host/tcp ([Bypass]), whose bytes are executed in the frames in which
// they came. Of a command that lies in several frames the beginning is copied together, byte for byte as much as completes it, and a long argument is
// left in its frames: to SET it is given in parts, to others as one. Where the frames lie on a device ([Frames]), SET may leave it there for good.
//
// A reply that speaks of a write that is not durable leaves a mark in the connection's output: from there on nothing is sent until the
// mark's sequence number is durable. A read leaves one, too, if its key was written and that is not durable yet: what no crash may take back
// is all that a client ever sees.
//
// A transaction is kept as it came, in memory that counts as the client's, and executed in one go. Of a watched key it is remembered what it had; the
// engine's sequence numbers tell which of the keys that a command names it has written, so that commands need not tell. All that a transaction
// writes is one group of the engine, for which there is room before the first command is executed.
//
// A message that is published is appended to the output of each subscriber, behind a mark if the publisher's own replies wait: it may speak of the
// same writes. Subscribers are the clients whose output others fill, so that theirs has limits, those of Redis.
//
// A client that is blocked keeps a copy of its command, and is not read from. Like watched keys, those that it waits for are looked at when a command
// has written one that it names; the clients that wait for it are served, one after the other, when that command or its transaction has ended.
// Serving one may write a key that others wait for.
//
// A command that reads a collection asks the engine for the key, and what package collection has for the elements; their values are in the log
// ([engine.Store.Value]). One that changes a collection makes an edit, which puts elements in and takes them out, and finishes it: a change of
// what is there is a group, while something new is written element by element and appears with its key at the end.
//
// # Locks
//
// The door ([Server] has it) before those of the loops, in their order; these before those of shards, in theirs ([engine.Store.Lock]); behind them the engine's own, and the slow
// log's. Who has the lock of a shard takes none of a loop: a command decides before it begins whether it needs all. Taking all lets the own lock go in between; what a
// caller knew of a client has to be looked at again then, above all whether it is still there.
//
// # Invariants
//
//   - Commands have an order that explains all replies, and each comes in it between its arrival and its reply.
//   - Replies leave in the order of their commands, and none before what it speaks of is durable.
//   - A client that does not fetch its replies is not read from: its output stays below a bound and one reply. A subscriber is disconnected.
//   - All memory for clients together stays below Config.ClientMemory: who would exceed it is disconnected.
//   - Frames that hold arguments are bounded, for all clients together: beyond the bound arguments are copied.
//   - In steady state a command allocates nothing.
//
// # Limits
//
// Commands of strings, hashes, sets, lists, sorted sets, keys, expiry, transactions, publishing and connections; no streams, no scripts. What a command changes in one collection or in several keys, and what a
// transaction writes, is one group of the engine, at most a quarter of a segment long: what is longer is refused, unless it makes something new
// outside of a transaction. A command has at most 1,048,576 arguments. When a key was last used is not
// known (OBJECT IDLETIME). There are no categories, tips and key specifications in COMMAND's replies. DEL of several keys is not atomic
// across a crash: some may be gone, if it was not acknowledged; nor, for others, while the disk is full. The order of the elements of hashes and sets is not that of Redis. A client that is blocked, has sent more than its
// socket holds, and leaves then, is not seen to have left. Lists that are sorted take memory for all their elements. Expired keys go when they are looked up, and by a sweep of a few buckets of each
// shard's index each tenth of a second.
// Reading a value that is not in the page cache makes all wait for the disk that want its shard, and whoever wants all. Transactions, publishing, blocking and scanning are done by one loop at a time.
// With AF_XDP all commands are. Loops were measured with two processors only.
package server
