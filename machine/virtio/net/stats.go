package net

import "sync/atomic"

// Stats counts what a card did, over all queue pairs. Bytes are those of frames, without headers.
type Stats struct {
	FramesToGuest, BytesToGuest     uint64
	FramesFromGuest, BytesFromGuest uint64 // that the backend took

	ToGuestTooLong     uint64 // frames dropped: no chain of the driver has room for them
	ToGuestMalformed   uint64 // frames dropped: the backend's header makes no sense, or asks for work that the driver does not do
	ToGuestSpilled     uint64 // chains that were filled by copying, for want of buffers at the time
	ToGuestNoRoom      uint64 // chains that have no room even for a header
	FromGuestMalformed uint64 // frames dropped: the driver's header makes no sense
	FromGuestDropped   uint64 // frames that the backend refused, or that came after the backend had gone

	WakeupsToGuest, WakeupsFromGuest uint64 // how often a goroutine went to sleep and was woken
	BackendFull                      uint64 // how often a frame waited for the backend
	CommandsRefused                  uint64
}

type counter = atomic.Uint64

// towardGuest and fromGuest count for one direction of one queue pair, so that no two goroutines share a counter.
type towardGuest struct{ frames, bytes, tooLong, malformed, spilled, noRoom, wakeups counter }

type fromGuest struct{ frames, bytes, malformed, dropped, wakeups, waits counter }

// Stats returns the counters as they are now.
func (d *Net) Stats() Stats {
	s := Stats{CommandsRefused: d.refused.Load()}
	for _, p := range d.pairs {
		s.FramesToGuest += p.toward.frames.Load()
		s.BytesToGuest += p.toward.bytes.Load()
		s.ToGuestTooLong += p.toward.tooLong.Load()
		s.ToGuestMalformed += p.toward.malformed.Load()
		s.ToGuestSpilled += p.toward.spilled.Load()
		s.ToGuestNoRoom += p.toward.noRoom.Load()
		s.WakeupsToGuest += p.toward.wakeups.Load()
		s.FramesFromGuest += p.from.frames.Load()
		s.BytesFromGuest += p.from.bytes.Load()
		s.FromGuestMalformed += p.from.malformed.Load()
		s.FromGuestDropped += p.from.dropped.Load()
		s.WakeupsFromGuest += p.from.wakeups.Load()
		s.BackendFull += p.from.waits.Load()
	}
	return s
}
