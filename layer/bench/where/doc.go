// Package where says what a measurement ran on.
//
// # Place
//
// Below layer/bench: its reports carry an [Environment], and their comparison asks whether two of them come
// from machines that may be compared. It knows nothing of measuring.
//
// # Idea
//
// What an exit costs depends on the processor, its microcode, the kernel, how it mitigates the processor's
// faults, the KVM module with its parameters, and on whether another hypervisor lies below. Linux shows all
// of this as files in /proc and /sys, so an Environment is read from files alone, below [Host].Root: tests
// read trees made for them.
//
// The frequency of the time-stamp counter stands in no file: whoever has a virtual CPU asks KVM for it.
//
// # Invariants
//
//   - Texts of an Environment that was read are one line of printable characters and bounded, so they can be
//     written to a terminal and to a report.
//   - A file that is missing leaves its field empty; it is no error, as kernels and processors differ in
//     what they show.
//   - Steal is a share of time between two readings, never the average since the machine started.
//
// # Limits
//
//   - Nested is told by the processor's flag "hypervisor", which a hypervisor may hide. arm64 has no such
//     flag: there a nested KVM is called hardware.
//   - A module's name says little of how it works: [Host].Software takes what a measurement found.
//   - What a hypervisor below does (its mitigations, its other guests) is not seen, but for the time that it
//     takes away.
package where
