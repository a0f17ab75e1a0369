package vsock

import (
	"time"

	"golang.org/x/sys/unix"

	"usui/machine/virtio"
)

// mux serves the queues and all connections from Start to Stop. All of it belongs to its goroutine.
type mux struct {
	dev           *Vsock
	rx, tx, event *virtio.Queue // event may be nil
	poller        *poller
	began         time.Time
	broken        bool // the driver broke a queue

	slots    []*conn // by number; those that are free are in vacant
	vacant   []int32
	conns    map[key]*conn
	draining int    // connections in stateDraining, which have left conns
	ready    list   // connections that may have something for the guest
	resets   resets // answers to packets of no connection
	hellos   int
	nextPort uint32
	knocking bool          // clients may be waiting to be accepted
	retry    time.Duration // when to look for them again; 0: when they knock
	earliest time.Duration // no deadline lies before it; 0: there is none

	out    virtio.Chain // the guest's packet in hand
	spare  spare        // buffers of the guest that are yet to be filled
	parts  [][]byte     // scratch: views of a packet's payload
	vector vector
}

// Work that is done before the other direction has its turn.
const (
	txBatch = 64
	rxBatch = 64
)

func newMux(d *Vsock, rx, tx, event *virtio.Queue) (*mux, error) {
	p, err := newPoller()
	if err != nil {
		return nil, err
	}
	m := &mux{
		dev: d, rx: rx, tx: tx, event: event, poller: p, began: time.Now(), knocking: true,
		conns: make(map[key]*conn), parts: make([][]byte, 0, virtio.MaxChain),
	}
	err = p.add(d.listener, unix.EPOLLIN, slotListener, 0)
	for _, q := range []*virtio.Queue{rx, tx, event} {
		if q != nil && err == nil {
			err = p.add(q.KickFD(), unix.EPOLLIN, slotKick, 0)
		}
	}
	if err != nil {
		p.close()
		return nil, err
	}
	m.adopt()
	return m, nil
}

// run serves until Stop, or until the driver breaks a queue.
func (m *mux) run() {
	defer m.close()
	m.disarm()
	for idle := false; ; {
		if !m.look(idle) || m.dev.stopping.Load() { // a driver that goes on while it is reset does not keep us here
			return
		}
		m.expire()
		m.accept()
		m.serveEvent()
		busy := m.serveTx()
		busy = m.serveRx() || busy
		if m.broken {
			return
		}
		m.tx.Notify()
		m.rx.Notify()
		if idle = !busy && !m.arm(); !busy && !idle {
			m.disarm()
		}
	}
}

// look takes in what descriptors have to say, and waits for that if there is nothing else to do. It returns false when it cannot.
func (m *mux) look(idle bool) bool {
	if !idle {
		m.poller.poll()
	} else {
		if err := m.poller.wait(m.until()); err != nil {
			return false
		}
		m.dev.counters.wakeups.Add(1)
		m.disarm()
	}
	for _, e := range m.poller.ready {
		switch {
		case e.Fd == slotListener:
			m.knocking = true
		case e.Fd >= 0 && m.slots[e.Fd].age == e.Pad:
			m.edge(m.slots[e.Fd], e.Events)
		}
	}
	return true
}

// arm asks for kicks with what the mux waits for, and says whether some of that is there already.
func (m *mux) arm() bool {
	work := false
	if !m.resets.full() {
		work = m.tx.Arm()
	}
	if m.hasMail() && m.spare.n == 0 {
		work = m.rx.Arm() || work
	}
	if m.event != nil && m.dev.resetEvent.Load() {
		work = m.event.Arm() || work
	}
	return work
}

func (m *mux) disarm() {
	m.tx.Disarm()
	m.rx.Disarm()
	if m.event != nil {
		m.event.Disarm()
	}
}

// now is the time since the mux began.
func (m *mux) now() time.Duration { return time.Since(m.began) }

// until is when the mux has to look at deadlines; zero for never.
func (m *mux) until() time.Time {
	if m.earliest == 0 {
		return time.Time{}
	}
	return m.began.Add(m.earliest)
}

// soonest is the smaller of two times that are not 0.
func soonest(a, b time.Duration) time.Duration {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// limit gives a connection's state so much time.
func (m *mux) limit(c *conn, d time.Duration) {
	c.deadline = m.now() + d
	m.earliest = soonest(m.earliest, c.deadline)
}

// expire ends what took too long.
func (m *mux) expire() {
	if m.earliest == 0 {
		return
	}
	now := m.now()
	if now < m.earliest {
		return
	}
	m.earliest = 0
	if m.retry != 0 && m.retry <= now {
		m.knocking, m.retry = true, 0
	}
	m.earliest = soonest(m.earliest, m.retry)
	for _, c := range m.slots {
		if c.deadline != 0 && c.deadline <= now {
			c.deadline = 0
			m.dev.counters.timedOut.Add(1)
			m.kill(c)
		}
		m.earliest = soonest(m.earliest, c.deadline)
	}
}

// full says that there is no place for another connection. One that the guest has forgotten keeps its place while the host has yet to take
// its last bytes, or a guest could have any number of them.
func (m *mux) full() bool { return len(m.conns)+m.draining >= m.dev.limits.conns }

// add takes a socket into a slot. nil: it could not be watched, and is closed.
func (m *mux) add(fd int, s state) *conn {
	if len(m.vacant) == 0 {
		m.vacant = append(m.vacant, int32(len(m.slots)))
		m.slots = append(m.slots, &conn{slot: int32(len(m.slots)), fd: -1})
	}
	c := m.slots[m.vacant[len(m.vacant)-1]]
	if err := m.poller.add(fd, interest, c.slot, c.age); err != nil {
		unix.Close(fd)
		return nil
	}
	m.vacant = m.vacant[:len(m.vacant)-1]
	c.fd, c.state = fd, s
	m.dev.counters.open.Add(1)
	return c
}

// What a connection's socket is watched for. Room for more is of interest only while a ring waits for it: each read of a reader makes an
// edge of it.
const (
	interest      = unix.EPOLLIN | unix.EPOLLRDHUP
	interestStall = interest | unix.EPOLLOUT
)

// free gives up a connection of which nobody needs to hear any more.
func (m *mux) free(c *conn) {
	switch c.state {
	case stateFree:
		return
	case stateHello:
		m.hellos--
	case stateDraining:
		m.draining--
	default:
		delete(m.conns, c.key)
	}
	m.dev.counters.open.Add(^uint64(0))
	m.hangUp(c)
	age, slot, next, queued := c.age+1, c.slot, c.next, c.queued
	*c = conn{age: age, slot: slot, next: next, queued: queued, fd: -1} // it may be in a list, and leaves that by itself
	m.vacant = append(m.vacant, slot)
}

// hangUp closes a connection's socket. What the ring holds is lost.
func (m *mux) hangUp(c *conn) {
	if c.fd >= 0 {
		unix.Close(c.fd) // leaves the poller, too
		c.fd = -1
	}
	m.dev.pool.give(&c.ring)
}

// kill ends a connection at once and tells the guest.
func (m *mux) kill(c *conn) {
	switch c.state {
	case stateHello, stateDraining:
		m.free(c)
	default:
		m.hangUp(c)
		c.state, c.say, c.deadline = stateReset, sayReset, 0
		m.ready.push(c)
	}
}

// violate is kill for a guest that broke the protocol.
func (m *mux) violate(c *conn) {
	m.dev.counters.violations.Add(1)
	m.kill(c)
}

// tell has a connection say something to the guest.
func (m *mux) tell(c *conn, s say) {
	c.say |= s
	m.ready.push(c)
}

// wants lines a connection up if it has something for the guest.
func (m *mux) wants(c *conn) {
	if c.say != 0 || c.flows() {
		m.ready.push(c)
	}
}

// edge follows a change of a socket's readiness.
func (m *mux) edge(c *conn, events uint32) {
	if events&(unix.EPOLLIN|unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		c.readable = true
	}
	if events&unix.EPOLLHUP != 0 {
		c.hung = true
	}
	if c.ring.n > 0 && events&(unix.EPOLLOUT|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		m.flush(c)
	}
	switch {
	case c.state == stateHello:
		m.hello(c)
	case c.hung && (c.state == stateAsked || c.state == stateOpen && c.guestSaid&noReceive != 0):
		m.kill(c)
	case c.hung && c.state == stateOpen && c.ended && !c.deaf:
		m.deafen(c)
	default:
		m.wants(c)
	}
}

// settle follows the end of a direction: when nothing moves any more, the socket is closed, and the guest has some time for its last word.
func (m *mux) settle(c *conn) {
	if c.state != stateOpen || !c.over() {
		return
	}
	m.hangUp(c)
	c.state = stateClosing
	m.limit(c, m.dev.limits.end)
}

// close ends all connections. What slow readers have yet to take is kept for them.
func (m *mux) close() {
	for _, c := range m.slots {
		if c.ring.n > 0 && c.fd >= 0 {
			l := late{fd: c.fd, ring: c.ring}
			if l.flush(&m.vector) {
				m.dev.late = append(m.dev.late, l)
				c.fd, c.ring = -1, ring{}
			} else {
				c.ring = l.ring
			}
		}
		m.free(c)
	}
	m.poller.close()
}

// adopt goes on with what an earlier guest's readers have yet to take.
func (m *mux) adopt() {
	for _, l := range m.dev.late {
		c := m.add(l.fd, stateDraining)
		if c == nil {
			m.dev.pool.give(&l.ring)
			continue
		}
		m.draining++
		c.ring = l.ring
		m.stall(c)
	}
	m.dev.late = nil
}
