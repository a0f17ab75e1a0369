// Package rng is the virtio entropy device: it fills a guest's buffers with random bytes of the host.
//
// # Place
//
// A virtio.Device behind the transport of machine/virtio. Source: virtio 1.2 section 5.4; getrandom(2) by crypto/rand.
//
// # Idea
//
// One goroutine fills what the driver makes available. The bytes go into the guest's buffers directly.
//
// # Invariants
//
// Each chain gets at least one byte if it has room, and at most 64 KiB: a driver that wants more asks again, and one that
// offers gigabytes does not keep the goroutine from stopping. After Stop the goroutine is gone.
//
// # Limits
//
// No rate limit: a guest can keep one host CPU busy, as it can in many other ways.
package rng
