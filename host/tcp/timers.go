package tcp

import (
	"container/heap"
	"time"
)

// clocks are the times at which a connection has something to do; 0 is never.
type clocks struct {
	retransmit time.Duration // or to ask for a window
	delayed    time.Duration // acknowledgement
	life       time.Duration // keep-alive, or the end of a connection that was closed
	giveUp     time.Duration // since when the peer has not acknowledged anything
	challenged time.Duration // no challenge before it
	asked      int           // keep-alive probes without answer
	probing    bool          // the window is too small to go on

	due   time.Duration // where it is in the heap
	place int           // there, and 1; 0 is nowhere
}

// Times of Linux and of RFC 1122.
const (
	delayTime     = 40 * time.Millisecond
	giveUpTime    = 120 * time.Second // at least 100 s (RFC 1122 section 4.2.3.5)
	keepAliveTry  = 75 * time.Second
	keepAliveTry9 = 9
)

// timers is a heap of connections by their first clock.
type timers struct{ all byDue }

type byDue []*Conn

func (h byDue) Len() int           { return len(h) }
func (h byDue) Less(i, j int) bool { return h[i].due < h[j].due }
func (h byDue) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i+1, j+1
}
func (h *byDue) Push(x any) {
	c := x.(*Conn)
	*h = append(*h, c)
	c.place = len(*h)
}
func (h *byDue) Pop() any {
	n := len(*h) - 1
	c := (*h)[n]
	(*h)[n] = nil
	*h = (*h)[:n]
	c.place = 0
	return c
}

func (t *timers) next() (time.Duration, bool) {
	if len(t.all) == 0 {
		return 0, false
	}
	return t.all[0].due, true
}

func (t *timers) remove(c *Conn) {
	if c.place > 0 {
		heap.Remove(&t.all, c.place-1)
	}
}

// schedule puts the connection where its first clock says. A clock that moves back is noticed when the old time comes.
func (c *Conn) schedule() {
	if c.state == closed {
		return
	}
	due := time.Duration(0)
	for _, at := range [...]time.Duration{c.retransmit, c.delayed, c.life} {
		if at > 0 && (due == 0 || at < due) {
			due = at
		}
	}
	t := &c.stack.timers
	switch {
	case due == 0 || c.place > 0 && c.due <= due:
	case c.place > 0:
		c.due = due
		heap.Fix(&t.all, c.place-1)
	default:
		c.due = due
		heap.Push(&t.all, c)
	}
}

// expire does what is due.
func (s *Stack) expire() {
	for len(s.timers.all) > 0 && s.timers.all[0].due <= s.now {
		c := s.timers.all[0]
		s.timers.remove(c)
		c.tick()
		c.schedule()
	}
}

// tick does what is due of one connection.
func (c *Conn) tick() {
	now := c.stack.now
	if c.delayed > 0 && c.delayed <= now {
		c.delayed = 0
		c.ackNow = true
		c.touch()
	}
	if c.life > 0 && c.life <= now {
		c.lifeEnds()
	}
	if c.retransmit > 0 && c.retransmit <= now && c.state != closed {
		c.silence()
	}
}

// lifeEnds ends a connection that takes too long to close, or asks a silent peer whether it lives.
func (c *Conn) lifeEnds() {
	switch {
	case c.state == timeWait:
		c.end(nil)
	case c.deaf:
		c.Abort()
	case c.asked >= keepAliveTry9:
		c.Abort()
		c.err = ErrTimeout
	default:
		c.asked++
		c.life = c.stack.now + keepAliveTry
		c.probe()
	}
}

// heard notes that the peer lives.
func (c *Conn) heard() {
	c.asked = 0
	if c.sndWindow == 0 && !c.deaf {
		c.giveUp = 0 // it may keep its window closed for as long as it likes, if it says so
	}
	if c.state != timeWait && !c.deaf {
		c.life = c.stack.now + c.stack.cfg.KeepAlive
	}
}

// armRetransmit starts the clock if something is in flight or has no window to be sent into.
func (c *Conn) armRetransmit() {
	switch {
	case len(c.outgoing) == 0:
		c.retransmit = 0
	case c.retransmit == 0:
		c.retransmit = c.stack.now + min(c.timeout<<c.backoff, mostTimeout)
	}
}

// silence is a peer that acknowledges nothing for too long: what is in flight is sent again; if nothing is, the peer is asked for its window.
func (c *Conn) silence() {
	now := c.stack.now
	if c.giveUp == 0 {
		c.giveUp = now + giveUpTime
	}
	if c.giveUp <= now {
		c.Abort()
		c.err = ErrTimeout
		return
	}
	c.backoff = min(c.backoff+1, 16)
	c.probing = true
	if c.sndNext != c.sndUna {
		c.timedOut()
	}
	if c.sndNext == c.sndUna || c.sndWindow == 0 {
		c.probe()
	}
	c.touch()
	c.retransmit = 0
	c.armRetransmit()
}
