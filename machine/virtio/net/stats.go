package net

import (
	"sync/atomic"

	"usui/internal/metrics"
)

// Stats counts what a card did, over all queue pairs, as the guest sees it: it receives what comes from the backend. Bytes are those of
// frames, without headers.
type Stats struct {
	FramesReceived, BytesReceived uint64
	FramesSent, BytesSent         uint64 // that the backend took

	ReceivedTooLong   uint64 // frames dropped: no chain of the driver has room for them
	ReceivedMalformed uint64 // frames dropped: the backend's header makes no sense, or asks for work that the driver does not do
	ReceivedSpilled   uint64 // chains that were filled by copying, for want of buffers at the time
	ChainsWithoutRoom uint64 // chains that have no room even for a header
	SentMalformed     uint64 // frames dropped: the driver's header makes no sense
	SentDropped       uint64 // frames that the backend refused, or that came after the backend had gone

	ReceiverWakeups, SenderWakeups uint64 // how often a goroutine went to sleep and was woken
	SenderWaits                    uint64 // how often a frame waited for the backend
	ReceiverHeld, SenderHeld       uint64 // how often a limit kept a queue waiting
	CommandsRefused                uint64

	// From when a frame was taken off the driver's queue until the backend had it.
	Send metrics.Latency
}

type counter = atomic.Uint64

// towardGuest and fromGuest count for one direction of one queue pair, so that no two goroutines share a counter.
type towardGuest struct{ frames, bytes, tooLong, malformed, spilled, noRoom, wakeups, held counter }

type fromGuest struct {
	frames, bytes, malformed, dropped, wakeups, waits, held counter

	time metrics.Histogram
}

// Stats returns the counters as they are now.
func (d *Net) Stats() Stats {
	s := Stats{CommandsRefused: d.refused.Load()}
	for _, p := range d.pairs {
		s.FramesReceived += p.toward.frames.Load()
		s.BytesReceived += p.toward.bytes.Load()
		s.ReceivedTooLong += p.toward.tooLong.Load()
		s.ReceivedMalformed += p.toward.malformed.Load()
		s.ReceivedSpilled += p.toward.spilled.Load()
		s.ChainsWithoutRoom += p.toward.noRoom.Load()
		s.ReceiverHeld += p.toward.held.Load()
		s.SenderHeld += p.from.held.Load()
		s.Send = s.Send.Plus(p.from.time.Snapshot())
		s.ReceiverWakeups += p.toward.wakeups.Load()
		s.FramesSent += p.from.frames.Load()
		s.BytesSent += p.from.bytes.Load()
		s.SentMalformed += p.from.malformed.Load()
		s.SentDropped += p.from.dropped.Load()
		s.SenderWakeups += p.from.wakeups.Load()
		s.SenderWaits += p.from.waits.Load()
	}
	return s
}
