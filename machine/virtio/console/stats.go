package console

import "usui/internal/metrics"

// PortStats counts what went through a port.
type PortStats struct {
	Name      string
	ToGuest   uint64 // bytes
	FromGuest uint64 // bytes that the host took
	Dropped   uint64 // bytes from the guest that nobody took

	// How long the host's end took for what the guest sent at a time.
	Write metrics.Latency
}

// Stats counts what a console did.
type Stats struct {
	Ports   []PortStats // in the order of their numbers
	Ignored uint64      // control messages that made no sense
}

// Stats returns the counters as they are now.
func (d *Console) Stats() Stats {
	s := Stats{Ignored: d.ignored.Load()}
	for _, p := range d.ports {
		if p != nil {
			s.Ports = append(s.Ports, PortStats{p.Name, p.toGuest.Load(), p.fromGuest.Load(), p.dropped.Load(), p.time.Snapshot()})
		}
	}
	return s
}
