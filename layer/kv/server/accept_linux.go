package server

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// hear has the poll look at the listeners, or no longer.
func (s *Server) hear(how int) error {
	for _, fd := range s.cfg.Listeners {
		if err := s.loops[0].watch(how, fd, unix.EPOLLIN); err != nil && !errors.Is(err, unix.EEXIST) {
			return err
		}
	}
	return nil
}

// accept takes all clients that wait at a listener.
func (s *Server) accept(listener int) error {
	for {
		fd, peer, err := unix.Accept4(listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return nil
		case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE), errors.Is(err, unix.ENOBUFS), errors.Is(err, unix.ENOMEM):
			if s.deaf {
				return nil
			}
			s.deaf = true // else the loop would spin until a descriptor is free
			return s.hear(unix.EPOLL_CTL_DEL)
		case err != nil:
			continue // this client is gone again
		}
		s.welcome(fd, peer)
	}
}

// welcome admits a client that was accepted.
func (s *Server) welcome(fd int, peer unix.Sockaddr) {
	from := Origin{Peer: address(peer)}
	if _, from.unix = peer.(*unix.SockaddrUnix); from.unix {
		if here, err := unix.Getsockname(fd); err == nil { // the peer has no name
			from.Peer = address(here)
		}
	} else {
		for _, o := range [...][3]int{{unix.IPPROTO_TCP, unix.TCP_NODELAY, 1}, {unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1}, {unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 300}} {
			if err := unix.SetsockoptInt(fd, o[0], o[1], o[2]); err != nil {
				_ = unix.Close(fd) // it is gone again
				return
			}
		}
	}
	_ = s.admit(socket(fd), fd, from) // it was told, and counted
}

// Attach makes a client of a descriptor that does not block, which becomes the server's even if it is refused. Any goroutine may call it.
func (s *Server) Attach(fd int, from Origin) error {
	var err error
	if asked := s.Ask(func() { err = s.admit(socket(fd), fd, from) }); asked != nil {
		_ = unix.Close(fd) // nothing was sent that could be lost
		return asked
	}
	return err
}

// ErrRefused is the error of [Server.Attach] for a client that was sent away.
var ErrRefused = errors.New("max number of clients reached")

// Origin is where a client comes from.
type Origin struct {
	Peer, Here string // addresses
	Gone       func() // called by a loop when the client is disconnected; may be nil

	unix bool
}

// admit makes a client of a wire, or closes it. fd is its descriptor, or a number in the place of one.
func (s *Server) admit(w wire, fd int, from Origin) (err error) {
	defer func() {
		if err != nil {
			s.loops[0].stats.Rejected++
			w.close() // nothing was sent that could be lost
		}
	}()
	if len(s.clients) >= s.cfg.Clients {
		_, _ = w.write(s, nil, []byte("-ERR max number of clients reached\r\n")) // as far as it goes: the client is sent away
		return ErrRefused
	}
	l := s.loops[0]
	if _, polled := w.(socket); polled {
		l = s.idlest()
		if err := l.watch(unix.EPOLL_CTL_ADD, fd, unix.EPOLLIN); err != nil {
			return err
		}
	}
	l.clients++
	s.lastID++
	c := &client{fd: fd, loop: l, wire: w, id: s.lastID, peer: from.Peer, here: from.Here, unix: from.unix, gone: from.Gone, since: s.now.Load(), last: s.now.Load(), events: unix.EPOLLIN, trusted: s.cfg.Password == ""}
	c.parser.MaxBulk, c.parser.MaxCommand = s.maxBulk(), 2*s.maxBulk()+(1<<20)
	if _, polled := w.(socket); !polled {
		c.left = &left{}
	}
	c.parser.Stranger = !c.trusted
	c.out.Max = outputBytes
	s.clients[fd] = c
	l.stats.Accepted++
	return nil
}

func address(a unix.Sockaddr) string {
	switch a := a.(type) {
	case *unix.SockaddrInet4:
		return fmt.Sprintf("%d.%d.%d.%d:%d", a.Addr[0], a.Addr[1], a.Addr[2], a.Addr[3], a.Port)
	case *unix.SockaddrInet6:
		return fmt.Sprintf("[%x]:%d", a.Addr, a.Port)
	}
	if u, ok := a.(*unix.SockaddrUnix); ok {
		return u.Name + ":0" // as Redis writes it
	}
	return ""
}
