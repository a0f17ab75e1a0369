package virtio

import (
	"golang.org/x/sys/unix"

	"usui/host/eventfd"
)

// Kick is the eventfd behind a queue's notify address: KVM signals it (ioeventfd), or the monitor does when a
// notification reached user space.
type Kick struct{ fd *eventfd.FD }

// NewKick makes one that nobody has rung.
func NewKick() (*Kick, error) {
	fd, err := eventfd.New()
	if err != nil {
		return nil, err
	}
	return &Kick{fd}, nil
}

// FD is the descriptor, valid until Close. It stays owned by k.
func (k *Kick) FD() int { return int(k.fd.Fd()) }

// Ring wakes the waiter, or the next one when nobody waits. It may be called from any goroutine, does not block
// and does not allocate. After Close it does nothing.
func (k *Kick) Ring() {
	_ = k.fd.Signal() // fails only when closed: a counter of 64 bits is never full
}

// wait blocks until the next ring, and says whether there will be more.
func (k *Kick) wait() bool { return k.fd.Wait() == nil }

// reclaim takes what was rung and gives the eventfd the mode that it was made with. Somebody else had it, who may have filled the counter,
// so that a Ring would wait, or changed the mode, so that a read would.
func (k *Kick) reclaim() {
	var count [8]byte
	_ = unix.SetNonblock(k.FD(), true) // cannot fail for an open descriptor
	_, _ = unix.Read(k.FD(), count[:]) // fails when nothing was rung
}

// Close frees the eventfd and ends a waiter.
func (k *Kick) Close() error { return k.fd.Close() }
