// Package wasm reads WebAssembly modules instruction by instruction and writes them anew with other function bodies.
//
// # Place
//
// A part of layer/blind, which decides what a body becomes. It knows the binary format (WebAssembly Core Specification 2.0,
// chapter 5, and the proposals that wazero runs) and no policy.
//
// # Idea
//
// [Parse] finds the sections and counts what lies in the index spaces. A [Scanner] walks a body and says of each instruction where its bytes and
// its immediates lie, so that a rewriter copies what it does not touch. A [Rewriter] writes a module with one body after the
// other and with globals behind those that are there; nothing else of the module moves, so that no index changes.
//
// # Invariants
//
//   - Bytes that are no module are an error, never a panic, and nothing is allocated by a count that the bytes do not bear out.
//   - Each opcode is known with the shape of its immediates, or the module is refused with the name of the proposal.
//   - Numbers behind the prefixes 0xfd and 0xfe, and codes of types, are in their shortest form: an engine that reads one byte there sees the
//     same instructions.
//   - What is written holds the bytes of every untouched instruction and section as they were.
//
// # Limits
//
// It does not validate: types, stacks and most indices are an engine's to check, before a module comes here. Custom sections that speak of
// offsets in code (DWARF, source maps, branch hints, relocations) are left out of what is written. Garbage collection, memory64, relaxed SIMD, wide
// arithmetic and the first draft of exceptions are refused; so are select of a reference to a type of its own, which wazero cannot compile, and
// functions beyond [MaxLocals], [MaxLabels] and [MaxDepth].
package wasm
