// Package resp reads commands and writes replies as Redis' protocol has them, version 2 and 3.
//
// # Place
//
// Part of layer/kv; it imports no other part. Package server reads sockets into a buffer and has a [Parser] look at it.
//
// # Idea
//
// A parser keeps where it is in a command that has not arrived as a whole, as offsets, so that each byte is looked at once however small the
// pieces are in which it comes, and the buffer may move. Arguments are views of the buffer. Replies are appended to a slice; what differs
// between the two versions of the protocol (https://redis.io/docs/latest/develop/reference/protocol-spec/) is in this package alone.
//
// # Invariants
//
//   - Parsing and writing allocate nothing once the slice of arguments has grown.
//   - Memory for arguments grows with what has arrived, never with what a client announces.
//   - Errors are those of Redis, word by word; after one the connection is of no use.
//
// # Limits
//
// Inline commands know quotes as Redis' do. Types of version 3 that only come as requests of Redis' own (streams, verbatim strings from a
// client) are not read: a command is an array of bulk strings or a line.
package resp
