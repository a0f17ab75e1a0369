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
// A reply that speaks of a write that is not durable leaves a mark in the connection's output: from there on nothing is sent until the
// mark's sequence number is durable. A read leaves one, too, if its key was written and that is not durable yet: what no crash may take back
// is all that a client ever sees.
//
// A batch that could go waits a little for the clients that the one before it answered, so that one sync is for all of them and not for
// half. If then every client waits for it, nobody can miss the loop, which writes and syncs the batch itself.
//
// # Invariants
//
//   - Replies leave in the order of their commands, and none before what it speaks of is durable.
//   - A client that does not fetch its replies is not read from: its output stays below a bound and one reply.
//   - All memory for clients together stays below Config.ClientMemory: who would exceed it is disconnected.
//   - In steady state a command allocates nothing.
//
// # Limits
//
// Commands of strings, keys, expiry and connections. MSET and RENAME are not atomic across a crash: a part of their writes may be there, if
// they were not acknowledged. Expired keys go when they are looked up, and by a sweep of a few buckets of the index each tenth of a second.
// Reading a value that is not in the page cache makes all wait for the disk.
package server
