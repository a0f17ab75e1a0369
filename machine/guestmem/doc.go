// Package guestmem is the physical memory of a guest: one sealed memory file, mapped once per range of RAM.
//
// # Place
//
// The bottom of the machine. machine/boot writes kernels and tables into it, machine/virtio reads rings and hands out
// buffers from it, machine/vmm gives its regions to KVM as memory slots and its file to other processes.
//
// # Idea
//
// [New] makes one memfd for all ranges and maps each of them shared, so that the same pages can be handed to another
// process (vhost-user, a new monitor) by descriptor. Everything that comes from a guest is an address and a length; the only
// way from there to bytes is [Memory.Slice] (or [Memory.ReadAt] and [Memory.WriteAt], which use it), and it answers
// only when every byte lies inside one region. Views are plain byte slices whose capacity ends with them.
//
// The guest runs beside the monitor and changes its memory at any time. A field that both sides use as a signal is read
// with [Load16] and written with [Store16]; [Fence] orders a store before a later load, which neither of them does. All
// else is copied to a local first, then checked, then used.
//
// [Memory.Release] gives pages back to the host by a hole in the file, which takes them from every process that maps it and from the
// guest's page tables. They come back, as zeroes, when somebody touches them. Where Populate made a huge page, the kernel splits it: what
// was not released stays, in small pages, and what comes back comes in small ones.
//
// [NewHuge] takes the pages from those of 2 MiB that the administrator set aside (hugetlbfs), and Release then works in these alone.
//
// # Invariants
//
//   - A slice from this package never reaches outside the region it was cut from, neither in length nor in capacity.
//   - The file is sealed against shrinking and growing, so a mapped page cannot vanish below a reader (SIGBUS), even when
//     another process holds the descriptor.
//   - Regions start and end on 4 KiB boundaries in guest memory, in the file and in the monitor's address space: an offset
//     that is aligned in the guest (up to 4 KiB) is aligned for the atomics too.
//
// # Limits
//
//   - Memory is reserved when it is touched, not before: a guest larger than its host ends by the kernel's memory killer. Huge pages of
//     NewHuge are reserved by it, but not for longer than until they are released: if others have taken all of them when one is touched again,
//     the vCPU ends with an error, and a monitor that touches it ends by SIGBUS.
//   - A hole that Release makes shows in no dirty log. Who copies a guest must not take the page that he copied before for the guest's, unless
//     nobody will miss the difference (a balloon's pages and free ones hold nothing). Reading holes by the mapping fills them with pages;
//     by pread of the file it does not.
//   - Close must come after the last user of any slice; nothing here counts them.
//   - Shared huge pages come with [Memory.Populate] alone. No dirty log of the monitor's own writes, no NUMA placement.
package guestmem
