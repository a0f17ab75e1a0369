package net

import "usui/host/tap"

// Backend is what a card is plugged into: a [Tap], or [Sockets] to another process. Its methods are called one at a time.
type Backend interface {
	// Queues are non-blocking descriptors, one for each queue pair. A read or a write moves one Ethernet frame with a header of
	// 12 bytes in front (virtio 1.2 section 5.1.6).
	Queues() []int

	// Offloads are those of [OffloadFeatures] that it can honour.
	Offloads() uint64

	// Use is called at each start of the driver, with the features that it accepted, and when it changes the number of queue
	// pairs: the first so many are in use, and on the others the guest wants no frames.
	Use(features uint64, pairs int) error
}

// Sockets are a [Backend] of Unix sockets (SOCK_SEQPACKET), one for each queue pair, to a process at their other ends. That
// process gets frames of at most [MaxFrame] bytes, with headers that were checked.
type Sockets struct {
	FDs      []int  // non-blocking; whoever opened them closes them
	Features uint64 // those of [OffloadFeatures] that the process honours
}

// Queues implements [Backend].
func (s Sockets) Queues() []int { return s.FDs }

// Offloads implements [Backend].
func (s Sockets) Offloads() uint64 { return s.Features }

// Use implements [Backend]. What the driver did not accept is dropped by the card.
func (s Sockets) Use(features uint64, pairs int) error { return nil }

// Tap is a [Backend] that is an interface of the host.
type Tap struct {
	tap *tap.Tap
	uso bool
}

// NewTap uses t, which stays the caller's.
func NewTap(t *tap.Tap) *Tap { return &Tap{tap: t, uso: t.HasUSO()} }

// Queues implements [Backend].
func (t *Tap) Queues() []int { return t.tap.Queues() }

// Offloads implements [Backend].
func (t *Tap) Offloads() uint64 {
	if t.uso {
		return OffloadFeatures
	}
	return OffloadFeatures &^ (FeatureGuestUSO4 | FeatureGuestUSO6 | FeatureHostUSO)
}

// Use implements [Backend].
func (t *Tap) Use(features uint64, pairs int) error {
	if err := t.tap.SetOffloads(tapOffloads(workForGuest(features))); err != nil {
		return err
	}
	for i := range t.tap.Queues() {
		if err := t.tap.SetQueue(i, i < pairs); err != nil {
			return err
		}
	}
	return nil
}

// tapOffloads are the kernel's names for work.
func tapOffloads(w work) (o tap.Offloads) {
	for _, n := range []struct {
		work work
		tap  tap.Offloads
	}{{workChecksum, tap.Checksum}, {workTSO4, tap.TSO4}, {workTSO6, tap.TSO6}, {workECN, tap.ECN}, {workUSO, tap.USO}} {
		if w&n.work != 0 {
			o |= n.tap
		}
	}
	return o
}
