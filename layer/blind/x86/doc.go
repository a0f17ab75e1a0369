// Package x86 says which byte of an amd64 instruction is what: prefix, opcode, ModRM, SIB, displacement or immediate.
//
// # Place
//
// In layer/blind, below the scanner. It imports nothing of the repository.
//
// # Idea
//
// A constant of a program stands in its machine code as an immediate or a displacement; so whoever asks where a byte comes from
// needs the borders inside an instruction, and not its meaning. [Inst.Decode] gives those alone. It follows the opcode maps
// of Intel's SDM, volume 2, appendix A, and AMD's APM, volumes 3 and 6, appendix A, for 64-bit mode: one letter for each opcode says whether it
// has a ModRM byte and what immediate.
//
// # Invariants
//
//   - The fields of an instruction follow each other without a gap, in the order of the constants [Prefix] to [Imm].
//   - Nothing allocates, and no bytes make it panic.
//   - What is not decoded is an error: [ErrTruncated] if more bytes could help, [ErrUnknown] if not.
//
// # Limits
//
// 64-bit mode only. Intel's APX (REX2, EVEX map 4) and the VEX and EVEX maps without published instructions are
// unknown. That a byte string is decoded does not mean that a processor executes it: where an opcode is undefined for a prefix or for a
// register field only, this package mostly does not say so. A branch with an operand-size prefix has 32 bits of target, as on Intel's
// processors; AMD's take 16. The two immediates of ENTER, EXTRQ and INSERTQ are one field.
package x86
