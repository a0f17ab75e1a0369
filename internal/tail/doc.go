// Package tail keeps the last words of a console, for the case that the machine behind it ends badly.
//
// # Place
//
// Below [usui/cmd/usui] (a guest's serial port), [usui/internal/lab] (a lab's, and QEMU's own words) and the benchmarks of monitors.
//
// # Idea
//
// A console may say megabytes before it says why it ends, so a [Tail] forgets all but the end of what is written to it, and
// [Tail.String] makes text for a person of that.
//
// # Invariants
//
//   - However much is written, a Tail holds no more than twice what it shows.
//   - What it shows begins with a whole line and has nothing in it that could steer a terminal: guests are hostile.
//
// # Limits
//
// Colours and the cursor's movements are lost, so a program that paints its screen leaves a jumble.
package tail
