package vsock

import (
	"time"

	"golang.org/x/sys/unix"

	"usui/machine/virtio"
)

// serveTx takes packets of the guest, and says whether there may be more.
func (m *mux) serveTx() (busy bool) {
	for range txBatch {
		if m.resets.full() {
			return false // the guest gets its answers before it is asked on
		}
		ok, err := m.tx.Pop(&m.out)
		if err != nil {
			m.broken = true
		}
		if !ok {
			return false
		}
		m.dev.counters.packetsFromGuest.Add(1)
		start := time.Now()
		m.packet(&m.out)
		m.tx.Push(m.out.Head, 0)
		m.dev.counters.time.Observe(time.Since(start))
	}
	return true
}

// packet handles a packet of the guest.
func (m *mux) packet(p *virtio.Chain) {
	var h header
	if !h.parse(p.Out) || h.srcCID != uint64(m.dev.CID) {
		m.dev.counters.dropped.Add(1)
		return
	}
	if h.dstCID != hostCID || h.kind != typeStream {
		m.refuse(&h)
		return
	}
	c := m.conns[key{host: h.dstPort, guest: h.srcPort}]
	switch {
	case c != nil:
		c.heard(&h)
		m.connected(c, &h, p)
	case h.op == opRequest:
		m.request(&h)
	default:
		m.refuse(&h)
	}
}

// refuse answers a packet of no connection.
func (m *mux) refuse(h *header) {
	if h.op != opReset {
		m.resets.push(h)
	}
}

// request opens a connection to a program of the host.
func (m *mux) request(h *header) {
	fd := -1
	if !m.full() {
		fd, _ = connect(portPath(m.dev.Path, h.dstPort)) // whatever the reason, the guest hears that the connection is refused
	}
	if fd >= 0 {
		if c := m.add(fd, stateOpen); c != nil {
			c.key = key{host: h.dstPort, guest: h.srcPort}
			m.conns[c.key] = c
			c.heard(h)
			m.dev.counters.opened.Add(1)
			m.tell(c, sayResponse)
			return
		}
	}
	m.dev.counters.refused.Add(1)
	m.refuse(h)
}

// connected handles a packet of a connection.
func (m *mux) connected(c *conn, h *header, p *virtio.Chain) {
	switch {
	case h.op == opReset:
		if c.state == stateAsked {
			m.dev.counters.refused.Add(1)
		}
		m.free(c)
	case c.state == stateReset: // it will hear
	case h.op == opCreditUpdate:
		m.wants(c)
	case h.op == opCreditRequest:
		m.tell(c, sayCreditUpdate)
	case h.op == opResponse && c.state == stateAsked:
		m.answered(c)
	case c.state == stateAsked:
		m.violate(c)
	case h.op == opData && c.state == stateClosing: // it was on the way when the host closed
	case h.op == opData:
		m.data(c, h, p)
	case h.op == opShutdown:
		m.shutdown(c, h)
	default: // a request or a response for a connection that is there, or an operation that is none
		m.violate(c)
	}
}

// data brings a packet's payload to the host: into the socket, and what that does not take into the ring.
func (m *mux) data(c *conn, h *header, p *virtio.Chain) {
	room := window - (c.received - c.forwarded)
	if uint64(h.len) > uint64(p.OutLen-headerSize) || h.len > room || c.guestSaid&noSend != 0 {
		m.violate(c)
		return
	}
	c.received += h.len
	m.dev.counters.bytesFromGuest.Add(uint64(h.len))
	parts, _ := appendPayload(m.parts[:0], p.Out, int(h.len))
	if c.ring.n == 0 && len(parts) > 0 && !c.deaf {
		n := m.send(c, parts)
		parts = advance(parts, n)
	}
	switch {
	case len(parts) == 0 || c.state != stateOpen:
	case c.deaf:
		for _, b := range parts {
			c.took(len(b)) // into nothing
		}
	case c.ring.mem == nil && m.dev.pool.take(&c.ring) != nil:
		m.kill(c) // the host is out of memory
		return
	default:
		stalled := c.ring.n == 0
		c.ring.append(parts)
		if stalled {
			m.dev.counters.stalls.Add(1)
			m.stall(c)
		}
	}
	m.wants(c)
}

// send writes to a connection's socket what that takes now, and returns how much that is.
func (m *mux) send(c *conn, parts [][]byte) int {
	n, errno := m.vector.send(c.fd, parts)
	c.took(n)
	if errno != 0 && errno != unix.EAGAIN {
		m.deafen(c)
	}
	return n
}

// deafen notes that the host takes no more, and tells the guest.
func (m *mux) deafen(c *conn) {
	c.deaf = true
	c.took(c.ring.n)
	m.dev.pool.give(&c.ring)
	switch {
	case c.state == stateDraining:
		m.free(c)
	case c.guestSaid&noReceive != 0:
		m.kill(c) // and the guest takes no more either
	case c.state == stateOpen:
		m.tell(c, sayShutdown)
		m.settle(c)
	}
}

// stall waits for room in a socket. There may be some by now: that is an edge, too.
func (m *mux) stall(c *conn) {
	if err := m.poller.change(c.fd, interestStall, c.slot, c.age); err != nil {
		m.kill(c)
	}
}

// flush brings bytes of the ring to the host.
func (m *mux) flush(c *conn) {
	for c.ring.n > 0 {
		m.parts = c.ring.appendTo(m.parts[:0])
		n := m.send(c, m.parts)
		if n == 0 {
			return
		}
		c.ring.drop(n)
	}
	m.dev.pool.give(&c.ring)
	switch {
	case c.state == stateDraining:
		m.free(c)
		return
	case m.poller.change(c.fd, interest, c.slot, c.age) != nil:
		m.kill(c)
		return
	case c.guestSaid&noSend != 0:
		m.endHost(c)
	}
	m.wants(c)
}

// shutdown follows the guest's word on what it will do no more.
func (m *mux) shutdown(c *conn, h *header) {
	c.guestSaid |= h.flags & noMore
	switch {
	case c.guestSaid == noMore:
		m.refuse(h) // it waits for this; the connection is over for it
		m.finish(c)
	case c.state != stateOpen:
	case c.deaf && c.guestSaid&noReceive != 0:
		m.kill(c)
	case c.guestSaid == noReceive:
		m.endGuest(c)
	case c.guestSaid == noSend && c.ring.n == 0:
		m.endHost(c)
	}
}

// endGuest lets the host see that the guest takes no more: a write fails. One that waits for room does so when there is some, so what is on the
// way is thrown away; it is no more than the socket's buffer.
func (m *mux) endGuest(c *conn) {
	c.ended = true
	_ = unix.Shutdown(c.fd, unix.SHUT_RD) // fails when the host's end is gone, of which an edge tells
	var scratch ring
	if m.dev.pool.take(&scratch) != nil {
		m.kill(c) // the host is out of memory
		return
	}
	for n := 1; n > 0; {
		n, _ = m.vector.read(c.fd, append(m.parts[:0], scratch.mem))
	}
	m.dev.pool.give(&scratch)
}

// endHost lets the host see the end of the guest's stream.
func (m *mux) endHost(c *conn) {
	_ = unix.Shutdown(c.fd, unix.SHUT_WR) // fails when the host's end is gone, of which an edge tells
	m.settle(c)
}

// finish ends a connection that the guest has forgotten, when the host has its last bytes.
func (m *mux) finish(c *conn) {
	if c.ring.n == 0 {
		m.free(c)
		return
	}
	delete(m.conns, c.key)
	m.draining++
	c.state, c.say, c.deadline = stateDraining, 0, 0
}
