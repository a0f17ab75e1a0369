package tcp

// Stats counts what a stack did.
type Stats struct {
	Packets      uint64 // received
	Malformed    uint64 // were not what this stack reads
	BadChecksums uint64
	Sent         uint64 // segments

	Accepted uint64 // connections
	Refused  uint64 // SYNs, because there were too many connections
	Cookies  uint64 // SYNs that were answered without memory
	Redeemed uint64 // cookies that came back
	HalfLost uint64 // handshakes that the peer did not finish
	Resets   uint64 // segments for no connection
	Broken   uint64 // connections that the peer reset, or that timed out

	OutOfWindow uint64
	Challenges  uint64
	Early       uint64 // segments that came before others
	BytesMerged uint64 // copied so that few bytes do not hold a frame
	BytesCopied uint64 // into frames, to be sent

	Retransmitted uint64
	Timeouts      uint64
	Recoveries    uint64 // from a loss without a timeout
	Repeats       uint64 // acknowledgements that said nothing new
	Probes        uint64

	NoMemory uint64 // segments that were dropped or not made because connections hold too many frames
	NoFrame  uint64 // segments that were not sent because the link had no frame
	NoRoom   uint64 // or no room

	Connections uint64 `metric:"gauge"` // now
	HalfOpen    uint64 `metric:"gauge"`
	Waiting     uint64 `metric:"gauge"` // in TIME-WAIT, and among Connections
	HeldOrdered uint64 `metric:"gauge"` // frames
	HeldEarly   uint64 `metric:"gauge"`
	HeldSending uint64 `metric:"gauge"`
}

// Stats returns the counters.
func (s *Stack) Stats() Stats {
	r := s.stats
	r.Connections, r.HalfOpen, r.Waiting = uint64(len(s.conns)), uint64(len(s.half)), uint64(s.waiting)
	r.HeldOrdered, r.HeldEarly, r.HeldSending = uint64(s.held.ordered), uint64(s.held.early), uint64(s.held.sending)
	return r
}
