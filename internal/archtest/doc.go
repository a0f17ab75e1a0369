// Package archtest holds the architecture as data and checks the repository against it.
//
// # Place
//
// A package of tests: nothing imports it, and it imports the standard library only. "make test" runs it
// with all others.
//
// # Idea
//
// What ARCHITECTURE.md says about who may import whom is a table here, so it stays true. The files are
// parsed in this process rather than listed by the go command: so files behind build tags are seen, and
// go's test cache knows which files a result depends on. Every rule is itself tested against a small tree
// that breaks it.
//
// The start-up gate builds the program, runs it with GODEBUG=inittrace=1 and looks at what each package
// costs before main begins: a user pays it at every call.
//
// # Invariants
//
//   - A rule is never widened to fix a build: what two layers share moves down a stratum.
//   - An outside module that the table does not name is refused, and so is a name in the table that
//     go.mod no longer requires.
//   - What SPECIFICATION.md and the code map of ARCHITECTURE.md name is there.
//   - The checks are syntactic: they need neither a build nor the network.
//
// # Limits
//
//   - Types are not looked at: a forbidden system call behind a variable is not seen.
//   - The gate measures initialization, which a test can judge on a busy machine by its minimum; the time
//     of a whole start is what "make bench-start" compares with an empty program.
package archtest
