package tcp

import (
	"errors"
	"net/netip"
	"time"
)

// state is that of a connection (RFC 9293 section 3.3.2). LISTEN is the stack's, SYN-RECEIVED a [halfOpen].
type state byte

const (
	established state = iota
	closeWait         // the peer has ended
	finWait1          // we have
	finWait2
	closing
	lastAck
	timeWait
	closed
)

// Why a connection ended that nobody closed.
var (
	ErrReset   = errors.New("the peer reset the connection")
	ErrTimeout = errors.New("the peer does not answer")
)

// Conn is a connection.
type Conn struct {
	Tag uint64 // the user's own

	stack    *Stack
	peer     key
	mac      [6]byte
	state    state
	err      error
	accepted bool
	named    bool // is in Stack.ready
	dirty    bool // is in Stack.dirty
	deaf     bool // the user has closed: what arrives is acknowledged and dropped

	// Receiving, named as in RFC 9293 section 3.3.1.
	rcvNext  sequence // the next one that is expected
	rcvEdge  sequence // the window ends before it
	rcvShift byte
	ordered  pieces // wait to be read
	early    pieces // wait for what is missing before them
	unread   int    // bytes of ordered
	newest   span   // the early piece that came last
	ackNow   bool
	unacked  int  // segments that were not acknowledged
	sackable bool // the peer understands SACK

	// Sending.
	sndUna, sndNext sequence
	sndWindow       int
	sndShift        byte
	sndWL1, sndWL2  sequence // of the segment that the window is from
	maxWindow       int
	mss             int
	outgoing        []outgoing
	queued          int // bytes of outgoing
	finished        bool

	congestion
	clocks
}

// establish makes a connection of a handshake that the segment g ends.
func (s *Stack) establish(g *segment, o offer, irs, iss sequence) {
	c := &Conn{stack: s, peer: g.from, mac: g.mac, rcvNext: irs + 1, sndUna: iss + 1, sndNext: iss + 1,
		mss: min(o.mss, s.cfg.MTU-ipBytes-tcpBytes), sackable: o.sackable, sndWL1: g.seq, sndWL2: g.ack}
	c.rcvEdge = c.rcvNext + sequence(min(s.cfg.ReceiveBytes, 0xffff)) // what the answer to the SYN said
	if o.scaling {
		c.rcvShift, c.sndShift = s.scale(), o.scale
	}
	c.sndWindow = int(g.window) << c.sndShift
	c.maxWindow = c.sndWindow
	c.congestion.start(c.mss)
	s.conns[g.from] = c
	s.fresh = append(s.fresh, c)
	s.stats.Accepted++
	c.input(g)
	c.schedule()
}

// Remote is the peer's address.
func (c *Conn) Remote() netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4(c.peer.address()), c.peer.port())
}

// Peek returns the first bytes that wait to be read, as they lie in a frame, or nothing. They are valid until Discard.
func (c *Conn) Peek() []byte {
	if c.ordered.len() == 0 {
		return nil
	}
	return c.ordered.at(0).data
}

// Hold holds the frame in which Peek's bytes lie, for a user who needs them longer than until Discard, and returns it. He releases it to the
// link. How many frames are held so is for him to bound.
func (c *Conn) Hold() (frame uint32) {
	frame = c.ordered.at(0).frame
	c.stack.cfg.Link.Hold(frame)
	return frame
}

// Unread is how many bytes wait to be read.
func (c *Conn) Unread() int { return c.unread }

// Discard drops the first n bytes that wait to be read.
func (c *Conn) Discard(n int) {
	for n > 0 {
		p := c.ordered.at(0)
		if n < len(p.data) {
			p.data = p.data[n:]
			c.unread -= n
			break
		}
		n -= len(p.data)
		c.unread -= len(p.data)
		c.stack.held.ordered--
		c.stack.release(p.frame)
		c.ordered.pop()
	}
	if c.opens() {
		c.ackNow = true
		c.touch()
	}
}

// Ended says that nothing more will come: the peer has ended its half, and all was read, or the connection is gone.
func (c *Conn) Ended() bool {
	return c.unread == 0 && c.state != established && c.state != finWait1 && c.state != finWait2
}

// Err is why the connection is gone, nil if it is not or was closed in order.
func (c *Conn) Err() error { return c.err }

// Gone says that nothing can be sent any more.
func (c *Conn) Gone() bool { return c.state == closed }

// Write takes bytes to send, as many as there is room for, and says how many. [Stack.Flush] sends them.
func (c *Conn) Write(p []byte) int {
	if c.deaf || c.state != established && c.state != closeWait {
		return 0
	}
	n := 0
	for n < len(p) {
		k := c.enqueue(p[n:])
		if k == 0 {
			break
		}
		n += k
	}
	if n > 0 {
		c.touch()
	}
	return n
}

// Room says whether Write would take anything.
func (c *Conn) Room() bool { return c.queued < c.stack.cfg.SendBytes }

// Close ends the connection in order: what was written is sent. Nothing is read any more.
func (c *Conn) Close() {
	if c.deaf || c.state == closed {
		return
	}
	c.deaf = true
	c.forget(&c.early, &c.stack.held.early)
	c.forget(&c.ordered, &c.stack.held.ordered)
	c.unread = 0
	switch c.state {
	case established:
		c.state = finWait1
	case closeWait:
		c.state = lastAck
	}
	c.finish()
	c.life = 0
	c.touch()
	c.schedule()
}

// Abort ends the connection at once.
func (c *Conn) Abort() {
	if c.state == closed {
		return
	}
	if c.state != timeWait {
		c.stack.send(&header{to: c.peer, mac: c.mac, seq: c.sndNext, ack: c.rcvNext, flags: flagRST | flagACK})
	}
	c.end(nil)
}

// end forgets the connection.
func (c *Conn) end(err error) {
	if c.state == closed {
		return
	}
	s := c.stack
	if c.state == timeWait {
		s.waiting--
	}
	c.state, c.err = closed, err
	if s.conns[c.peer] == c {
		delete(s.conns, c.peer)
	}
	s.timers.remove(c)
	c.forget(&c.early, &s.held.early)
	c.forget(&c.ordered, &s.held.ordered)
	c.unread = 0
	for _, o := range c.outgoing {
		s.drop(o)
	}
	c.outgoing, c.queued = nil, 0
	if err != nil {
		s.stats.Broken++
	}
	c.news()
}

// forget releases pieces.
func (c *Conn) forget(p *pieces, held *int) {
	for ; p.len() > 0; p.pop() {
		*held--
		c.stack.release(p.at(0).frame)
	}
}

// news has the user look at the connection.
func (c *Conn) news() {
	if !c.named && !c.deaf && c.accepted {
		c.named = true
		c.stack.ready = append(c.stack.ready, c)
	}
}

// touch has Flush look at the connection.
func (c *Conn) touch() {
	if !c.dirty && c.state != closed {
		c.dirty = true
		c.stack.dirty = append(c.stack.dirty, c)
	}
}

// wait is TIME-WAIT: the peer may not have heard our last acknowledgement.
func (c *Conn) wait() {
	c.state = timeWait
	c.stack.waiting++
	c.life = c.stack.now + timeWaitTime
	c.retransmit = 0
	c.forget(&c.early, &c.stack.held.early)
	c.forget(&c.ordered, &c.stack.held.ordered)
	c.unread = 0
	if c.stack.waiting > maxWaiting {
		c.stack.dropWaiting()
	}
}

// maxWaiting bounds the connections in TIME-WAIT.
const maxWaiting = 4096

// dropWaiting ends a connection in TIME-WAIT, any: the map's order is none.
func (s *Stack) dropWaiting() {
	for _, c := range s.conns {
		if c.state == timeWait {
			c.end(nil)
			return
		}
	}
}

// Times of RFC 9293 and of Linux.
const (
	timeWaitTime = 60 * time.Second // twice MSL as most have it
	lingerTime   = 60 * time.Second // that a peer may take to end its half when ours is ended
)
