// Package limit bounds how often and how much a guest may use a device: token buckets.
//
// # Place
//
// In machine, below the device models that move data (virtio/blk, virtio/net). What a limit is for a device is the device's matter; here is
// the arithmetic.
//
// # Idea
//
// A [Bucket] is the virtual-scheduling form of a token bucket (ITU-T I.371, annex A): not a number of tokens that somebody must refill, but
// the moment at which all that was taken is paid for. What is taken is always given, and the debt keeps the next one waiting: a request that
// is larger than the bucket needs no rule of its own, and is not cut. So a device asks before it takes a request off its ring, and pays
// when it knows the size.
//
// # Invariants
//
//   - Over any time t, at most burst + rate*t is taken, and one request more for each queue that draws on the bucket: to ask and to
//     pay are two steps. What was taken too much is paid for before the next.
//   - A nil Bucket limits nothing. Nothing allocates.
//
// # Limits
//
// One debt is at most an hour long, however small the rate is.
package limit
