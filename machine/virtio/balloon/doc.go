// Package balloon is the virtio memory balloon: it takes memory from a guest that runs and gives it back, hears which of its pages
// are free, and asks how it does.
//
// # Place
//
// A virtio.Device behind the transport of machine/virtio; memory goes back to the host by machine/guestmem. Source: virtio 1.2
// section 5.5, and Linux's drivers/virtio/virtio_balloon.c for what the specification leaves open.
//
// # Idea
//
// [Balloon.SetTarget] says how much the host wants. The driver allocates pages and tells their numbers on the inflate queue; their memory is
// released before the request is answered. To deflate costs the host nothing: a page is there again when the guest touches it.
//
// A driver names single pages of 4 KiB, 256 in a request, mostly neighbours in some order. Each release interrupts the guest's vCPUs and may
// split a huge page of the host, so the numbers of a request are sorted and neighbours released together.
//
// Where the host has larger pages (guestmem.NewHuge), only a whole one can be released, and a request hardly ever has a whole one. A
// bitmap then remembers what is in the balloon; a page of the host goes when its last part has come. That is sound only
// if no part is used again unsaid, so it is done for drivers that accepted MUST_TELL_HOST alone, which Linux does.
//
// Reporting needs no target: the driver tells of free blocks as they come to be (2 MiB and more, in Linux), and they are released at once.
// Hints are the same for one moment, asked for by [Balloon.Hint]: nothing is released, a caller learns what it need not copy.
//
// Statistics are a buffer that the driver fills and the device keeps. Giving it back asks for the next ones ([Balloon.GuestStats]).
//
// # Invariants
//
//   - A released page lies wholly in guest memory, and in what the driver named.
//   - Reported pages whose contents matter to the driver (PAGE_POISON with another value than 0) are not released.
//   - What the driver says of its statistics and of the size of the balloon is repeated and not believed: nothing is computed from it.
//   - No request keeps Stop from returning: long ones are left where they are.
//   - When Hint has returned, its Hints is not called any more.
//
// # Locks
//
// hint.mu is taken before mu, and held while Hints is called. pages.mu holds nothing further. mu is never held over a call out of
// this package.
//
// # Limits
//
//   - The target is a wish: a guest gives what it can spare, and a hostile one what it likes. Only a machine with less memory is a bound.
//   - A guest that inflates pages which the monitor or a device still uses loses what is in them; so does one that lies about free pages.
//   - What comes back after a release comes in small pages, even where it was a huge one (see machine/guestmem).
//   - What a guest with huge pages of the host gives back goes to the host's other huge guests; if they took it all, it is not there any more
//     when this one touches it.
//   - Hints have no consumer in this version; migration will be one.
//   - Statistics have the ten tags of virtio 1.2; others are ignored.
package balloon
