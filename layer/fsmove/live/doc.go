// Package live is memory that outlives a process: what a server has told the kernel, kept for the server that takes its place.
//
// # Place
//
// Part of layer/fsmove, of which it knows nothing. Package front keeps its nodes and open files in it; package keeper holds it over the end of a process.
//
// # Idea
//
// A file in memory (memfd_create(2)) that is mapped, and divided into slots of 64 bytes. A process that is killed leaves it as it stands, and who has its
// descriptor goes on with it. Only its owner is changed by a crash, never the machine: nothing has to be synced, and order is that of the stores.
//
// # Invariants
//
//   - A slot has a key from the moment when all else in it has been written, until it is dropped. A process that ends between the two leaves no slot.
//   - Nothing moves: the counter of a slot can be held.
//
// # Limits
//
// 46 bytes of data for each slot. Memory of slots that were dropped is used again, and not given back. A machine that loses power loses it.
package live
