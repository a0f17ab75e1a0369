package vsock

import "time"

// window is how many bytes of one connection the guest may have on the way: credit, and the most that a ring holds. It is the size of an
// AF_VSOCK socket's buffer in Linux.
const window = 256 << 10

// key names a connection: its ports at the two ends.
type key struct{ host, guest uint32 }

// state is where a connection is in its life.
type state uint8

const (
	stateFree     state = iota
	stateHello          // a client of the host that has not said which port it wants; it has no key
	stateAsked          // the guest was asked for a connection and has not answered
	stateOpen           //
	stateClosing        // nothing comes from the host any more, nothing goes there, and the guest knows; it says when it is done
	stateReset          // the guest has yet to hear that the connection is no more
	stateDraining       // the guest is done and has forgotten the connection, but its last bytes are on the way to the host; it has no key
)

// say are the packets without payload that a connection has for the guest. They wait here as bits while the guest gives no
// buffer, so that nothing grows.
type say uint8

const (
	sayReset say = 1 << iota
	sayRequest
	sayResponse
	sayCreditUpdate
	sayCreditRequest
	sayShutdown
)

// conn is a connection, and a client of the host before it is one. It belongs to the goroutine of its mux.
type conn struct {
	slot, age int32 // where it is in mux.slots; which use of the slot this is
	key       key
	state     state
	fd        int           // a Unix socket, -1 when it is closed
	deadline  time.Duration // of the state, in time since the mux began; 0: none

	next   *conn // in mux.ready
	queued bool
	say    say

	line [maxLine]byte // of a client in stateHello
	got  int           // bytes of it

	// What the socket's last edges said.
	readable bool
	hung     bool // the host's end is closed altogether

	// From the guest to the host. The counters wrap.
	ring      ring
	received  uint32 // bytes that came from the guest
	forwarded uint32 // of these, bytes that the host took
	told      uint32 // forwarded, as the guest knows it
	guestSaid uint32 // flags of the guest's shutdown
	deaf      bool   // the host takes no more

	// From the host to the guest.
	sent               uint32 // bytes, wraps
	peerAlloc, peerFwd uint32 // what the guest said last
	asked              bool   // for credit, and there was none since
	ended              bool   // the host sends no more, or the guest wants no more
}

// credit is how many bytes the guest has room for. What makes no sense is none.
func (c *conn) credit() int {
	underway := c.sent - c.peerFwd
	if underway > c.peerAlloc {
		return 0
	}
	return int(c.peerAlloc - underway)
}

// heard takes over what a packet of the guest says about room for bytes.
func (c *conn) heard(h *header) {
	c.peerAlloc, c.peerFwd = h.bufAlloc, h.fwdCnt
	if c.credit() > 0 {
		c.asked = false
	}
}

// flows says whether bytes of the host can go to the guest, or a question for credit.
func (c *conn) flows() bool {
	return c.state == stateOpen && c.readable && !c.ended && (c.credit() > 0 || !c.asked)
}

// took notes that the host took n bytes, and tells the guest before it runs out of credit.
func (c *conn) took(n int) {
	c.forwarded += uint32(n)
	if c.forwarded-c.told >= window/2 && c.state == stateOpen {
		c.say |= sayCreditUpdate
	}
}

// over says that no byte can move any more in either direction.
func (c *conn) over() bool {
	return c.ended && (c.deaf || c.guestSaid&noSend != 0 && c.ring.n == 0)
}

// shutdown are the flags that tell the guest what the host does no more.
func (c *conn) shutdown() (flags uint32) {
	if c.deaf {
		flags |= noReceive
	}
	if c.ended {
		flags |= noSend
	}
	return flags
}

// list is a queue of connections.
type list struct{ first, last *conn }

func (l *list) push(c *conn) {
	if c.queued {
		return
	}
	c.queued, c.next = true, nil
	if l.last == nil {
		l.first = c
	} else {
		l.last.next = c
	}
	l.last = c
}

func (l *list) pop() *conn {
	c := l.first
	if l.first = c.next; l.first == nil {
		l.last = nil
	}
	c.queued, c.next = false, nil
	return c
}
