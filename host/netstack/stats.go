package netstack

import "sync/atomic"

// Stats counts what a network did.
type Stats struct {
	FramesReceived  uint64 // from the guest
	BytesReceived   uint64
	FramesRefused   uint64 // malformed, or with addresses that the guest may not use
	FramesSent      uint64 // to the guest
	BytesSent       uint64
	FramesDropped   uint64 // because the card did not read
	FlowsOpened     uint64 // TCP connections and UDP flows, both directions
	FlowsRefused    uint64 // beyond a bound, forbidden, or by the other side
	FlowsOpen       uint64 // now
	QuestionsAsked  uint64 // DNS
	QuestionsFailed uint64 // without an answer of any resolver, or beyond the bound
	LeasesGiven     uint64 // DHCP
}

// counters are the Stats as they grow.
type counters struct {
	framesReceived, bytesReceived, framesRefused, framesSent, bytesSent, framesDropped atomic.Uint64
	flowsOpened, flowsRefused, questionsAsked, questionsFailed, leasesGiven            atomic.Uint64
	flowsOpen                                                                          atomic.Int64
}

// Stats are the counts until now.
func (n *Network) Stats() Stats {
	c := &n.stats
	return Stats{
		FramesReceived: c.framesReceived.Load(), BytesReceived: c.bytesReceived.Load(), FramesRefused: c.framesRefused.Load(),
		FramesSent: c.framesSent.Load(), BytesSent: c.bytesSent.Load(), FramesDropped: c.framesDropped.Load(),
		FlowsOpened: c.flowsOpened.Load(), FlowsRefused: c.flowsRefused.Load(), FlowsOpen: uint64(c.flowsOpen.Load()),
		QuestionsAsked: c.questionsAsked.Load(), QuestionsFailed: c.questionsFailed.Load(), LeasesGiven: c.leasesGiven.Load(),
	}
}
