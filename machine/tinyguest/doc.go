// Package tinyguest makes guests of a few instructions, assembled in Go.
//
// # Place
//
// Above machine/kvm and machine/guestmem, beside the machine itself. Tests and benchmarks of what stands on KVM use it,
// and it answers the question whether a KVM is worth its name: [Ring0Speed].
//
// # Idea
//
// A guest that does one thing needs no kernel. [Asm] has one method for each of the handful of instructions that
// tests are made of (what is missing goes through Asm.Raw) and labels; [New] puts the assembled [Program] into memory,
// with page tables, descriptors and a stack where its mode needs them, and leaves the vCPUs before their first
// instruction. The caller runs them and looks at the exits.
//
// An exception that no test expects must not look like a hang: each vector goes to code that writes its number to
// ExceptionPort and halts (amd64).
//
// A software KVM (kvm_pvm, or a nested hypervisor that emulates) passes every test of the interface and still cannot
// boot a kernel, because it interprets each instruction of ring 0. So Ring0Speed times a loop in ring 0, twice with
// different lengths: the difference does not hold the cost of entering and leaving the guest, which on an emulated
// processor is a thousand times the cost of an instruction. [SoftwareThreshold] lies between the two kinds, some
// times away from the next of either.
//
// # Invariants
//
//   - Tables and stacks lie in the first 64 KiB of the memory, the code behind them; the rest is the caller's.
//   - A Program does not change once it is assembled.
//   - Guest.Close frees exactly what New made.
//
// # Limits
//
// The assembler is for tests: always the longest encoding, no check of what a mode allows beyond registers and widths.
// amd64: real mode, and 64-bit mode at ring 0 or 3 with 4 GiB mapped one to one; no 32-bit mode, no second address
// space. arm64: EL1 with the MMU off, no vectors, no interrupt controller; fewer instructions.
package tinyguest
