// Package scan finds the terminators in machine code and says what the bytes they are made of are for.
//
// # Place
//
// In layer/blind, on top of packages terminator and x86. The command "scan" prints its [Report]; the rewriter's second
// stage reads from it which constants of which function are still to be blinded.
//
// # Idea
//
// A count of all gadgets says nothing about constants: nearly all of them lie in the bytes that name operations and registers, which
// depend on the compiler alone. So the code is cut into instructions, as the processor runs them, and each terminator at each
// byte is counted by the [Field] of its first and of its last byte. Immediates, displacements and data between the code are what
// a program's author chooses; the targets of branches, places in the stack frame, and operations follow from what the
// program is. The first are to be zero in blinded code; the others are reported as they are.
//
// Code is cut linearly, function by function. Data in between is known by what refers to it, which in compiled code comes
// first: a load relative to RIP makes data of what it loads, an address that is taken right before a jump to a computed
// address makes a jump table, and one that is taken of something behind all code a table of constants. On arm64 literal loads do the
// same, in either direction. What is neither decoded nor referred to is unknown; the sweep goes on a byte later, and the next
// function begins in step again.
//
// In doubt a byte counts as one that the author may have chosen: displacements from RBP, which may be a frame pointer, are Disp,
// and unknown bytes count.
//
// # Invariants
//
//   - Every terminator of the set, at every offset, is counted exactly once: as intended, or in one place.
//   - No file makes it panic, and none makes it use more memory than a few times the file's size and a list of a million offenders; what
//     is not listed is counted.
//   - Nothing is allocated for an instruction, and for a terminator only if it is listed.
//
// # Limits
//
// Which displacements and immediates are the engine's own cannot be seen in the code. Data that nothing refers to before it comes, or that
// is referred to only from other functions, is cut as if it were code (and counts as what it then looks like). In raw code, and between
// functions, addresses that are taken make no tables. Trampolines and entry code that wazero compiles for a module are not in its cache
// files. ELF symbols must be those of the code; gopclntab is not read. Big-endian jitdumps are not known.
package scan
