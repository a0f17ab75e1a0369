// Package blocktest is the suite that every block backend passes.
//
// # Place
//
// Beside machine/block, imported by tests only. A layer that wraps a backend calls [TestBackend] with its own open function.
//
// # Idea
//
// The oracle is a plain slice of bytes: random requests go to the backend and to the slice, and the two are compared. Requests
// that are in flight at a time touch different blocks, so that their order does not matter.
//
// # Invariants
//
// The suite uses a backend only as the interface allows. Each test opens a backend of its own and closes it.
//
// # Limits
//
// Durability cannot be seen from here: a flush is only required to complete. What Discard leaves behind is not looked at.
package blocktest
