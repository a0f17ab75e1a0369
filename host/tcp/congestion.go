package tcp

import "time"

// congestion is how much may be in flight: NewReno (RFC 5681, 6582) with what SACK tells of losses (RFC 6675), and the retransmission timeout
// (RFC 6298).
type congestion struct {
	allowed   int      // bytes that may be in flight
	threshold int      // where slow start ends
	collected int      // bytes acknowledged since the window last grew, beyond slow start
	repeats   int      // acknowledgements in a row that say nothing new
	order     uint64   // of the segment that was sent last, counting repetitions
	delivered uint64   // the highest order that is known to have arrived
	rescued   sequence // a recovery ends when this is acknowledged
	losing    bool     // a recovery is on: some segments are queued again
	forced    bool     // the first queued segment is sent whatever the window
	limited   bool     // the window was the bound since the last acknowledgement

	smoothed, variance time.Duration // of the round trip
	timeout            time.Duration
	backoff            int
	lastSent           time.Duration
}

// Bounds of RFC 6298, the least as Linux has it, and the initial window of RFC 6928.
const (
	firstTimeout = time.Second
	leastTimeout = 200 * time.Millisecond
	mostTimeout  = 120 * time.Second
	firstWindow  = 10
	duplicates   = 3
)

func (g *congestion) start(mss int) {
	g.allowed, g.threshold, g.timeout = firstWindow*mss, 1<<30, firstTimeout
}

// measure takes a round trip.
func (g *congestion) measure(rtt time.Duration) {
	if g.smoothed == 0 {
		g.smoothed, g.variance = rtt, rtt/2
	} else {
		g.variance += ((g.smoothed - rtt).Abs() - g.variance) / 4
		g.smoothed += (rtt - g.smoothed) / 8
	}
	g.timeout = min(max(g.smoothed+max(time.Millisecond, 4*g.variance), leastTimeout), mostTimeout)
}

// idle starts anew after a silence (RFC 5681 section 4.1).
func (c *Conn) idle(now time.Duration, pipe int) {
	if pipe == 0 && c.lastSent > 0 && now-c.lastSent > c.timeout && !c.losing {
		c.allowed = min(c.allowed, firstWindow*c.mss)
	}
	c.lastSent = now
}

// pipe is how much is in flight.
func (c *Conn) pipe() int {
	n := 0
	for i := range c.outgoing {
		o := &c.outgoing[i]
		if o.times == 0 {
			break // behind it none was sent
		}
		if o.state == flying {
			n += int(o.length())
		}
	}
	if !c.sackable { // each repetition says that something has left
		n = max(0, n-c.repeats*c.mss)
	}
	return n
}

// acknowledged takes what a segment says of ours.
func (c *Conn) acknowledged(g *segment) {
	before := c.sndUna
	fresh := int(int32(g.ack - c.sndUna))
	news := false
	if c.sackable && len(g.options) > 0 {
		news = c.markArrived(g.options)
	}
	widened := c.updateWindow(g)
	switch {
	case fresh > 0:
		c.advance(g.ack, fresh)
	case g.ack == before && len(g.payload) == 0 && !g.has(flagFIN) && !widened && len(c.outgoing) > 0 && c.sndNext != c.sndUna:
		c.repeated(news)
	}
	if c.state != closed && len(c.outgoing) > 0 {
		c.touch()
	}
}

// updateWindow takes the peer's window (RFC 9293 section 3.10.7.4) and says whether it changed.
func (c *Conn) updateWindow(g *segment) bool {
	if g.ack.before(c.sndUna) || !(c.sndWL1.before(g.seq) || c.sndWL1 == g.seq && c.sndWL2.upTo(g.ack)) {
		return false
	}
	w := int(g.window) << c.sndShift
	changed := w != c.sndWindow
	c.sndWindow, c.sndWL1, c.sndWL2 = w, g.seq, g.ack
	c.maxWindow = max(c.maxWindow, w)
	if w > 0 && changed {
		c.probing = false
	}
	return changed
}

// advance takes an acknowledgement of new bytes.
func (c *Conn) advance(ack sequence, fresh int) {
	c.sndUna = ack
	n := 0
	for n < len(c.outgoing) && c.outgoing[n].end().upTo(ack) {
		c.queued -= c.outgoing[n].bytes
		c.delivered = max(c.delivered, c.outgoing[n].order)
		c.stack.drop(c.outgoing[n])
		n++
	}
	if n > 0 && c.outgoing[n-1].times == 1 { // Karn: of what was sent twice nobody knows which one is meant
		c.measure(c.stack.now - c.outgoing[n-1].sent)
	}
	c.outgoing = c.outgoing[:copy(c.outgoing, c.outgoing[n:])]
	c.backoff, c.giveUp, c.repeats = 0, 0, 0
	c.grown(ack, fresh)
	c.retransmit = 0
	c.armRetransmit()
	if len(c.outgoing) == 0 && c.finished {
		c.finAcknowledged()
		return
	}
	c.news()
}

// grown opens the congestion window, or goes on with a recovery.
func (c *Conn) grown(ack sequence, fresh int) {
	if c.losing {
		if c.rescued.upTo(ack) {
			c.losing = false
			c.allowed = min(c.allowed, max(c.threshold, 2*c.mss))
			return
		}
		if len(c.outgoing) > 0 && c.outgoing[0].order < c.delivered { // the next hole
			c.lose(0)
			c.forced = true
		}
		c.findHoles()
		if c.allowed < c.threshold { // after a timeout: slow start
			c.allowed += min(fresh, c.mss)
		}
		return
	}
	if !c.limited {
		return // what is not used says nothing of the network (RFC 7661)
	}
	c.limited = false
	if c.allowed < c.threshold {
		c.allowed += min(fresh, 2*c.mss)
		return
	}
	if c.collected += fresh; c.collected >= c.allowed {
		c.collected -= c.allowed
		c.allowed += c.mss
	}
}

// repeated takes an acknowledgement that says nothing new, unless by SACK.
func (c *Conn) repeated(news bool) {
	if c.sackable && !news {
		return // an answer to a probe, or to what came twice
	}
	c.repeats++
	c.stack.stats.Repeats++
	switch {
	case c.losing:
		c.findHoles()
	case c.repeats >= duplicates, c.sackable && c.outgoing[0].order+duplicates <= c.delivered:
		c.enterRecovery()
	}
}

// enterRecovery halves the window and sends the first segment again.
func (c *Conn) enterRecovery() {
	c.stack.stats.Recoveries++
	c.losing, c.forced = true, true
	c.rescued = c.sndNext
	c.threshold = max(int(c.sndNext-c.sndUna)/2, 2*c.mss)
	c.allowed, c.collected = c.threshold, 0
	c.lose(0)
	c.findHoles()
}

// lose queues a segment again.
func (c *Conn) lose(i int) {
	if o := &c.outgoing[i]; o.state == flying {
		o.state = queued
	}
}

// markArrived notes what SACK says has arrived, and says whether that is new.
func (c *Conn) markArrived(options []byte) (news bool) {
	sacked(options, func(s span) {
		if s.start.before(c.sndUna) || c.sndNext.before(s.end) || !s.start.before(s.end) {
			return // old, or made up
		}
		for i := range c.outgoing {
			o := &c.outgoing[i]
			if o.state != arrived && o.times > 0 && s.start.upTo(o.seq) && o.end().upTo(s.end) {
				o.state, news = arrived, true
				c.delivered = max(c.delivered, o.order)
			}
		}
	})
	return news
}

// findHoles queues what is missing: three segments that were sent after it, or more, and one of them has arrived. So repetitions that are
// lost are found, too.
func (c *Conn) findHoles() {
	for i := range c.outgoing {
		if c.outgoing[i].order+duplicates <= c.delivered {
			c.lose(i)
		}
	}
}

// timedOut sends all again, slowly.
func (c *Conn) timedOut() {
	c.stack.stats.Timeouts++
	c.threshold = max(int(c.sndNext-c.sndUna)/2, 2*c.mss)
	c.allowed, c.collected, c.repeats = c.mss, 0, 0
	c.losing, c.forced = true, true
	c.rescued = c.sndNext
	dropped := c.outgoing[0].state == arrived || c.backoff > 1 // what had arrived may have been dropped since (RFC 2018 section 8)
	for i := range c.outgoing {
		if o := &c.outgoing[i]; o.state == flying || dropped && o.times > 0 {
			o.state = queued
		}
	}
	c.touch()
}

// finAcknowledged is the end of our half.
func (c *Conn) finAcknowledged() {
	switch c.state {
	case finWait1:
		c.state = finWait2
		c.life = c.stack.now + lingerTime
	case closing:
		c.wait()
	case lastAck:
		c.end(nil)
	}
}
