package vsock

import (
	"sync/atomic"

	"usui/internal/metrics"
)

// Stats counts what a device did.
type Stats struct {
	PacketsToGuest, PacketsFromGuest uint64 // of all operations
	BytesToGuest, BytesFromGuest     uint64 // of streams
	Opened                           uint64 // connections, from either side
	Refused                          uint64 // of the guest, because nobody listens or there are too many; of the host, because the guest did not want
	Open                             uint64 `metric:"gauge"` // connections and clients now
	Resets                           uint64 // packets that told the guest that a connection is not, or no more
	CreditUpdates                    uint64 // packets that told the guest of room
	CreditRequests                   uint64 // packets that asked the guest for room: the host waited for it to read
	Stalls                           uint64 // times that a socket of the host did not take all that the guest sent
	Violations                       uint64 // connections that were reset because the guest broke the protocol
	Dropped                          uint64 // packets that are too short, or not the guest's
	Unusable                         uint64 // buffers without room for a packet
	TimedOut                         uint64 // clients that asked for no port, and connections that the guest neither took nor left
	Wakeups                          uint64 // times that the device's goroutine slept and was woken

	// From when a packet was taken off the guest's queue until a socket of the host had it, or the device for it.
	Take metrics.Latency
}

// counters are Stats as they grow.
type counters struct {
	packetsToGuest, packetsFromGuest, bytesToGuest, bytesFromGuest atomic.Uint64
	opened, refused, open, resets, creditUpdates, creditRequests   atomic.Uint64
	stalls, violations, dropped, unusable, timedOut, wakeups       atomic.Uint64
	time                                                           metrics.Histogram
}

// Stats returns the counters as they are now.
func (d *Vsock) Stats() Stats {
	c := &d.counters
	return Stats{
		PacketsToGuest: c.packetsToGuest.Load(), PacketsFromGuest: c.packetsFromGuest.Load(),
		BytesToGuest: c.bytesToGuest.Load(), BytesFromGuest: c.bytesFromGuest.Load(),
		Opened: c.opened.Load(), Refused: c.refused.Load(), Open: c.open.Load(),
		Resets: c.resets.Load(), CreditUpdates: c.creditUpdates.Load(), CreditRequests: c.creditRequests.Load(),
		Stalls: c.stalls.Load(), Violations: c.violations.Load(), Dropped: c.dropped.Load(), Unusable: c.unusable.Load(),
		TimedOut: c.timedOut.Load(), Wakeups: c.wakeups.Load(), Take: c.time.Snapshot(),
	}
}
