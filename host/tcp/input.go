package tcp

import "time"

// input takes a segment that is for the connection, by the steps of RFC 9293 section 3.10.7.4.
func (c *Conn) input(g *segment) {
	if !c.acceptable(g) {
		c.stack.stats.OutOfWindow++
		switch {
		case g.has(flagRST):
		case g.length() > 0: // it repeats itself, so it has not heard us
			c.ackNow = true
			c.touch()
		default: // it asks whether we live; but two that disagree must not answer each other for ever
			c.challenge()
		}
		return
	}
	switch {
	case g.has(flagRST):
		if g.seq == c.rcvNext { // RFC 5961 section 3.2
			c.end(ErrReset)
		} else {
			c.challenge()
		}
		return
	case g.has(flagSYN): // RFC 5961 section 4.2
		c.challenge()
		return
	case !g.has(flagACK):
		return
	case c.sndNext.before(g.ack), g.ack.before(c.sndUna - sequence(c.maxWindow)): // RFC 5961 section 5.2
		c.challenge()
		return
	}
	c.heard()
	c.mac = g.mac
	c.acknowledged(g)
	if c.state == closed {
		return
	}
	if c.state == timeWait {
		if g.length() > 0 {
			c.ackNow = true
			c.life = c.stack.now + timeWaitTime
			c.touch()
		}
		c.schedule()
		return
	}
	c.receive(g)
	c.schedule()
}

// acceptable says whether a segment lies in the window, and cuts off what lies behind it. With a window of 0 what is not data counts.
func (c *Conn) acceptable(g *segment) bool {
	n := g.length()
	switch {
	case n == 0:
		return c.rcvNext.upTo(g.seq) && g.seq.upTo(c.rcvEdge)
	case c.rcvEdge == c.rcvNext && g.seq == c.rcvNext:
		if !g.has(flagRST | flagSYN) {
			c.ackNow = true
			c.touch()
		}
	case !g.seq.before(c.rcvEdge), (g.seq + n).upTo(c.rcvNext):
		return false
	}
	if over := int(int32(g.seq + n - c.rcvEdge)); over > 0 {
		if g.has(flagFIN) {
			g.flags &^= flagFIN
			over--
		}
		g.payload = g.payload[:max(0, len(g.payload)-over)]
	}
	return true
}

// challengeEvery is how often a peer is asked whether it means it.
const challengeEvery = 500 * time.Millisecond

// challenge acknowledges what is there: a peer that knows nothing of it answers with a reset that counts (RFC 5961). The bound is each
// connection's own: a common one would tell others about it (CVE-2016-5696).
func (c *Conn) challenge() {
	if c.stack.now < c.challenged {
		return
	}
	c.challenged = c.stack.now + challengeEvery
	c.stack.stats.Challenges++
	c.ackNow = true
	c.touch()
}

// receive takes a segment's payload, and its FIN.
func (c *Conn) receive(g *segment) {
	start := g.seq
	if len(g.payload) > 0 {
		if before := int(int32(c.rcvNext - g.seq)); before > 0 { // partly a repetition
			if before >= len(g.payload) {
				c.ackNow = true
				g.payload, start = nil, g.seq+sequence(len(g.payload))
			} else {
				g.payload, start = g.payload[before:], c.rcvNext
			}
		}
	}
	end := start + sequence(len(g.payload))
	if len(g.payload) > 0 {
		if start == c.rcvNext {
			c.inOrder(g)
		} else {
			c.tooEarly(g, start)
		}
	}
	if g.has(flagFIN) && end == c.rcvNext {
		c.peerEnded()
	}
}

// tracks says whether the connection still cares for payload: after our Close it is dropped.
func (c *Conn) tracks() bool { return !c.deaf && c.state == established }

// inOrder takes payload that begins with the next byte.
func (c *Conn) inOrder(g *segment) {
	switch {
	case c.state != established && c.state != finWait1 && c.state != finWait2:
		return // behind the peer's FIN
	case !c.tracks():
		c.rcvNext += sequence(len(g.payload))
		c.rcvEdge = latest(c.rcvEdge, c.rcvNext)
		c.ackNow = true
		c.touch()
		return
	}
	if c.ordered.len() > 0 && c.stack.full() {
		c.stack.stats.NoMemory++ // unacknowledged, it comes again
		return
	}
	c.rcvNext += sequence(len(g.payload))
	c.store(g.payload, g.frame, g)
	c.unacked++
	if c.early.len() > 0 {
		c.catchUp()
		c.ackNow = true // RFC 5681 section 4.2
	}
	c.news()
	c.touch()
}

// mergeBelow is how short a payload is copied behind the one before it, so that a frame is not held for a few bytes.
const mergeBelow = 512

// store puts bytes behind what waits to be read. g is nil if the frame is held already.
func (c *Conn) store(data []byte, frame uint32, g *segment) {
	c.unread += len(data)
	if n := c.ordered.len(); n > 0 && len(data) <= mergeBelow {
		if last := c.ordered.at(n - 1); cap(last.data)-len(last.data) >= len(data) {
			last.data = append(last.data, data...)
			c.stack.stats.BytesMerged += uint64(len(data))
			if g == nil {
				c.stack.held.ordered--
				c.stack.release(frame)
			}
			return
		}
	}
	c.ordered.push(piece{frame: frame, data: data})
	if g != nil {
		g.kept = true
		c.stack.held.ordered++
	}
}

// full says that connections hold all frames they may for what they receive.
func (s *Stack) full() bool { return s.held.ordered+s.held.early >= s.cfg.Frames/4 }

// maxEarly is how many segments of one connection wait for what is missing before them.
const maxEarly = 256

// tooEarly keeps payload that does not begin with the next byte, without what is there already.
func (c *Conn) tooEarly(g *segment, start sequence) {
	c.ackNow = true
	c.touch()
	s := c.stack
	if !c.tracks() {
		return
	}
	if c.early.len() >= maxEarly || s.held.early >= s.cfg.Frames/8 || s.full() {
		s.stats.NoMemory++
		return
	}
	i := c.early.len()
	for i > 0 && start.before(c.early.at(i-1).seq) {
		i--
	}
	data := g.payload
	if i > 0 {
		if over := int(int32(c.early.at(i-1).end() - start)); over > 0 {
			if over >= len(data) {
				return
			}
			data, start = data[over:], start+sequence(over)
		}
	}
	for i < c.early.len() { // what follows and is covered goes; what is covered in part ends this one
		next := c.early.at(i)
		over := int(int32(start + sequence(len(data)) - next.seq))
		if over <= 0 {
			break
		}
		if over < len(next.data) {
			if data = data[:len(data)-over]; len(data) == 0 {
				return
			}
			break
		}
		s.held.early--
		s.release(next.frame)
		c.early.remove(i)
	}
	c.early.insert(i, piece{seq: start, frame: g.frame, data: data})
	c.newest = span{start, start + sequence(len(data))}
	g.kept = true
	s.held.early++
	s.stats.Early++
}

// catchUp reads on where a gap was closed.
func (c *Conn) catchUp() {
	s := c.stack
	for c.early.len() > 0 {
		p := *c.early.at(0)
		if c.rcvNext.before(p.seq) {
			return
		}
		c.early.pop()
		s.held.early--
		if p.end().upTo(c.rcvNext) {
			s.release(p.frame)
			continue
		}
		data := p.data[int(c.rcvNext-p.seq):]
		c.rcvNext = p.end()
		s.held.ordered++
		c.store(data, p.frame, nil)
	}
}

// peerEnded takes the peer's FIN.
func (c *Conn) peerEnded() {
	switch c.state {
	case established:
		c.state = closeWait
	case finWait1:
		c.state = closing
	case finWait2:
		c.wait()
	default:
		return
	}
	c.rcvNext++
	c.rcvEdge = latest(c.rcvEdge, c.rcvNext)
	c.ackNow = true
	c.news()
	c.touch()
}

// window is what the peer may send. It never takes back what was said.
func (c *Conn) window() sequence {
	free := sequence(max(0, c.stack.cfg.ReceiveBytes-c.unread))
	if c.rcvShift == 0 {
		free = min(free, 0xffff)
	}
	free = free >> c.rcvShift << c.rcvShift
	return max(free, c.rcvEdge-c.rcvNext)
}

// narrow is a window that may hold a peer up. A wider one is told by the next acknowledgement.
const narrow = 32 << 10

// opens says that the window has grown so much that the peer should know (RFC 9293 section 3.8.6.2.2).
func (c *Conn) opens() bool {
	grown := int32(c.rcvNext + c.window() - c.rcvEdge)
	left := int32(c.rcvEdge - c.rcvNext)
	return grown > 0 && left < int32(min(c.stack.cfg.ReceiveBytes/2, narrow)) && grown >= int32(min(2*c.mss, c.stack.cfg.ReceiveBytes/2))
}

// early pieces as the peer is told of them: the one that came last first (RFC 2018 section 4).
func (c *Conn) spans(room []span) []span {
	if !c.sackable {
		return room
	}
	var first span
	for i := 0; i < c.early.len(); {
		sp := span{c.early.at(i).seq, c.early.at(i).end()}
		for i++; i < c.early.len() && c.early.at(i).seq == sp.end; i++ {
			sp.end = c.early.at(i).end()
		}
		switch {
		case sp.start.upTo(c.newest.start) && c.newest.end.upTo(sp.end):
			first = sp
		case len(room) < maxSpans-1:
			room = append(room, sp)
		}
	}
	if first != (span{}) {
		room = append(room, first)
		room[0], room[len(room)-1] = room[len(room)-1], room[0]
	}
	return room
}
