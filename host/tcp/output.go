package tcp

import "time"

// outgoing is a segment that was written and not acknowledged. Its payload lies in its frame where it is sent from.
type outgoing struct {
	frame uint32
	room  []byte // the frame
	bytes int    // of payload
	seq   sequence
	fin   bool
	state flight
	sent  time.Duration // when it was last sent
	times int           // that it was sent
	order uint64        // when it was last sent, among all that were
}

// flight is where a segment is, as far as we know.
type flight byte

const (
	queued flight = iota // is to be sent, for the first time or again
	flying
	arrived // the peer says so, but it may change its mind
)

func (o *outgoing) length() sequence {
	if o.fin {
		return sequence(o.bytes) + 1
	}
	return sequence(o.bytes)
}

func (o *outgoing) end() sequence { return o.seq + o.length() }

// tail is the sequence number of the next byte that is written.
func (c *Conn) tail() sequence {
	if n := len(c.outgoing); n > 0 {
		return c.outgoing[n-1].end()
	}
	return c.sndNext
}

// enqueue takes bytes into the last segment, if it was not sent, or a new one, and says how many.
func (c *Conn) enqueue(p []byte) int {
	if c.queued >= c.stack.cfg.SendBytes {
		return 0
	}
	if n := len(c.outgoing); n > 0 {
		if last := &c.outgoing[n-1]; last.state == queued && last.times == 0 && last.bytes < c.mss && !last.fin && len(last.room) > atPayload+last.bytes {
			k := copy(last.room[atPayload+last.bytes:min(len(last.room), atPayload+c.mss)], p)
			last.bytes += k
			c.queued += k
			c.stack.stats.BytesCopied += uint64(k)
			return k
		}
	}
	if !c.grow() {
		return 0
	}
	last := &c.outgoing[len(c.outgoing)-1]
	last.bytes = copy(last.room[atPayload:min(len(last.room), atPayload+c.mss)], p)
	c.queued += last.bytes
	c.stack.stats.BytesCopied += uint64(last.bytes)
	return last.bytes
}

// grow adds an empty segment. A connection that has none may always have one, so that it gets acknowledgements, which make room.
func (c *Conn) grow() bool {
	s := c.stack
	if len(c.outgoing) > 0 && (s.held.sending >= s.cfg.Frames/4 || len(c.outgoing) >= s.cfg.SendBytes/mergeBelow+4) {
		s.stats.NoMemory++
		return false
	}
	f, room, ok := s.cfg.Link.Frame()
	if !ok {
		s.stats.NoFrame++
		return false
	}
	s.held.sending++
	c.outgoing = append(c.outgoing, outgoing{frame: f, room: room, seq: c.tail()})
	return true
}

// finish puts our FIN behind all that was written. Without a frame for it the connection ends by a reset.
func (c *Conn) finish() {
	if c.finished {
		return
	}
	c.finished = true
	n := len(c.outgoing)
	if n == 0 || c.outgoing[n-1].times > 0 || c.outgoing[n-1].state != queued {
		if !c.grow() {
			c.Abort()
			return
		}
		n = len(c.outgoing)
	}
	c.outgoing[n-1].fin = true
}

// drop gives a segment's frame back.
func (s *Stack) drop(o outgoing) {
	s.held.sending--
	s.release(o.frame)
}

// output sends what the windows allow, and an acknowledgement if nothing carried it.
func (c *Conn) output() {
	sent := c.outputData()
	if c.state == closed {
		return
	}
	if !sent && (c.ackNow || c.unacked >= 2 || c.opens()) {
		c.acknowledge()
	}
	if c.unacked > 0 && c.delayed == 0 {
		c.delayed = c.stack.now + delayTime
	}
	c.schedule()
}

// outputData sends segments that are queued, in order.
func (c *Conn) outputData() (sent bool) {
	if c.allFlown() {
		return false
	}
	pipe := c.pipe()
	edge := c.sndUna + sequence(c.sndWindow)
	c.idle(c.stack.now, pipe)
	for i := range c.outgoing {
		o := &c.outgoing[i]
		if o.state != queued {
			continue
		}
		if !c.forced && pipe > 0 && pipe+int(o.length()) > c.allowed {
			c.limited = true
			break
		}
		if edge.before(o.seq + sequence(o.bytes)) { // FIN needs no window
			if !c.fits(i, edge, pipe) {
				break
			}
			o = &c.outgoing[i]
		}
		if !c.transmit(o) {
			c.touch()
			break
		}
		c.forced = false
		sent = true
		pipe += int(o.length())
	}
	c.armRetransmit()
	return sent
}

// allFlown says that no segment is queued. Segments are sent in order, so that but for repetitions the last one tells.
func (c *Conn) allFlown() bool {
	n := len(c.outgoing)
	return n == 0 || !c.losing && c.outgoing[n-1].state != queued
}

// fits cuts a segment to the window, if there is no other way to go on: nothing is in flight whose acknowledgement could open it, and the
// window is no tiny part of what it was (RFC 9293 section 3.8.6.2.1).
func (c *Conn) fits(i int, edge sequence, pipe int) bool {
	room := int(int32(edge - c.outgoing[i].seq))
	if room <= 0 || pipe > 0 || (room < c.maxWindow/2 && !c.probing) {
		return false
	}
	return c.split(i, room)
}

// split makes two segments of one, the first with n bytes.
func (c *Conn) split(i, n int) bool {
	o := &c.outgoing[i]
	f, room, ok := c.stack.cfg.Link.Frame()
	if !ok || c.stack.cfg.Link.Busy(o.frame) {
		if ok {
			c.stack.release(f)
		}
		return false
	}
	c.stack.held.sending++
	rest := outgoing{frame: f, room: room, bytes: o.bytes - n, seq: o.seq + sequence(n), fin: o.fin, times: o.times, sent: o.sent, order: o.order}
	copy(room[atPayload:], o.room[atPayload+n:atPayload+o.bytes])
	o.bytes, o.fin = n, false
	c.outgoing = append(c.outgoing, outgoing{})
	copy(c.outgoing[i+2:], c.outgoing[i+1:])
	c.outgoing[i+1] = rest
	return true
}

// transmit sends one segment. One that the link still has from the last time cannot be changed, and is tried again later.
func (c *Conn) transmit(o *outgoing) bool {
	s := c.stack
	flags := byte(flagACK)
	if o.bytes > 0 {
		flags |= flagPSH
	}
	if o.fin {
		flags |= flagFIN
	}
	if s.cfg.Link.Busy(o.frame) {
		s.stats.NoRoom++
		return false
	}
	h := header{to: c.peer, mac: c.mac, seq: o.seq, ack: c.rcvNext, flags: flags, window: c.advertise()}
	if !s.cfg.Link.Send(o.frame, s.write(o.room, &h, o.bytes)) {
		s.stats.NoRoom++
		return false
	}
	s.stats.Sent++
	c.acked()
	if o.times > 0 {
		s.stats.Retransmitted++
	}
	o.state, o.sent = flying, s.now
	o.times++
	c.order++
	o.order = c.order
	c.sndNext = latest(c.sndNext, o.end())
	return true
}

// advertise is the window as a header has it.
func (c *Conn) advertise() uint16 {
	w := c.window()
	c.rcvEdge = c.rcvNext + w
	return uint16(min(w>>c.rcvShift, 0xffff))
}

// acked notes that the peer was told what has arrived.
func (c *Conn) acked() { c.ackNow, c.unacked, c.delayed = false, 0, 0 }

// acknowledge sends what has arrived, and nothing else.
func (c *Conn) acknowledge() {
	var room [maxOptions]byte
	var spans [maxSpans]span
	h := header{to: c.peer, mac: c.mac, seq: c.sndNext, ack: c.rcvNext, flags: flagACK, window: c.advertise()}
	if c.early.len() > 0 {
		h.options = appendSACK(room[:0], c.spans(spans[:0]))
	}
	if c.stack.send(&h) {
		c.acked()
	} else {
		c.touch()
	}
}

// probe asks a peer for an acknowledgement, by a sequence number that it has acknowledged (RFC 1122 section 4.2.3.6).
func (c *Conn) probe() {
	c.stack.stats.Probes++
	c.stack.send(&header{to: c.peer, mac: c.mac, seq: c.sndUna - 1, ack: c.rcvNext, flags: flagACK, window: c.advertise()})
}
