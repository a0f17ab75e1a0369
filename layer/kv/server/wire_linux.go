package server

import (
	"errors"

	"golang.org/x/sys/unix"

	"usui/host/nonblock"
)

// wire carries a client's bytes. Nothing of it blocks.
type wire interface {
	// receive executes what has arrived, or drops the client if nothing more will come.
	receive(s *Server, c *client)
	// write takes bytes, and says how many. The client may be dropped meanwhile, and is nil for one that is not admitted.
	write(s *Server, c *client, p []byte) (int, error)
	// look has the client's loop told of events, those of epoll, and of no others.
	look(c *client, events uint32) error
	// left says whether an event for a client that is not read from means that it has gone, or will say nothing more and waits.
	left(c *client) bool
	close()
}

// socket is a wire through the kernel.
type socket int

// receive reads once, so that nobody is served at the cost of others.
func (w socket) receive(s *Server, c *client) {
	p := c.loop.input[:]
	if len(c.in) > 0 {
		p = s.growInput(c)
	}
	c.loop.stats.Calls++
	n, err := c.outside(func() (int, error) { return nonblock.Read(int(w), p) })
	switch {
	case c.fd < 0:
		return
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		return
	case err != nil || n == 0:
		s.drop(c)
		return
	}
	c.loop.stats.BytesRead += uint64(n)
	c.last = s.now.Load()
	if len(c.in) > 0 {
		c.in = c.in[:len(c.in)+n]
		s.execute(c, c.in)
		return
	}
	s.execute(c, p[:n])
}

func (w socket) write(s *Server, c *client, p []byte) (int, error) {
	f := func() (int, error) { return nonblock.Write(int(w), p) }
	if c == nil {
		return f()
	}
	c.loop.stats.Calls++
	n, err := c.outside(f)
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
		return 0, nil
	}
	return max(n, 0), err
}

func (w socket) look(c *client, events uint32) error {
	return c.loop.watch(unix.EPOLL_CTL_MOD, int(w), events)
}

// left says so of every event: nothing else was asked for.
func (w socket) left(c *client) bool { return c.events&unix.EPOLLIN == 0 }

// close takes it out of the poll, too; there is nobody to tell about an error.
func (w socket) close() { _ = unix.Close(int(w)) }
