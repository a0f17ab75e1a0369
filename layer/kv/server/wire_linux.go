package server

import (
	"errors"

	"golang.org/x/sys/unix"
)

// wire carries a client's bytes. Nothing of it blocks.
type wire interface {
	// receive executes what has arrived, or drops the client if nothing more will come.
	receive(s *Server, c *client)
	// write takes bytes, and says how many.
	write(s *Server, p []byte) (int, error)
	// look has the loop told of events, those of epoll, and of no others.
	look(s *Server, events uint32) error
	close()
}

// socket is a wire through the kernel.
type socket int

// receive reads once, so that nobody is served at the cost of others.
func (w socket) receive(s *Server, c *client) {
	p := s.input[:]
	if len(c.in) > 0 {
		p = s.growInput(c)
	}
	s.stats.Calls++
	n, err := unix.Read(int(w), p)
	switch {
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		return
	case err != nil || n == 0:
		s.drop(c)
		return
	}
	s.stats.BytesRead += uint64(n)
	c.last = s.now
	if len(c.in) > 0 {
		c.in = c.in[:len(c.in)+n]
		s.execute(c, c.in)
		return
	}
	s.execute(c, p[:n])
}

func (w socket) write(s *Server, p []byte) (int, error) {
	s.stats.Calls++
	n, err := unix.Write(int(w), p)
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
		return 0, nil
	}
	return max(n, 0), err
}

func (w socket) look(s *Server, events uint32) error {
	return s.watch(unix.EPOLL_CTL_MOD, int(w), events)
}

// close takes it out of the poll, too; there is nobody to tell about an error.
func (w socket) close() { _ = unix.Close(int(w)) }
