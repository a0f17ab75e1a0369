// Package physmem says how much memory this machine has.
//
// # Place
//
// At the bottom: the command line refuses guests larger than their host by it, a lab takes its share, a guest's init reports it.
//
// # Idea
//
// One system call, the same answer for all who ask.
//
// # Invariants
//
//   - The number is MemTotal of /proc/meminfo, which needs no /proc here.
//
// # Limits
//
// It is the machine's memory, not what is free, and not what a control group allows.
package physmem
