package tcp

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// Link carries frames. A frame is known by its number; who has one holds it, and the last Release makes it free.
type Link interface {
	// Frame returns a free frame, held once, and its memory, or false.
	Frame() (frame uint32, room []byte, ok bool)
	// Send sends the first n bytes of a frame that is not busy, or says that it cannot now.
	Send(frame uint32, n int) bool
	// Busy says that a frame is being sent: its memory must not change.
	Busy(frame uint32) bool
	// Hold holds a frame once more.
	Hold(frame uint32)
	Release(frame uint32)
}

// Config is what a stack is made of.
type Config struct {
	Link    Link
	MAC     [6]byte
	Address netip.Addr // IPv4
	Port    uint16
	MTU     int
	Own     bool // nobody else answers for the address: ARP and echo requests are answered here

	// Unsummed accepts packets whose checksum was left to a device: such is never seen on a wire, but between local interfaces.
	Unsummed bool

	Connections  int           // at most so many; 0 is DefaultConnections
	Frames       int           // connections hold at most so many of the link's; at least four for each connection
	ReceiveBytes int           // of a connection, that wait to be read; 0 is DefaultReceive
	SendBytes    int           // of a connection, that wait to be acknowledged; 0 is DefaultSend
	KeepAlive    time.Duration // after so long a silence a peer is asked whether it lives; 0 is DefaultKeepAlive
}

// Defaults of a Config.
const (
	DefaultConnections = 10000
	DefaultReceive     = 256 << 10
	DefaultSend        = 256 << 10
	DefaultKeepAlive   = 300 * time.Second
)

// Stack is a server of TCP at one address and port. Its methods, and those of its connections, belong to one goroutine.
type Stack struct {
	cfg     Config
	address [4]byte
	now     time.Duration
	conns   map[key]*Conn
	half    map[key]*halfOpen
	fresh   []*Conn // that Accept has not returned
	ready   []*Conn
	dirty   []*Conn // have something to send
	timers  timers
	waiting int // connections in TIME-WAIT
	held    struct{ ordered, early, sending int }
	secret  [32]byte
	lastID  uint16        // of an IPv4 packet
	swept   time.Duration // when half was last looked through
	flooded time.Duration // when a cookie was last sent
	cookies bool          // one was
	stats   Stats
}

// key is a peer: IPv4 address and port.
type key uint64

func (k key) address() [4]byte {
	return [4]byte{byte(k >> 40), byte(k >> 32), byte(k >> 24), byte(k >> 16)}
}
func (k key) port() uint16 { return uint16(k) }

// New makes a stack. Its clock begins at 0.
func New(cfg Config) (*Stack, error) {
	for p, v := range map[*int]int{&cfg.Connections: DefaultConnections, &cfg.ReceiveBytes: DefaultReceive, &cfg.SendBytes: DefaultSend} {
		if *p == 0 {
			*p = v
		}
	}
	if cfg.KeepAlive == 0 {
		cfg.KeepAlive = DefaultKeepAlive
	}
	switch {
	case !cfg.Address.Is4():
		return nil, fmt.Errorf("address %v, want one of IPv4", cfg.Address)
	case cfg.Port == 0:
		return nil, errors.New("the port is missing")
	case cfg.MTU < minMTU || cfg.MTU > 65535:
		return nil, fmt.Errorf("an MTU of %d, want %d to 65535", cfg.MTU, minMTU)
	case cfg.ReceiveBytes < cfg.MTU || cfg.ReceiveBytes > 1<<30 || cfg.SendBytes < cfg.MTU:
		return nil, fmt.Errorf("buffers of %d and %d bytes: at least one packet has to fit, and at most 1 GiB", cfg.ReceiveBytes, cfg.SendBytes)
	case cfg.Connections < 1 || cfg.Frames < 4*cfg.Connections:
		return nil, fmt.Errorf("%d frames for %d connections, want %d", cfg.Frames, cfg.Connections, 4*cfg.Connections)
	}
	s := &Stack{cfg: cfg, address: cfg.Address.As4(), conns: map[key]*Conn{}, half: map[key]*halfOpen{}}
	_, _ = rand.Read(s.secret[:]) // it never fails
	return s, nil
}

// minMTU is what every host of IPv4 takes (RFC 791).
const minMTU = 576

// Receive takes a frame that the link received. data is the packet, in the frame's memory, the whole of which is the stack's until it
// releases it.
func (s *Stack) Receive(frame uint32, data []byte) {
	if !s.packet(frame, data) {
		s.cfg.Link.Release(frame)
	}
}

// Accept returns a connection that is new, or nil. [Stack.Ready] names it, too.
func (s *Stack) Accept() *Conn {
	for len(s.fresh) > 0 {
		c := s.fresh[0]
		s.fresh = s.fresh[1:]
		if c.state != closed {
			c.accepted = true
			c.news()
			return c
		}
	}
	s.fresh = nil
	return nil
}

// Ready calls f for each connection of which there is news: bytes to read, room to write, or its end. Connections that are not accepted are
// not named.
func (s *Stack) Ready(f func(*Conn)) {
	for i := 0; i < len(s.ready); i++ { // it may grow
		c := s.ready[i]
		c.named = false
		f(c)
	}
	clear(s.ready)
	s.ready = s.ready[:0]
}

// Flush sends what there is to send: bytes that were written, and acknowledgements that are due.
func (s *Stack) Flush() {
	n := len(s.dirty)
	for i := range n {
		c := s.dirty[i]
		c.dirty = false
		if c.state != closed {
			c.output()
		}
	}
	k := copy(s.dirty, s.dirty[n:]) // those that the link had no room for
	clear(s.dirty[k:])
	s.dirty = s.dirty[:k]
}

// Advance tells the time, and does what is due. It must not go back.
func (s *Stack) Advance(now time.Duration) {
	s.now = now
	s.sweepHalf()
	s.expire()
}

// retrySend is when frames are tried again that the link had no room for.
const retrySend = time.Millisecond

// Next is when Advance has something to do, or false if only a packet can change anything.
func (s *Stack) Next() (at time.Duration, ok bool) {
	at, ok = s.timers.next()
	if len(s.half) > 0 && (!ok || s.swept+sweepHalfEvery < at) {
		at, ok = s.swept+sweepHalfEvery, true
	}
	if len(s.dirty) > 0 && (!ok || s.now+retrySend < at) {
		at, ok = s.now+retrySend, true
	}
	return at, ok
}

// Close forgets all connections and releases their frames. Peers are told by a reset.
func (s *Stack) Close() {
	for _, c := range s.conns {
		c.Abort()
	}
	clear(s.half)
}

// release gives a frame back to the link.
func (s *Stack) release(frame uint32) { s.cfg.Link.Release(frame) }
