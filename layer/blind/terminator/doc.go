// Package terminator knows the instructions that end a gadget: returns, indirect branches, system calls, and direct branches.
//
// # Place
//
// The bottom of layer/blind: it imports nothing of it. The rewriter asks it which constants to blind and which keys will
// do; the scanner asks it where machine code can be misused.
//
// # Idea
//
// Code-reuse attacks chain short pieces of code, each of which ends with an instruction that takes the next address from memory or
// a register (Shacham, CCS 2007). On amd64 such a piece may begin in the middle of an instruction, so the bytes of a constant
// that an attacker chose are code, too. What makes them useful is not how long they are ("The Devil is in the Constants", NDSS 2015)
// but whether they hold such an end. A [Set] says which ends count; [Light] is what a chain can live on.
//
// A terminator is found by the bytes that make it one, its opcode and, for ff, the register field of its ModRM byte. What follows
// (the 16 bits of c2, a displacement) and what precedes (REX, segment, repeat prefixes) does not change what it is,
// and is no part of a [Hit]. On arm64 instructions are whole words at multiples of four bytes, and a word is one or none.
//
// Sources: Intel SDM volume 2, appendix A, and AMD APM volume 3, appendix A, for 64-bit mode; Arm ARM (DDI 0487), C4.1, "Branches,
// Exception Generating and System instructions".
//
// # Invariants
//
//   - At one offset there is at most one terminator, of one class.
//   - Strict implies Clean, and both of a Set imply those of its subsets.
//   - If two strict byte strings stand one behind the other, or one stands anywhere in code, no terminator of the set has a
//     byte in one of them.
//
// # Limits
//
// ff /3 and ff /5 with a register operand fault, but count. Instructions count only if a chain is known to live on them: VMCALL,
// VMMCALL, UIRET, XBEGIN, int3 and int n other than int 80h do not, nor does JMPABS of APX, nor BRK of arm64.
package terminator
