package xdp

// Stats counts what an interface did. The last four are the kernel's.
type Stats struct {
	FramesReceived, BytesReceived uint64
	FramesSent, BytesSent         uint64
	Calls                         uint64 // system calls
	SendFull                      uint64 // frames that found the transmit ring full
	SendRefused                   uint64 // calls that found the kernel without memory or the link down
	BadDescriptors                uint64 // entries of rings that made no sense
	FreeFrames                    uint64 `metric:"gauge"`
	Dropped                       uint64 // packets that were too long
	RingFull                      uint64 // packets that found the receive ring full
	NoFrame                       uint64 // times that the fill ring was empty
	Refused                       uint64 // entries of ours that made no sense to the kernel
}

// Stats returns the counters.
func (x *Interface) Stats() (Stats, error) {
	s := x.stats
	s.FreeFrames = uint64(len(x.frames.free))
	for _, q := range x.queues {
		k, err := statistics(q.fd)
		if err != nil {
			return s, err
		}
		s.Dropped += k.Rx_dropped
		s.RingFull += k.Rx_ring_full
		s.NoFrame += k.Rx_fill_ring_empty_descs
		s.Refused += k.Rx_invalid_descs + k.Tx_invalid_descs
	}
	return s, nil
}
