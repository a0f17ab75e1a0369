package server

import (
	"bytes"

	"usui/host/tcp"
)

// left is a long argument of a command of which the rest is joined: its bytes stay in the frames in which they came, so that they are copied
// once, into the log. A client has at most one.
type left struct {
	number  int // of the argument; 0 for none, as the name of a command is never left
	at      int // where it belongs, from the start of the command
	missing int // bytes that are still to come
	parts   [][]byte
	frames  []uint32
}

// Bounds of arguments that are left in their frames: a shorter one is not worth it, and a longer one would take more of a connection's
// window than its frames give back.
const (
	leastLeft = 1 << 10
	mostLeft  = 64 << 10
)

// open says that an argument is elsewhere.
func (l *left) open() bool { return l != nil && l.number > 0 }

// bytes is the argument in one piece, a copy.
func (l *left) bytes() []byte { return bytes.Join(l.parts, nil) }

// leaves says whether the argument that is being read at the end of rest is one to be left where it is, and where it begins.
func (s *Server) leaves(c *client, rest []byte) (at int, ok bool) {
	number, at, n, known := c.parser.Pending()
	frames := n/mergedBytes + 2 // at most
	if !known || len(rest) == 0 || c.closing || c.left.open() || number == 0 || n < leastLeft || n > mostLeft || len(rest) < at || len(rest)-at > n ||
		s.bypass.kept+frames > s.bypass.Bypass.Parts {
		return 0, false
	}
	c.parser.Leave()
	c.left.number, c.left.at, c.left.missing = number, at, n
	return at, true
}

// mergedBytes is the least that a frame in the middle of an argument has (host/tcp merges what is shorter).
const mergedBytes = 512

// keepPart takes bytes of the argument, which lie in the frame that conn has them in, or, without conn, in memory that is theirs.
func (s *Server) keepPart(c *client, p []byte, conn *tcp.Conn) {
	l := c.left
	l.missing -= len(p)
	if len(p) == 0 {
		return
	}
	l.parts = append(l.parts, p)
	if conn != nil {
		l.frames = append(l.frames, conn.Hold())
		s.bypass.kept++
		s.bypass.stats.Parts += uint64(len(p))
	}
}

// offer gives a command its argument, in parts if it takes them. It says false if the command may have to wait: then it has to be joined.
func (s *Server) offer(c *client, args [][]byte) bool {
	switch l := c.left; {
	case s.pause.until > 0:
		return false
	case c.queue == nil && l.number == 2 && is(args[0], "SET"):
	default:
		args[l.number] = l.bytes()
		s.bypass.stats.Joined += uint64(len(args[l.number]))
		s.letGo(c)
	}
	return true
}

// rejoin puts the argument of the command at the start of p, which is c.in, where it belongs.
func (s *Server) rejoin(c *client, p []byte) []byte {
	l := c.left
	whole := make([]byte, 0, len(p)+mostLeft)
	whole = append(append(append(whole, p[:l.at]...), l.bytes()...), p[l.at:]...)
	s.bypass.stats.Joined += uint64(len(whole) - len(p))
	s.letGo(c)
	c.loop.buffers.put(c.in)
	c.in = whole
	return whole
}

// letGo gives the frames of an argument back.
func (s *Server) letGo(c *client) {
	l := c.left
	if !l.open() {
		return
	}
	for _, f := range l.frames {
		s.bypass.Card.Release(f)
	}
	s.bypass.kept -= len(l.frames)
	clear(l.parts)
	*l = left{parts: l.parts[:0], frames: l.frames[:0]}
}
