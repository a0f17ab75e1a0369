// Package bench measures what CPU virtualization costs on a machine: how long a guest is away for each of the things that it
// needs KVM for.
//
// # Place
//
// A layer that stands on machine/kvm and machine/tinyguest and drives guests of a few instructions. Package report, below it,
// makes statistics, tables, pages and comparisons of the samples; package where says what they were measured on.
//
// # Idea
//
// A [Case] is one operation. Its guest has the operation in a loop, and the same loop without it but with what it needs;
// the host lets the guest run one or the other some number of times, and the difference of the two is what the operation
// costs. The host's clock times whole loops ("amortised"), because a guest's time-stamp counter may trap, and would then
// measure the trap. Where it does not, each operation is timed by the guest between fences. Operations of the host
// (ioctls) are timed in the same way, without a guest; what one thread does to a guest that runs on another is timed one
// by one.
//
// A loop can measure something else than it seems to: an access that another device serves, an exit that the processor
// does not need. So KVM counts along: the exits (or, on a software KVM, the emulated instructions) of all batches must be
// those that the case asserts, a vCPU in HLT must have been woken by each operation, and interrupts are counted by their
// handlers. A case whose count does not fit is an error.
//
// What differs most is not one sample from the next but one machine from the next, by where its memory lies. So each case is
// measured in several fresh machines ("launches"), and the report keeps them apart.
//
// # Invariants
//
//   - The loops allocate nothing, but for save-restore-vcpu and vm-create, and no garbage is collected between the first and the
//     last sample of a launch.
//   - Each launch has a thread of its own, bound to one processor, that ends with it.
//   - Neither a guest nor a call can hang the program: a launch of which a batch takes longer than Config.Patience ends, and the
//     row says so.
//   - A row is measured and its count fits, or it says why this KVM cannot do it.
//
// # Limits
//
// amd64; of nested virtualization, SVM. A software KVM may stall for seconds where two threads meet ("running"); the row
// is then n/a, though another run has it. The two processors that take part, the last ones, may be threads of one core.
// Percentiles of amortised cases are those of batches: they hide single slow operations, which a guest's counter shows.
// An operation that is cheaper than the loop around it reads as about nothing.
package bench
