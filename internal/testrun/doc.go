// Command testrun runs all tiers of the tests and prints one table. It is what "make test" starts.
//
// # Place
//
// A tool of the repository, not of the product: it starts go test, the built bin/usui and the lab, and
// reads what they print. No package imports it.
//
// # Idea
//
// Every test is a plain go test, but no single place can run all of them. So they run in tiers, and a
// test counts by the best that any tier did with it:
//
//   - host: all packages under the race detector, on this machine. Tests that need what the machine does
//     not offer skip, and say which need it was (package host/need).
//   - lab: packages with functions named TestLab... are built with go test -c and run inside one virtual
//     bare-metal machine (usui lab), all in one boot. A second lab, of the other architecture, runs those
//     that stand in files for it (*_arm64_test.go).
//
// What this machine offers is known: "usui doctor --json" lists it, and USUI_MUST_HAVE hands the list to
// the tests, so that a skip for a need that is there is a failure. A skip that names no need is one too.
//
// With --long it runs the TestLong... and TestLabLong... functions of files behind the build tag "long"
// instead, without the race detector; with --bench the benchmarks, of which BenchmarkLab... run in the lab.
//
// # Invariants
//
//   - A test is counted once: failed if any tier saw it fail, else passed if any tier saw it pass, else
//     skipped. A skipped subtest is counted by its own name, so that a skip cannot hide in a table.
//   - A package that ends without telling (a crash, a time-out, a build failure, a lab that died) is a
//     failed test.
//   - The last line reads "N passed, N failed, N skipped", and the exit status is 0 only if nothing
//     failed and every skip named a need that this machine does not have.
//   - A function that fails, hangs or dies in a lab runs once more, in another lab, and the output says so ("again");
//     only the second failure counts.
//   - Nothing waits for ever: a lab in which no test begins or ends for --silence is ended, and the lab tier as a whole
//     has a bound; what was not run is failed.
//   - One lab runs at a time on a machine: a file lock in the user's cache folder is held meanwhile.
//
// # Limits
//
//   - Only top-level tests and skipped subtests are counted; subtests that pass are part of their parent.
//   - Benchmarks are printed as they come; testrun does not compare them.
package main
