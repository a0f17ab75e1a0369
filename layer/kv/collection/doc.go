// Package collection keeps in memory what hashes, sets and their like consist of, and where the record of each element lies.
//
// # Place
//
// Part of layer/kv; it imports no other part. Package engine keeps one [Elements] for each collection, package server asks them for what
// commands need: order, chance, cursors.
//
// # Idea
//
// The log has a record for each element. What is here is what finds it: the element's key (a hash's field, a set's member) and the address of
// the record. Values are not here: they are read from the log through the address, like those of plain keys.
// Scores are here, for the order. One interface is enough for the engine, which tells of records that it wrote, read again after a start, or
// moved. To add a kind: write its Elements, and name it in [New].
//
// A [Table] is an array without holes, and a map from keys to places in it. The array makes choosing by chance one step, and a cursor a number:
// a scan goes from the end to the start, and a removal moves the last element into the hole, so that what was not met yet is never moved to
// where the scan has been.
//
// A [Series] is a list: the key of an element is a label, and labels are far enough apart that one fits between two. When at some place none
// does, the neighbours there get other labels. A [Ranking] is a sorted set: a table, and the order of its places. What keeps order is an array
// of chunks with a tree of their lengths, for both, so that an element takes 16 bytes in a list and 4 in an order, and no pointer.
//
// # Invariants
//
//   - An element has one address, never 0.
//   - What a collection is depends on the last record of each element, and not on the order in which they are read.
//   - Memory is in proportion to what a collection has, not to what it once had.
//   - Dropping a collection of any size is one step, for nothing of it is outside of Go's heap.
//
// # Limits
//
// Fields and members live in memory, as they do in Redis. A collection has at most 2^32 elements.
package collection
