package xdp

import (
	"errors"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// ring is one of the four of a queue. One side produces entries, the other consumes them; the indices only grow, and wrap at 32 bits.
type ring[E uint64 | unix.XDPDesc] struct {
	memory             []byte
	producer, consumer *atomic.Uint32
	flags              *atomic.Uint32
	entries            []E
	mine               uint32 // this side's index: what was put or taken, published or not
}

// errIndex ends an interface: there is no telling any more which entries are whose.
var errIndex = errors.New("the kernel's index of a ring is impossible")

// room is how many entries may be put.
func (r *ring[E]) room() (int, error) {
	used := r.mine - r.consumer.Load()
	if used > uint32(len(r.entries)) {
		return 0, errIndex
	}
	return len(r.entries) - int(used), nil
}

// left is how many published entries the kernel has not taken.
func (r *ring[E]) left() (int, error) {
	room, err := r.room()
	return len(r.entries) - room, err
}

// put adds an entry. There must be room.
func (r *ring[E]) put(e E) {
	r.entries[r.mine&uint32(len(r.entries)-1)] = e
	r.mine++
}

// publish shows the kernel what was put.
func (r *ring[E]) publish() { r.producer.Store(r.mine) }

// pending is how many entries the kernel has produced.
func (r *ring[E]) pending() (int, error) {
	n := r.producer.Load() - r.mine
	if n > uint32(len(r.entries)) {
		return 0, errIndex
	}
	return int(n), nil
}

// take returns the next pending entry.
func (r *ring[E]) take() E {
	e := r.entries[r.mine&uint32(len(r.entries)-1)]
	r.mine++
	return e
}

// release gives the kernel the room of what was taken.
func (r *ring[E]) release() { r.consumer.Store(r.mine) }

// wakes says that the kernel wants a call before it looks at the ring.
func (r *ring[E]) wakes() bool { return r.flags.Load()&unix.XDP_RING_NEED_WAKEUP != 0 }

func (r *ring[E]) unmap() error {
	if r.memory == nil {
		return nil
	}
	err := unix.Munmap(r.memory)
	r.memory = nil
	return err
}
