// Package need is how a test says what it needs of its host.
//
// # Place
//
// Called at the first line of a test, by packages of every stratum. It stands on package probe, so that a
// test, "usui doctor" and the program agree on what a host offers.
//
// # Idea
//
// A test that needs what is not there skips, and says which need it was in a form that a program can read:
//
//	need hardware-kvm: /dev/kvm is a software KVM
//
// A skip is a hole in what is tested. So where it is known what the host offers, the environment variable
// USUI_MUST_HAVE lists the needs that are met (comma-separated), and a skip for one of them is a failure.
// internal/testrun sets it from "usui doctor --json".
//
// Tests named TestLab... begin with [Lab]: they run inside "usui lab", which sets USUI_LAB to the features of
// its shape.
//
// # Invariants
//
//   - A need is probed by doing what the test will do, not by comparing versions.
//   - The name of a need is the name of probe's fact; the lab's are "lab" and "lab:FEATURE", a suite's is
//     "suite:NAME".
//
// # Limits
//
//   - [HardwareKVM] goes by the kernel's modules. "usui doctor" measures instead, and testrun believes the
//     doctor.
package need
