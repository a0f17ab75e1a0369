package guestmem

// Go has no 16-bit atomics, and the indices of a virtqueue are 16 bits wide (virtio 1.2 section 2.7). The assembly beside
// this file has the three operations that a device needs. Its functions are opaque to the compiler, so none of them is
// moved, merged or dropped.

// Load16 reads the little-endian number at b[off:off+2] with acquire order: loads and stores that follow it in the
// program see at least what was written before the store that it saw. The address of b[off] must be even: b starts
// on an even guest address and off is even. It panics as b[off+1] does when off is outside b.
func Load16(b []byte, off int) uint16 {
	_ = b[off+1]
	return load16(&b[off])
}

// Store16 writes v to b[off:off+2], little-endian, with release order: whoever sees it with an acquiring load also sees
// everything that was written before. Alignment and panic are those of [Load16].
func Store16(b []byte, off int, v uint16) {
	_ = b[off+1]
	store16(&b[off], v)
}

// Fence is a full barrier: stores before it are visible to the guest before any load behind it is done. Neither [Load16] nor
// [Store16] gives that order, and both event indices need it (virtio 1.2 section 2.7.10).
func Fence()

//go:noescape
func load16(p *byte) uint16

//go:noescape
func store16(p *byte, v uint16)
