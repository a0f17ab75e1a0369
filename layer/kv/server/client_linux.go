package server

import (
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"usui/layer/kv/engine"
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
	fd     int // -1 once it is closed; of one without a descriptor, a number beyond all descriptors
	loop   *loop
	wire   wire
	left   *left // nil for a socket
	id     uint64
	peer   string
	here   string // the address at which it came in, once it was asked for
	name   string
	unix   bool   // came by a Unix socket
	gone   func() // is told when the client is disconnected; may be nil
	since  int64  // Unix time in milliseconds
	last   int64
	events uint32 // what the poll looks for

	parser  resp.Parser
	in      []byte // what was read and not executed
	out     resp.Writer
	sent    int    // bytes of out
	marks   []mark // from where on out waits
	memory  int    // what is counted for in and out
	waits   bool   // is in Server.waiting
	queued  bool   // is in loop.unsent
	busy    bool   // its loop reads or writes for it, without the lock
	paused  bool   // does not execute: too much output
	stalled bool   // does not execute: CLIENT PAUSE
	wait    *vigil // does not execute: it is blocked; nil if not
	closing bool   // ends when out is sent
	trusted bool   // has given the password
	command string // the last one

	mute           bool // wants no replies (CLIENT REPLY)
	skip, skipNext bool // wants none to this command, to the next

	deleting     deleting         // of the command that is to be done again
	need         uint64           // what the last of its replies waits for, or waited
	queue        *transaction     // since MULTI; nil outside
	backup       *engine.Snapshot // nil: none
	watches      map[string]watch
	watchedBytes int  // what they take
	stale        bool // a watched key changed
	topics       [kinds]map[string]bool
	topicBytes   int   // what they take
	softSince    int64 // since when more waits than outputLimit.soft; 0: it does not
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

// read takes what has arrived.
func (s *Server) read(c *client) {
	if c.paused || c.closing || c.stalled || c.wait != nil {
		if c.wire.left(c) {
			s.drop(c)
		}
		return
	}
	c.wire.receive(s, c)
}

// goOn executes what a client has sent while it was not executed for, and has the rest of it read.
func (s *Server) goOn(c *client) {
	s.execute(c, c.in)
	if c.fd >= 0 && c.wire.look(c, c.events) != nil {
		s.drop(c)
	}
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
	if rest := s.run(c, p); c.fd >= 0 {
		s.settle(c, rest)
	}
}

// run does the commands that are whole in p, and returns the rest.
func (s *Server) run(c *client, p []byte) (rest []byte) {
	c.loop.clock = time.Now()
	for len(p) > 0 && c.fd >= 0 && !c.closing && c.wait == nil {
		if len(c.out.Out)-c.sent > pauseBytes {
			c.paused = true
			break
		}
		args, n, err := c.parser.Next(p)
		if err != nil {
			c.loop.stats.ProtocolErrors++
			c.out.Error("ERR Protocol error: " + err.Error())
			c.closing = true
			break
		}
		if n == 0 {
			break
		}
		if c.left.open() && !s.offer(c, args) {
			p = s.rejoin(c, p)
			continue
		}
		if len(args) > 0 {
			switch s.do(c, args) {
			case putOff:
				return p
			case needsAll: // for the rest of what it has sent, too: to get all takes longer than most commands
				c.alone(func() { p = s.run(c, p) })
				return p
			}
		}
		if c.left.open() {
			s.letGo(c)
		}
		p = p[n:]
	}
	return p
}

// settle keeps what is not executed yet, and has what is to be sent sent.
func (s *Server) settle(c *client, rest []byte) {
	s.keepInput(c, rest)
	s.queue(c)
	s.account(c)
}

// keepInput makes rest, the end of c.in or of what was just read, all that c.in has.
func (s *Server) keepInput(c *client, rest []byte) {
	switch {
	case len(rest) == 0 || c.closing:
		c.loop.buffers.put(c.in)
		c.in = nil
		c.parser.Trim()
	case c.in == nil:
		c.in = append(c.loop.buffers.get(len(rest)), rest...)
	default:
		c.in = c.in[:copy(c.in, rest)]
	}
}

// account counts the client's memory, and disconnects it if it takes more than there is.
func (s *Server) account(c *client) {
	now := c.takes()
	grown := now > c.memory
	if now != c.memory {
		s.held.Add(int64(now - c.memory))
		c.memory = now
	}
	if grown && s.tooMuch(c) || len(c.out.Out)-c.sent > outputBytes {
		if !c.closing { // else it is counted, or leaves anyway
			c.loop.stats.Evicted++
		}
		s.drop(c)
	}
}

// takes is the memory for a client's buffers, and for what it has queued, watches and listens to.
func (c *client) takes() int {
	return cap(c.in) + cap(c.out.Out) + c.queue.memory() + c.watchedBytes + c.topicBytes + c.wait.memory()
}

// tooMuch says that a client's buffers are more than it may have, or than there is.
func (s *Server) tooMuch(c *client) bool {
	now := c.takes()
	return now > bufferBytes && int(s.held.Load())-c.memory+now > s.cfg.ClientMemory || len(c.out.Out)-c.sent > outputBytes
}

// queue has the output sent at the end of its loop's turn.
func (s *Server) queue(c *client) {
	if !c.queued && c.fd >= 0 {
		c.queued = true
		c.loop.unsent = append(c.loop.unsent, c)
		c.loop.tell()
	}
}

func (s *Server) sendTo(c *client) {
	if ready := c.ready(); ready > c.sent {
		n, err := c.wire.write(s, c, c.out.Out[c.sent:ready])
		if err != nil {
			s.drop(c)
		}
		if c.fd < 0 {
			return
		}
		c.loop.stats.BytesWritten += uint64(n)
		c.sent += n
	}
	switch {
	case c.sent == len(c.out.Out):
		if c.closing {
			s.drop(c)
			return
		}
		c.loop.buffers.put(c.out.Out)
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
		s.goOn(c)
		if c.fd < 0 {
			return
		}
	}
	s.interest(c)
}

// interest has the poll look for what c can do next.
func (s *Server) interest(c *client) {
	events := uint32(0)
	switch {
	case c.wait != nil:
		events |= unix.EPOLLRDHUP // else what it waits for would be lost with it
	case !c.paused && !c.closing && !c.stalled:
		events |= unix.EPOLLIN
	}
	if c.ready() > c.sent {
		events |= unix.EPOLLOUT
	}
	if events == c.events {
		return
	}
	if c.wire.look(c, events) != nil {
		s.drop(c)
		return
	}
	c.events = events
}

// drop ends a connection at once.
func (s *Server) drop(c *client) {
	if c.fd >= 0 {
		c.alone(func() { s.end(c) })
	}
}

// end is drop for who has all of the server.
func (s *Server) end(c *client) {
	delete(s.clients, c.fd)
	s.forget(c)
	s.unblock(c)
	s.leaveAll(c)
	s.endBackup(c)
	if c.gone != nil {
		c.gone()
	}
	s.letGo(c)
	c.fd = -1
	c.loop.clients--
	s.held.Add(-int64(c.memory))
	c.memory = 0
	if !c.busy {
		s.bury(c)
	}
}

// bury gives back what a client that was dropped had.
func (s *Server) bury(c *client) {
	c.wire.close()
	c.loop.tell() // a connection of the bypass ends in its turn
	c.loop.buffers.put(c.in)
	c.loop.buffers.put(c.out.Out)
	c.in, c.out.Out, c.marks = nil, nil, nil
}

// outside makes a system call for the client without the lock. The client may be dropped meanwhile: then its fd is -1.
func (c *client) outside(f func() (int, error)) (n int, err error) {
	c.keep(func() { c.loop.outside(func() { n, err = f() }) })
	return n, err
}

// keep calls f, which lets the lock go in between, so that the client may be dropped: its descriptor and its buffers stay until f is back.
func (c *client) keep(f func()) {
	c.busy = true
	f()
	c.busy = false
	if c.fd < 0 {
		c.loop.s.bury(c)
	}
}

// alone calls f while no other loop does anything, unless the client was dropped before that came to be.
func (c *client) alone(f func()) {
	if c.loop.s.owner != nil {
		f()
		return
	}
	c.keep(func() {
		c.loop.alone(func() {
			if c.fd >= 0 {
				f()
			}
		})
	})
}
