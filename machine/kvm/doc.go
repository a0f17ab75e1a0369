// Package kvm gives Linux's KVM as Go values: one type for each kind of file descriptor ([System], [VM], [VCPU],
// [Device]), typed exits, and a way to stop a running vCPU that cannot be lost.
//
// # Place
//
// The lowest package of the machine. It knows the kernel's interface (Documentation/virt/kvm/api.rst) and nothing of
// what a machine is made of: no policy, no device, no memory of its own. package vmm stands on it, and so does
// all that needs a vCPU without a machine.
//
// # Idea
//
// Constants and structures come from the kernel's headers by "go generate" (see internal/gen). Methods have the names
// and the meaning of the ioctls; comments say only what a Go caller must know beside the kernel's document.
//
// The path of an exit allocates nothing: [VCPU.Run] returns a number, and what belongs to it ([VCPU.IO], [VCPU.MMIO]
// and their like) is a view of the memory that the vCPU shares with the kernel.
//
// A kick must end Run whether it comes before, during or after KVM_RUN. [VCPU.Kick] first notes the request, then
// sets kvm_run.immediate_exit, then signals the thread; Run, when the kernel has returned EINTR, first clears
// immediate_exit and then takes the request. So a request is never cleared without being reported, and one that is
// noted always has an immediate_exit or a signal behind it. EINTR without a request was a signal of Go's own, and Run
// goes back into the guest.
//
// # Invariants
//
//   - No byte of this package's memory is chosen by the guest: lengths that the kernel reports are cut to what the
//     structure holds.
//   - Memory whose length the kernel takes from elsewhere (bitmaps of dirty pages) is checked against it first.
//   - Every descriptor closes on exec, and each has one owner: [VM.Close] closes what was made from it.
//
// # Locks
//
// The kernel serialises calls on one VM; on a vCPU it lets them wait until Run returns, so everything but Kick, Stats
// and ID belongs to the vCPU's own thread. Close is called when no other method is under way. VM.mu guards the lists
// of what belongs to the machine and is held while memory slots change; VCPU.mu is held during Kick. Neither is taken
// while the other is held.
//
// # Limits
//
// amd64 and arm64, Linux 5.10 and later. A program must not ignore SIGURG (signal.Ignore), else a kick waits for the
// next exit of the guest. Left out on purpose: dirty rings, nested state, confidential machines, Xen and Hyper-V.
package kvm
