// Package server serves clients of Redis from a store, by one event loop.
//
// # Place
//
// Part of layer/kv, on packages engine and resp. Package kv gives it a listening socket and a store.
//
// # Idea
//
// One goroutine has everything: it waits for sockets by epoll, reads what there is into a buffer that all connections share, executes the
// commands that are whole, and hands the batch of their writes to the store's committer at the end of each turn. A connection has memory of
// its own only for half a command and for replies that are not sent yet.
//
// What carries a client's bytes is a wire: a socket, or a connection of host/tcp ([Bypass]), whose bytes are executed in the frames in which
// they came. Of a command that lies in several frames the beginning is copied together, byte for byte as much as completes it, and a long argument is
// left in its frames: to SET it is given in parts, to others as one.
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
// A command that reads a collection asks the engine for the key, and what package collection has for the elements; their values are in the log
// ([engine.Store.Value]). One that changes a collection makes an edit, which puts elements in and takes them out, and finishes it: a change of
// what is there is a group, while something new is written element by element and appears with its key at the end.
//
// # Invariants
//
//   - Replies leave in the order of their commands, and none before what it speaks of is durable.
//   - A client that does not fetch its replies is not read from: its output stays below a bound and one reply. A subscriber is disconnected.
//   - All memory for clients together stays below Config.ClientMemory: who would exceed it is disconnected.
//   - Frames that hold arguments are bounded, for all clients together: beyond the bound arguments are copied.
//   - In steady state a command allocates nothing.
//
// # Limits
//
// Commands of strings, hashes, sets, keys, expiry, transactions, publishing and connections. What a command changes in one collection or in several keys, and what a
// transaction writes, is one group of the engine, at most a quarter of a segment long: what is longer is refused, unless it makes something new
// outside of a transaction. There are no categories, tips and key specifications in COMMAND's replies. DEL of several keys is not atomic
// across a crash: some may be gone, if it was not acknowledged. The order of elements is not that of Redis. Expired keys go when they are looked up, and by a sweep of a few buckets of the index each tenth of a second.
// Reading a value that is not in the page cache makes all wait for the disk.
package server
