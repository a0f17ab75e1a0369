package tcp

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

var (
	ourMAC  = [6]byte{2, 0, 0, 0, 0, 1}
	peerMAC = [6]byte{2, 0, 0, 0, 0, 2}
	ours    = netip.MustParseAddr("10.9.0.1")
)

const (
	ourPort    = 6379
	frameBytes = 2048
	headroom   = 256 // where the link puts what it receives
)

// pool is a link whose frames are memory; what is sent is kept for the test to carry on.
type pool struct {
	t      testing.TB
	memory []byte
	holds  []int
	busy   []int // how often Busy says so
	free   []uint32
	sent   [][]byte
	lazy   int // how often Busy says that a frame that was sent still is
	stuck  bool
}

func newPool(t testing.TB, n int) *pool {
	p := &pool{t: t, memory: make([]byte, n*frameBytes), holds: make([]int, n), busy: make([]int, n)}
	for i := range n {
		p.free = append(p.free, uint32(i))
	}
	return p
}

func (p *pool) bytes(f uint32) []byte {
	return p.memory[int(f)*frameBytes : int(f+1)*frameBytes : int(f+1)*frameBytes]
}

func (p *pool) Frame() (uint32, []byte, bool) {
	if len(p.free) == 0 {
		return 0, nil, false
	}
	f := p.free[len(p.free)-1]
	p.free = p.free[:len(p.free)-1]
	p.holds[f]++
	return f, p.bytes(f), true
}

func (p *pool) Send(f uint32, n int) bool {
	if p.stuck {
		return false
	}
	if p.holds[f] == 0 || p.busy[f] > 0 || n > frameBytes {
		p.t.Fatalf("Send of frame %d, %d holds, busy %d, %d bytes", f, p.holds[f], p.busy[f], n)
	}
	p.sent = append(p.sent, append([]byte(nil), p.bytes(f)[:n]...))
	p.busy[f] = p.lazy
	return true
}

func (p *pool) Busy(f uint32) bool {
	if p.busy[f] > 0 {
		p.busy[f]--
	}
	return p.busy[f] > 0
}

func (p *pool) Hold(f uint32) {
	if p.holds[f] == 0 {
		p.t.Fatalf("Hold of frame %d, which is free", f)
	}
	p.holds[f]++
}

func (p *pool) Release(f uint32) {
	if p.holds[f] == 0 {
		p.t.Fatalf("Release of frame %d, which is free", f)
	}
	if p.holds[f]--; p.holds[f] > 0 {
		return
	}
	p.busy[f] = 0
	p.free = append(p.free, f)
}

// deliver has a packet arrive, if there is a frame for it.
func (p *pool) deliver(s *Stack, packet []byte) {
	f, room, ok := p.Frame()
	if !ok {
		return
	}
	n := copy(room[headroom:], packet)
	s.Receive(f, room[headroom:headroom+n])
}

// newStack makes a stack on n frames.
func newStack(t testing.TB, n int, change func(*Config)) (*Stack, *pool) {
	t.Helper()
	p := newPool(t, n)
	cfg := Config{Link: p, MAC: ourMAC, Address: ours, Port: ourPort, MTU: 1500, Connections: n / 8, Frames: n / 2}
	if change != nil {
		change(&cfg)
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s, p
}

// packet is what tests see of one.
type packet struct {
	seq, ack sequence
	flags    byte
	window   int
	options  []byte
	payload  []byte
}

// encode makes a packet of the peer's.
func (p packet) encode(port uint16) []byte {
	be := binary.BigEndian
	b := make([]byte, atPayload+len(p.options)+len(p.payload))
	copy(b, ourMAC[:])
	copy(b[6:], peerMAC[:])
	be.PutUint16(b[12:], typeIPv4)
	ip := b[atIP:]
	ip[0], ip[8], ip[9] = 0x45, 64, protocolTCP
	be.PutUint16(ip[2:], uint16(len(ip)))
	copy(ip[12:], []byte{10, 9, 0, 2, 10, 9, 0, 1})
	be.PutUint16(ip[10:], ^slowSum(ip[:ipBytes]))
	t := b[atTCP:]
	be.PutUint16(t, port)
	be.PutUint16(t[2:], ourPort)
	be.PutUint32(t[4:], uint32(p.seq))
	be.PutUint32(t[8:], uint32(p.ack))
	t[12], t[13] = byte(tcpBytes+len(p.options))<<2, p.flags
	be.PutUint16(t[14:], uint16(p.window))
	copy(t[tcpBytes:], p.options)
	copy(t[tcpBytes+len(p.options):], p.payload)
	sumTCP(b)
	return b
}

// sumTCP sets the checksum of a segment.
func sumTCP(b []byte) {
	t := b[atTCP:]
	binary.BigEndian.PutUint16(t[16:], 0)
	binary.BigEndian.PutUint16(t[16:], ^slowSum(append(append(append([]byte{}, b[atIP+12:atIP+20]...), 0, protocolTCP, byte(len(t)>>8), byte(len(t))), t...)))
}

// slowSum is the checksum as RFC 1071 explains it.
func slowSum(p []byte) uint16 {
	n := uint32(0)
	for i, b := range p {
		if i%2 == 0 {
			n += uint32(b) << 8
		} else {
			n += uint32(b)
		}
		n = n>>16 + n&0xffff
	}
	return uint16(n)
}

// decode reads a packet of the stack's, and checks all that a receiver would.
func decode(t testing.TB, b []byte) (p packet, port uint16) {
	t.Helper()
	be := binary.BigEndian
	ip := b[atIP:]
	if [6]byte(b[6:]) != ourMAC || slowSum(ip[:ipBytes]) != 0xffff || int(be.Uint16(ip[2:])) != len(ip) {
		t.Fatalf("bad packet % x", b)
	}
	h := b[atTCP:]
	check := append(append(append([]byte{}, ip[12:20]...), 0, protocolTCP, byte(len(h)>>8), byte(len(h))), h...)
	if slowSum(check) != 0xffff {
		t.Fatalf("bad checksum % x", b)
	}
	n := int(h[12]>>4) * 4
	return packet{seq: sequence(be.Uint32(h[4:])), ack: sequence(be.Uint32(h[8:])), flags: h[13], window: int(be.Uint16(h[14:])),
		options: h[tcpBytes:n], payload: h[n:]}, be.Uint16(h[2:])
}

// take returns what the stack has sent.
func (p *pool) take(t testing.TB) []packet {
	t.Helper()
	var all []packet
	for _, b := range p.sent {
		q, _ := decode(t, b)
		all = append(all, q)
	}
	p.sent = nil
	return all
}

// checkIdle fails unless all frames are free.
func (p *pool) checkIdle() {
	p.t.Helper()
	if len(p.free) != len(p.holds) {
		p.t.Errorf("%d frames of %d are free", len(p.free), len(p.holds))
	}
}

// noise is bytes that can be told from each other.
func noise(r *rand.Rand, n int) []byte {
	p := make([]byte, n)
	for i := 0; i < n; i += 8 {
		var b [8]byte
		binary.LittleEndian.PutUint64(b[:], r.Uint64())
		copy(p[i:], b[:])
	}
	return p
}

// mirror is an application that sends back what it reads. It serves until the peer ends, then it closes.
type mirror struct {
	s     *Stack
	conns map[*Conn][]byte // with what could not be written yet
	lazy  bool             // leaves some bytes for later
}

func (m *mirror) turn() {
	for c := m.s.Accept(); c != nil; c = m.s.Accept() {
		m.conns[c] = nil
	}
	m.s.Ready(func(c *Conn) {})
	for c, left := range m.conns {
		left = left[c.Write(left):]
		for len(left) == 0 {
			p := c.Peek()
			if len(p) == 0 || m.lazy && len(p) > 100 && m.s.now%3 == 0 {
				break
			}
			left = append(left, p...)
			c.Discard(len(p))
			left = left[c.Write(left):]
		}
		m.conns[c] = left
		if len(left) == 0 && c.Ended() {
			c.Close()
			delete(m.conns, c)
		}
	}
	m.s.Flush()
}

// until advances the clock in small steps.
func (m *mirror) until(at time.Duration) {
	for {
		next, ok := m.s.Next()
		if !ok || next > at {
			break
		}
		m.s.Advance(max(next, m.s.now))
		m.turn()
	}
	m.s.Advance(at)
	m.turn()
}
