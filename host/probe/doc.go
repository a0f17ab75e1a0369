// Package probe finds out what this host offers.
//
// # Place
//
// In the host stratum: "usui doctor" prints what it finds, "usui run" asks [KVM] whether a stock kernel can
// boot here, and package need asks it what a test may rely on.
//
// # Idea
//
// A [Fact] is one thing that the host offers or not, how that is known, what was found and what to do if it
// is missing. A fact is found by doing the cheapest thing that only works if the feature is there: opening
// the device, making the system call, creating an empty object and dropping it. Kernel versions are compared
// only where trying would change the system (attaching a program to a network device).
//
// That /dev/kvm answers does not say that it can run a kernel. A software KVM (kvm_pvm) runs user-mode
// guest code natively and interprets privileged code, at 0.6 to 5 µs an instruction: a kernel boots on it in
// hours. The speed of a short privileged loop tells them apart; the function that measures it belongs to
// the machine stratum and is handed in.
//
// # Invariants
//
//   - Probing leaves nothing behind: no process, no network device, no loaded program, no file.
//   - Files are read below [Host].Root, so that parsing is tested against trees made for the test; system
//     calls always ask the running kernel.
//   - The names of facts are stable: tests and scripts branch on them.
//
// # Limits
//
//   - Opening a device node may make the kernel load its module, as any user of the device would.
//   - A fact says what holds now and for this process; another user or a container may see otherwise.
//   - BPF programs of a kind that needs a trampoline may be refused although the LSM is active; only
//     loading one tells.
package probe
