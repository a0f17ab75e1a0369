package server

import (
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"usui/host/tcp"
	"usui/host/xdp"
	"usui/layer/kv/engine"
)

// Bypass is a second way for clients to come, past the kernel's network stack. Both parts are closed by who made them, after the server.
type Bypass struct {
	Card    *xdp.Interface
	Stack   *tcp.Stack
	Address netip.AddrPort
	Parts   int    // how many frames commands may hold that are not whole yet
	Device  Frames // where values may stay; nil for none
}

// Frames is a store's device, whose frames are those of the bypass.
type Frames interface {
	engine.Device
	// Piece says where on the device bytes lie, or false if they do not.
	Piece(p []byte) (engine.Piece, bool)
	// Values is how many frames hold values, and how many there may be.
	Values() (held, most int)
}

// bypass is the server's part of it: the first loop looks at the card, and the wires are used by who holds the lock.
type bypass struct {
	Bypass
	start   time.Time
	polled  map[int]bool // descriptors of the card
	again   []*client    // have something to execute that they will not be named for again
	numbers uint64
	kept    int // frames of arguments that are not whole yet
	stats   BypassStats
	pieces  []engine.Piece // of the value that is being placed
}

// BypassStats counts what becomes of bytes that came by the bypass.
type BypassStats struct {
	Read   uint64 // bytes of clients
	Joined uint64 // of them, copied because a command lay in several frames
	Parts  uint64 // of them, that lay in several frames and went from there into the log
	Placed uint64 // of them, that stayed in the frames in which they came
}

// beyondDescriptors is where the numbers of clients begin that have no descriptor.
const beyondDescriptors = 1 << 30

// openBypass has the poll look at the card.
func (s *Server) openBypass(b *Bypass) error {
	s.bypass = &bypass{Bypass: *b, start: time.Now(), polled: map[int]bool{}}
	for _, fd := range b.Card.Descriptors() {
		s.bypass.polled[fd] = true
		if err := s.loops[0].watch(unix.EPOLL_CTL_ADD, fd, unix.EPOLLIN); err != nil {
			return err
		}
	}
	return nil
}

// receive takes all frames that have arrived, and serves who has news.
func (b *bypass) receive(s *Server) error {
	b.Stack.Advance(time.Since(b.start))
	if _, err := b.Card.Receive(b.Stack.Receive); err != nil {
		return err
	}
	for conn := b.Stack.Accept(); conn != nil; conn = b.Stack.Accept() {
		b.numbers++
		number := beyondDescriptors + int(b.numbers%beyondDescriptors)
		conn.Tag = uint64(number)
		_ = s.admit(&carried{conn, number}, number, Origin{Peer: conn.Remote().String(), Here: b.Address.String()}) // it was told, and counted
	}
	again := b.again
	b.again = nil
	for _, c := range again {
		if c.fd >= 0 {
			s.serve(c, unix.EPOLLIN)
		}
	}
	b.Stack.Ready(func(conn *tcp.Conn) {
		if c := s.clients[int(conn.Tag)]; c != nil {
			s.serve(c, unix.EPOLLIN|unix.EPOLLOUT)
		}
	})
	return nil
}

// place has the value of SET stay on the device, in the frames in which it came, and answers. It says false if the value has to be copied: it is short, not
// all of it is in frames, or these are few.
func (k *call) place(key []byte, expire int64) (done bool) {
	b := k.s.bypass
	if b == nil || b.Device == nil || b.Device.Scarce() {
		return false
	}
	n, pieces := 0, b.pieces[:0]
	add := func(p []byte) bool {
		if len(p) == 0 {
			return true
		}
		piece, ok := b.Device.Piece(p)
		n, pieces = n+len(p), append(pieces, piece)
		return ok
	}
	ok := add(k.args[2])
	for _, p := range k.parts() {
		ok = ok && add(p)
	}
	b.pieces = pieces
	if !ok || n < leastLeft {
		return false
	}
	for _, p := range pieces {
		b.Device.Hold(p)
	}
	err := k.l.store.PutPlaced(key, pieces, expire)
	if err != nil {
		for _, p := range pieces {
			b.Device.Depart(p)
			b.Device.Release(p)
		}
	} else {
		b.stats.Placed += uint64(n)
	}
	if k.wrote(err) {
		k.w.Status("OK")
	}
	return true
}

// send sends what the clients were written.
func (b *bypass) send() error {
	b.Stack.Flush()
	return b.Card.Flush()
}

// patience is how long nothing has to be done, in milliseconds; -1 is for ever.
func (b *bypass) patience() int64 {
	if len(b.again) > 0 {
		return 0
	}
	at, ok := b.Stack.Next()
	if !ok {
		return -1
	}
	return max(0, int64((at-time.Since(b.start)+time.Millisecond-1)/time.Millisecond))
}

// carried is a wire of the bypass.
type carried struct {
	conn   *tcp.Conn
	number int
}

// receive executes commands where they arrived, in the card's frames. Of one that lies in several frames a long argument stays where it is, and
// the rest is copied together.
func (w *carried) receive(s *Server, c *client) {
	executed := false
	for c.fd >= 0 && !c.paused && !c.closing && !c.stalled && c.wait == nil {
		p := w.conn.Peek()
		if len(p) == 0 {
			switch {
			case !w.conn.Ended():
			case executed && !w.conn.Gone(): // replies that need not wait are sent first
				s.bypass.again = append(s.bypass.again, c)
			default:
				s.drop(c)
			}
			return
		}
		executed = true
		c.last = s.now.Load()
		n := 0
		switch {
		case c.left.missing > 0:
			n = min(len(p), c.left.missing)
			s.keepPart(c, p[:n], w.conn)
		case len(c.in) > 0:
			n = w.join(s, c, p)
		default:
			n = w.inPlace(s, c, p)
		}
		c.loop.stats.BytesRead += uint64(n)
		s.bypass.stats.Read += uint64(n)
		if c.fd < 0 {
			return // with it, all that had arrived
		}
		w.conn.Discard(n)
	}
	if c.fd >= 0 && (w.conn.Gone() || w.left(c)) {
		s.drop(c)
	}
}

func (w *carried) left(c *client) bool { return c.wait != nil && w.conn.Finished() }

// inPlace executes the commands of a frame, and keeps the beginning of one that goes on in the next.
func (w *carried) inPlace(s *Server, c *client, p []byte) (n int) {
	rest := s.run(c, p)
	if c.fd < 0 {
		return len(p)
	}
	if at, ok := s.leaves(c, rest); ok {
		s.keepPart(c, rest[at:], w.conn)
		rest = rest[:at]
	}
	s.bypass.stats.Joined += uint64(len(rest))
	s.settle(c, rest)
	return len(p)
}

// header is as much as is copied at a time while it is not known how long an argument is.
const header = 64

// join copies what is needed of a frame behind the beginning of a command, and returns how much that was. What follows the command is
// left to be executed in place.
func (w *carried) join(s *Server, c *client, p []byte) (n int) {
	n = header
	if want := c.parser.Want(); want > 0 {
		n = want - len(c.in)
	}
	n = copy(s.growInput(c), p[:min(n, len(p))])
	c.in = c.in[:len(c.in)+n]
	rest := s.run(c, c.in)
	if c.fd < 0 {
		return n
	}
	s.bypass.stats.Joined += uint64(n)
	if len(rest) <= n && !c.stalled { // then a command was executed, and rest is of this frame
		s.bypass.stats.Joined -= uint64(len(rest))
		s.settle(c, nil)
		return n - len(rest)
	}
	if at, ok := s.leaves(c, rest); ok {
		s.keepPart(c, append([]byte(nil), rest[at:]...), nil)
		rest = rest[:at]
	}
	s.settle(c, rest)
	return n
}

func (w *carried) write(_ *Server, _ *client, p []byte) (int, error) {
	if w.conn.Gone() {
		return 0, unix.EPIPE
	}
	return w.conn.Write(p), nil
}

// look has the client served in the next turn if it may read and there is something: it was named when that came, and will not be again.
// Room to write is always told.
func (w *carried) look(c *client, events uint32) error {
	if events&unix.EPOLLIN != 0 && (w.conn.Unread() > 0 || w.conn.Ended()) {
		b := c.loop.s.bypass
		b.again = append(b.again, c)
		c.loop.tell()
	}
	return nil
}

func (w *carried) close() { w.conn.Close() }

// infoBypass says what way bytes took, and what that cost.
func (s *Server) infoBypass() []any {
	b := s.bypass
	if b == nil {
		return []any{"bypass", 0}
	}
	link, err := b.Card.Stats()
	if err != nil {
		return []any{"bypass", 1, "bypass_error", err}
	}
	t, all := b.Stack.Stats(), s.stats()
	copied := t.BytesMerged + b.stats.Joined
	if !b.Card.ZeroCopy() {
		copied += link.BytesReceived // by the kernel, into our frames
	}
	held, most := 0, 0
	if b.Device != nil {
		held, most = b.Device.Values()
	}
	// What is said of copies ends at the log's batch, into which every byte of a value that does not stay on the device is copied once more.
	return []any{"bypass", 1, "bypass_address", b.Address, "bypass_mode", b.Card.Mode(), "bypass_driver", b.Card.Driver(),
		"bypass_frames_received", link.FramesReceived, "bypass_frames_sent", link.FramesSent, "bypass_frames_free", link.FreeFrames,
		"bypass_frames_held", t.HeldOrdered + t.HeldEarly + t.HeldSending, "bypass_frames_dropped", link.Dropped + link.RingFull, "bypass_frames_bad", link.BadDescriptors + t.Malformed + t.BadChecksums,
		"bypass_frames_in_parts", b.kept, "bypass_connections", t.Connections - t.Waiting, "bypass_retransmitted", t.Retransmitted,
		"bypass_bytes_read", b.stats.Read, "bypass_bytes_joined", b.stats.Joined, "bypass_bytes_in_parts", b.stats.Parts, "bypass_bytes_placed", b.stats.Placed, "bypass_frames_with_values", held, "bypass_frames_for_values", most, "bypass_bytes_merged", t.BytesMerged, "bypass_bytes_sent_copied", t.BytesCopied,
		"bypass_copies_per_byte", ratio(copied, b.stats.Read), "bypass_system_calls", all.Calls + link.Calls,
		"bypass_system_calls_per_command", ratio(all.Calls+link.Calls, all.Commands)}
}

// BypassSnapshot is what a bypass counted.
type BypassSnapshot struct {
	Bytes BypassStats
	Card  xdp.Stats
	TCP   tcp.Stats
}

func (b *bypass) snapshot() *BypassSnapshot {
	card, _ := b.Card.Stats() // what the kernel counts is 0 if it does not tell
	return &BypassSnapshot{b.stats, card, b.Stack.Stats()}
}

// ratio is a/b as text.
func ratio(a, b uint64) string { return fmt.Sprintf("%.3f", float64(a)/float64(max(b, 1))) }
