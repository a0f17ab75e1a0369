// Package wasmtest makes WebAssembly modules for tests: by hand, and at random.
//
// # Place
//
// A part of layer/blind, on top of package wasm; imported by tests alone.
//
// # Idea
//
// A [Module] is assembled from encoded bodies. [Random] makes one whose functions use what a rewriter touches: constants whose bytes are
// opcodes, offsets, shifts, shuffles, br_table, loops, and accesses near the end of memory. Each function ends, and depends on nothing but
// its parameters and the memory, so that two modules can be compared by what they return, trap and store.
//
// # Invariants
//
// The same seed makes the same module, and it is valid.
//
// # Limits
//
// Random functions call none, and use no tables, exceptions or threads.
package wasmtest
