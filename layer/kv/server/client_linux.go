package server

import (
	"errors"
	"slices"

	"golang.org/x/sys/unix"

	"usui/layer/kv/resp"
)

// Bounds of one client's output: above the first no more of its commands are executed; above the second, which takes one very long
// reply, it is disconnected.
const (
	pauseBytes  = 256 << 10
	outputBytes = 256 << 20
)

// client is a connection.
type client struct {
	fd     int // -1 once it is closed
	id     uint64
	peer   string
	name   string
	since  int64 // Unix time in milliseconds
	last   int64
	events uint32 // what the poll looks for

	parser  resp.Parser
	in      []byte // what was read and not executed
	out     resp.Writer
	sent    int    // bytes of out
	marks   []mark // from where on out waits
	memory  int    // what is counted for in and out
	batch   uint64 // number of the one that answered it last, until it comes again; 0 is none
	waits   bool   // is in Server.waiting
	queued  bool   // is in Server.unsent
	paused  bool   // does not execute: too much output
	closing bool   // ends when out is sent
	trusted bool   // has given the password
	command string // the last one
}

// mark says that out waits from offset at on until a sequence number is durable.
type mark struct {
	at  int
	seq uint64
}

// hold keeps what begins at offset at until seq is durable. flight is the last sequence number before the growing batch: two marks in that
// batch are one.
func (c *client) hold(at int, seq, flight uint64) {
	if n := len(c.marks); n > 0 && c.marks[n-1].seq > flight {
		c.marks[n-1].seq = max(seq, c.marks[n-1].seq)
		return
	}
	c.marks = append(c.marks, mark{at, seq})
}

// release drops marks that are durable and says whether none is left.
func (c *client) release(durable uint64) bool {
	n := 0
	for n < len(c.marks) && c.marks[n].seq <= durable {
		n++
	}
	c.marks = slices.Delete(c.marks, 0, n)
	return len(c.marks) == 0
}

// ready is where the output ends that may be sent.
func (c *client) ready() int {
	if len(c.marks) > 0 {
		return c.marks[0].at
	}
	return len(c.out.Out)
}

// serve does what an event of the poll asks for.
func (s *Server) serve(c *client, events uint32) {
	if events&unix.EPOLLOUT != 0 {
		s.queue(c)
	}
	if events&(unix.EPOLLIN|unix.EPOLLHUP|unix.EPOLLERR|unix.EPOLLRDHUP) != 0 {
		s.read(c)
	}
}

// read takes what has arrived, once, so that nobody is served at the cost of others.
func (s *Server) read(c *client) {
	if c.paused || c.closing {
		if c.events&unix.EPOLLIN == 0 { // the peer is gone, else there would be no event
			s.drop(c)
		}
		return
	}
	p := s.input[:]
	if len(c.in) > 0 {
		p = s.growInput(c)
	}
	n, err := unix.Read(c.fd, p)
	switch {
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		return
	case err != nil || n == 0:
		s.drop(c)
		return
	}
	s.gathering.back(c)
	s.stats.BytesRead += uint64(n)
	c.last = s.now
	if len(c.in) > 0 {
		c.in = c.in[:len(c.in)+n]
		s.execute(c, c.in)
		return
	}
	s.execute(c, p[:n])
}

// growInput returns free room behind c.in. The buffer doubles, up to what the argument that is being read needs: an announced length alone
// takes no memory.
func (s *Server) growInput(c *client) []byte {
	if len(c.in) == cap(c.in) {
		size := 2 * cap(c.in)
		if want := c.parser.Want(); want > len(c.in) && want < size {
			size = want
		}
		c.in = append(make([]byte, 0, size), c.in...)
	}
	return c.in[len(c.in):cap(c.in)]
}

// execute does the commands that are whole in p, which is c.in or what was just read, and keeps the rest.
func (s *Server) execute(c *client, p []byte) {
	for len(p) > 0 && !c.closing {
		if len(c.out.Out)-c.sent > pauseBytes {
			c.paused = true
			break
		}
		args, n, err := c.parser.Next(p)
		if err != nil {
			s.stats.ProtocolErrors++
			c.out.Error("ERR Protocol error: " + err.Error())
			c.closing = true
			break
		}
		if n == 0 {
			break
		}
		if len(args) > 0 {
			s.do(c, args)
		}
		p = p[n:]
	}
	if c.fd < 0 {
		return
	}
	s.keepInput(c, p)
	s.queue(c)
	s.account(c)
}

// keepInput makes rest, the end of c.in or of what was just read, all that c.in has.
func (s *Server) keepInput(c *client, rest []byte) {
	switch {
	case len(rest) == 0 || c.closing:
		s.buffers.put(c.in)
		c.in = nil
		c.parser.Trim()
	case c.in == nil:
		c.in = append(s.buffers.get(len(rest)), rest...)
	default:
		c.in = c.in[:copy(c.in, rest)]
	}
}

// account counts the client's memory, and disconnects it if it takes more than there is.
func (s *Server) account(c *client) {
	now := cap(c.in) + cap(c.out.Out)
	grown := now > c.memory
	s.held += now - c.memory
	c.memory = now
	if grown && now > bufferBytes && s.held > s.cfg.ClientMemory || len(c.out.Out)-c.sent > outputBytes {
		s.stats.Evicted++
		s.drop(c)
	}
}

// queue has the output sent at the end of this turn.
func (s *Server) queue(c *client) {
	if !c.queued && c.fd >= 0 {
		c.queued = true
		s.unsent = append(s.unsent, c)
	}
}

// send writes all that may be sent. Clients that can go on executing then are queued for that.
func (s *Server) send() {
	for i := 0; i < len(s.unsent); i++ { // it may grow meanwhile
		c := s.unsent[i]
		c.queued = false
		if c.fd >= 0 {
			s.sendTo(c)
		}
	}
	clear(s.unsent)
	s.unsent = s.unsent[:0]
}

func (s *Server) sendTo(c *client) {
	if ready := c.ready(); ready > c.sent {
		n, err := unix.Write(c.fd, c.out.Out[c.sent:ready])
		if err != nil && !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
			s.drop(c)
			return
		}
		s.stats.BytesWritten += uint64(max(n, 0))
		c.sent += max(n, 0)
	}
	switch {
	case c.sent == len(c.out.Out):
		if c.closing {
			s.drop(c)
			return
		}
		s.buffers.put(c.out.Out)
		c.out.Out, c.sent = nil, 0
	case c.sent > len(c.out.Out)/2: // what is left moves to the front, at most once for each byte
		for i := range c.marks {
			c.marks[i].at -= c.sent
		}
		c.out.Out = c.out.Out[:copy(c.out.Out, c.out.Out[c.sent:])]
		c.sent = 0
	}
	s.account(c)
	if c.fd < 0 {
		return
	}
	if c.paused && len(c.out.Out)-c.sent <= pauseBytes {
		c.paused = false
		s.execute(c, c.in)
		if c.fd < 0 {
			return
		}
	}
	s.interest(c)
}

// interest has the poll look for what c can do next.
func (s *Server) interest(c *client) {
	events := uint32(0)
	if !c.paused && !c.closing {
		events |= unix.EPOLLIN
	}
	if c.ready() > c.sent {
		events |= unix.EPOLLOUT
	}
	if events == c.events {
		return
	}
	if s.watch(unix.EPOLL_CTL_MOD, c.fd, events) != nil {
		s.drop(c)
		return
	}
	c.events = events
}

// drop ends a connection at once.
func (s *Server) drop(c *client) {
	if c.fd < 0 {
		return
	}
	s.gathering.back(c)
	delete(s.clients, c.fd)
	_ = unix.Close(c.fd) // it leaves the poll with that; there is nobody to tell about an error
	c.fd = -1
	s.held -= c.memory
	c.memory = 0
	s.buffers.put(c.in)
	s.buffers.put(c.out.Out)
	c.in, c.out.Out, c.marks = nil, nil, nil
}
