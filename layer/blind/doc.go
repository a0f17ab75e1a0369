// Package blind keeps the constants of WebAssembly programs from becoming gadgets in the machine code that they are compiled to.
//
// # Place
//
// A layer in front of any WebAssembly engine: [Rewrite] makes of a module another one that does the same. [Runtime] and [Program] put it into
// wazero, which compiles and runs. Its parts: terminator says which bytes are a control-flow instruction; wasm reads and writes
// modules; x86 tells the fields of an instruction apart, and scan, which imports both it and terminator, those in which terminators lie. This package imports
// terminator, wasm and scan.
//
// # Idea
//
// A compiler copies the constants of an untrusted program into executable memory, where a jump into their middle executes them (JIT spraying;
// JIT-ROP: Snow et al., S&P 2013). Two bytes are enough (Athanasakis et al., NDSS 2015), so how large a constant is does not tell
// whether it is dangerous; blinding all of them is dear, and random bytes in place of zeros make gadgets of their own. Here a constant is blinded if its
// bytes hold a return, an indirect branch or a system call, as was first done in ChakraCore (2017), and only then.
//
// Blinding is an exclusive or with a key, undone when the program runs. The key lies in a mutable global, which no compiler knows the value of, and is one
// for which neither it nor the blinded constant holds a terminator. What is not a plain constant is treated by kind: high
// bits of a shift's count are dropped; a part of an access's static offset is added to its address, saturating, so that what trapped traps; a
// shuffle becomes two look-ups; a br_table is padded with its default. Loops find their constants in locals.
//
// Terminators also arise where a constant and its neighbours meet, and an engine derives numbers of its own. So there is a second stage: compile, scan the
// machine code, treat in each function what was found there, and again, until nothing is left.
//
// # Invariants
//
//   - What is rewritten was valid: no body of it can name a key's global.
//   - The keys are fresh for each rewritten module, from crypto/rand. They are in its globals and nowhere else: in no code, error or report.
//   - If Rewrite returns without an error after a scan, no terminator of the policy's set has a byte in a field that a program's constants can reach.
//   - A rewritten function traps where the original one does, and floating-point constants keep each bit.
//   - What cannot be treated is refused, with the function and the reason: indices that code would hold, large frames unless accepted.
//   - wazero's errors on rewritten modules go no further, and its panics are errors: neither can tell of a key.
//   - When a call returns, however it does, no file is left; while a [Program] runs there is none.
//   - A [Program] reaches nothing outside of its folders.
//
// # Limits
//
// The targets of branches (R6) and the choice of registers (R7) are not touched, and counted: they are where most unintended terminators lie. Who can read
// the code finds the keys of constants that he knows; blinding is for programs that cannot. A stage-one rewrite, for another engine or architecture, knows the
// encodings of constants but not their neighbours. Four immediates of wazero's own hold or begin a terminator (8191, -1, and -2³¹ and -2⁶³ as floats): they are counted, not
// removed. wazero's entry code and trampolines are not scanned.
//
// Refused are what package wasm refuses, modules in which more than a million instructions would have to be looked at, and those whose own globals lie at
// offsets that hold returns. A function with more than 64 findings is blinded whole. Besides three times the module, a rewrite takes 80 bytes for each function;
// wazero takes up to 180 MB for a megabyte of empty functions or types, and half a minute for one of br_table labels. It cannot be interrupted: what is left
// behind when a context ends goes on until it ends, or the process. A killed process (SIGKILL) leaves the folder of its compiler. The folders of a
// [Program] need /proc, and two descriptors for each file that is open; device files in them are what they are. Stack traces of rewritten modules
// lack source lines.
package blind
