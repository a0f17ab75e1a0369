package vsock

import (
	"golang.org/x/sys/unix"

	"usui/machine/virtio"
)

// maxRead is the most that is read from a socket before another one has its turn.
const maxRead = 64 << 10

// maxSpare is how many buffers of the guest one read is spread over. Linux's have 4 KiB.
const maxSpare = 16

// spare are buffers of the guest that were popped and not filled yet, oldest first.
type spare struct {
	chains   [maxSpare]virtio.Chain
	room     [maxSpare]int // scratch: how much of a read each one takes
	first, n int
}

func (s *spare) at(i int) *virtio.Chain { return &s.chains[(s.first+i)%maxSpare] }

// shift removes the oldest.
func (s *spare) shift() {
	s.first = (s.first + 1) % maxSpare
	s.n--
}

// fill gets buffers of the guest, if there are any, until there are some with room for want bytes of payload, and says whether there is one.
func (m *mux) fill(want int) bool {
	room := 0
	for i := range m.spare.n {
		room += m.spare.at(i).InLen - headerSize
	}
	for m.spare.n < maxSpare && (m.spare.n == 0 || room < want) {
		c := m.spare.at(m.spare.n)
		ok, err := m.rx.Pop(c)
		if err != nil {
			m.broken = true
		}
		if !ok {
			break
		}
		if c.InLen <= headerSize {
			m.dev.counters.unusable.Add(1)
			m.rx.Push(c.Head, 0)
			break // one at a time: the driver may make more of them for ever
		}
		m.spare.n++
		room += c.InLen - headerSize
	}
	return m.spare.n > 0 && !m.broken
}

// hasMail says that something may be there for the guest.
func (m *mux) hasMail() bool { return m.ready.first != nil || m.resets.n > 0 }

// serveRx brings the guest what there is for it, a packet or a read of each connection at a time. It says whether there may be more
// and buffers for it.
func (m *mux) serveRx() (busy bool) {
	for range rxBatch {
		if !m.hasMail() {
			return false
		}
		if !m.fill(1) {
			return false
		}
		if m.resets.n > 0 {
			h := m.resets.pop()
			m.dev.counters.resets.Add(1)
			m.put(&h, 0)
			continue
		}
		c := m.ready.pop()
		m.mail(c)
		m.wants(c)
	}
	return true
}

// mail brings the guest one thing of a connection: what has to be said, else bytes.
func (m *mux) mail(c *conn) {
	switch {
	case c.say&sayReset != 0:
		m.dev.counters.resets.Add(1)
		m.control(c, opReset, 0)
		m.free(c)
	case c.say&sayRequest != 0:
		c.say &^= sayRequest
		m.control(c, opRequest, 0)
	case c.say&sayResponse != 0:
		c.say &^= sayResponse
		m.control(c, opResponse, 0)
	case c.say&sayCreditUpdate != 0:
		m.dev.counters.creditUpdates.Add(1)
		m.control(c, opCreditUpdate, 0)
	case c.say&sayShutdown != 0:
		c.say &^= sayShutdown
		m.control(c, opShutdown, c.shutdown())
	case !c.flows():
	case c.credit() == 0:
		c.asked = true
		m.dev.counters.creditRequests.Add(1)
		m.control(c, opCreditRequest, 0)
	default:
		m.read(c)
	}
}

// control sends a packet without payload.
func (m *mux) control(c *conn, op uint16, flags uint32) {
	h := m.header(c, op)
	h.flags = flags
	m.put(&h, 0)
}

// header begins a packet of a connection. Each tells the guest how much room there is.
func (m *mux) header(c *conn, op uint16) header {
	c.told = c.forwarded
	c.say &^= sayCreditUpdate
	return header{
		srcCID: hostCID, dstCID: uint64(m.dev.CID), srcPort: c.key.host, dstPort: c.key.guest,
		kind: typeStream, op: op, bufAlloc: window, fwdCnt: c.forwarded,
	}
}

// put gives the guest its oldest buffer with a packet whose payload is in it.
func (m *mux) put(h *header, payload int) {
	b := m.spare.at(0)
	h.len = uint32(payload)
	h.store(b.In)
	m.rx.Push(b.Head, headerSize+uint32(payload))
	m.spare.shift()
	m.dev.counters.packetsToGuest.Add(1)
}

// read moves bytes from a connection's socket into buffers of the guest.
func (m *mux) read(c *conn) {
	want := min(c.credit(), maxRead)
	m.fill(want)
	parts, room := m.parts[:0], 0
	for i := range m.spare.n {
		parts, m.spare.room[i] = appendPayload(parts, m.spare.at(i).In, want-room)
		if room += m.spare.room[i]; room == want {
			break
		}
	}
	n, errno := m.vector.read(c.fd, parts)
	switch {
	case errno == unix.EAGAIN:
		c.readable = false
	case errno != 0: // the host's end is gone, and with it what the guest sent last
		m.kill(c)
	case n == 0:
		c.ended = true
		c.deaf = c.deaf || c.hung || hung(c.fd) // so that the guest hears it at once if the host's end is closed altogether
		m.tell(c, sayShutdown)
		m.settle(c)
	}
	c.sent += uint32(n)
	m.dev.counters.bytesToGuest.Add(uint64(n))
	for i := 0; n > 0; i++ {
		k := min(n, m.spare.room[i])
		n -= k
		h := m.header(c, opData)
		m.put(&h, k)
	}
}

// hung says that the other end of a socket is closed. The edge that tells may not have been looked at.
func hung(fd int) bool {
	p := [1]unix.PollFd{{Fd: int32(fd)}}
	n, err := unix.Poll(p[:], 0)
	return n == 1 && err == nil && p[0].Revents&unix.POLLHUP != 0
}

// maxResets is how many answers wait for buffers before the guest is not heard any more.
const maxResets = 64

// resets are answers to packets of no connection, oldest first.
type resets struct {
	headers  [maxResets]header
	first, n int
}

func (r *resets) full() bool { return r.n == maxResets }

// push queues the answer to h.
func (r *resets) push(h *header) {
	r.headers[(r.first+r.n)%maxResets] = header{
		srcCID: h.dstCID, dstCID: h.srcCID, srcPort: h.dstPort, dstPort: h.srcPort, kind: h.kind, op: opReset,
	}
	r.n++
}

func (r *resets) pop() header {
	h := r.headers[r.first]
	r.first = (r.first + 1) % maxResets
	r.n--
	return h
}

// serveEvent tells the driver that all connections are gone, if it has to hear that.
func (m *mux) serveEvent() {
	if m.event == nil || !m.dev.resetEvent.Load() {
		return
	}
	ok, err := m.event.Pop(&m.out)
	if err != nil {
		m.broken = true
	}
	if !ok {
		return
	}
	const size = 4 // of struct virtio_vsock_event; VIRTIO_VSOCK_EVENT_TRANSPORT_RESET is 0
	if m.out.InLen < size {
		m.dev.counters.unusable.Add(1)
		m.event.Push(m.out.Head, 0)
		m.event.Notify()
		return
	}
	for n, i := 0, 0; n < size; i++ {
		b := m.out.In[i][:min(len(m.out.In[i]), size-n)]
		clear(b)
		n += len(b)
	}
	m.dev.resetEvent.Store(false)
	m.event.Push(m.out.Head, size)
	m.event.Notify()
	for _, c := range m.slots {
		if c.state != stateHello && c.state != stateDraining {
			m.free(c)
		}
	}
}
