// Package input reads what commands are given: a file, a pipe or standard input, and not more than there is room for.
//
// # Place
//
// In layer/blind, below the commands "run", "rewrite" and "scan".
//
// # Idea
//
// A path may name a device or a pipe that never ends. What is no file is bounded while it is read; a device is refused.
//
// # Invariants
//
//   - No more than [MaxSize] bytes, and one, are read.
//
// # Limits
//
// Reading waits for a pipe to be written to, and cannot be interrupted: leave it behind in a goroutine.
package input
