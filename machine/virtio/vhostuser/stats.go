package vhostuser

// Stats counts what can be seen of the device from here. The back end's requests are its own.
type Stats struct {
	Starts  uint64 // sessions: how often a driver brought the device up
	Losses  uint64 // 1 when the back end is gone
	Refused uint64 // requests that were answered with an error because of it
}

// Stats returns the counters as they are now.
func (d *Device) Stats() Stats { return Stats{d.starts.Load(), d.losses.Load(), d.refused.Load()} }
