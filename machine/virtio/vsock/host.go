package vsock

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// maxLine is the length of the longest line that a client may begin with: "CONNECT 4294967295" and its end, with room for odd spaces.
const maxLine = 32

// backlog is how many clients the kernel keeps that the device has not looked at.
const backlog = 128

// listen makes a socket at path for its owner alone.
func listen(path string) (fd int, node os.FileInfo, err error) {
	if fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0); err != nil {
		return -1, nil, os.NewSyscallError("socket", err)
	}
	defer func() {
		if err != nil {
			unix.Close(fd)
		}
	}()
	// The file gets the mode of the socket's inode, less what the umask takes away: at no time may others connect.
	if err := unix.Fchmod(fd, 0o600); err != nil {
		return -1, nil, os.NewSyscallError("fchmod", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		return -1, nil, bindError(path, err)
	}
	if node, err = os.Lstat(path); err != nil {
		return -1, nil, err
	}
	if err := unix.Listen(fd, backlog); err != nil {
		return -1, nil, errors.Join(os.NewSyscallError("listen", err), os.Remove(path))
	}
	return fd, node, nil
}

// bindError says what to do about a path that cannot be bound.
func bindError(path string, err error) error {
	if err != unix.EADDRINUSE {
		return os.NewSyscallError("bind", err)
	}
	if node, err := os.Lstat(path); err == nil && node.Mode().Type() != fs.ModeSocket {
		return errors.New("there is a file of this name that is no socket; choose another one")
	}
	fd, err := connect(path)
	if err == nil {
		unix.Close(fd)
	}
	if err == nil || err == unix.EAGAIN {
		return errors.New("in use: somebody listens there; choose another path, or end the machine that has it")
	}
	return fmt.Errorf("left over: nobody listens there any more; remove it (rm %s)", path)
}

// connect connects to a Unix socket without waiting: a listener whose backlog is full is EAGAIN.
func connect(path string) (int, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// portPath is where a program of the host listens for the guest.
func portPath(path string, port uint32) string {
	return path + "_" + strconv.FormatUint(uint64(port), 10)
}

// parseConnect reads a client's line, "CONNECT PORT" in any case.
func parseConnect(line []byte) (port uint32, ok bool) {
	words := bytes.Fields(line)
	if len(words) != 2 || !bytes.EqualFold(words[0], []byte("connect")) {
		return 0, false
	}
	n, err := strconv.ParseUint(string(words[1]), 10, 32)
	return uint32(n), err == nil
}

// accept takes clients until there are no more, or too many that have not said what they want.
func (m *mux) accept() {
	for m.knocking && m.hellos < m.dev.limits.hellos {
		fd, _, err := unix.Accept4(m.dev.listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		switch err {
		case nil:
			if c := m.add(fd, stateHello); c != nil {
				m.hellos++
				m.limit(c, m.dev.limits.hello)
			}
		case unix.EAGAIN:
			m.knocking = false
		case unix.ECONNABORTED, unix.EINTR:
		default: // no descriptor or memory is free; there is no edge for that
			m.retry = m.now() + retryTime
			m.earliest = soonest(m.earliest, m.retry)
			m.knocking = false
		}
	}
}

// retryTime is until the next try when the process is out of descriptors.
const retryTime = 100 * time.Millisecond

// hello reads a client's first line, and not a byte beyond: what follows is for the guest.
func (m *mux) hello(c *conn) {
	for c.readable {
		n, _, err := unix.Recvfrom(c.fd, c.line[c.got:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		if err == unix.EAGAIN {
			c.readable = false
			return
		}
		if err != nil || n == 0 {
			m.free(c)
			return
		}
		end := bytes.IndexByte(c.line[c.got:c.got+n], '\n')
		if end >= 0 {
			n = end + 1
		}
		if _, _, err := unix.Recvfrom(c.fd, c.line[c.got:c.got+n], unix.MSG_DONTWAIT); err != nil {
			m.free(c)
			return
		}
		if c.got += n; end >= 0 {
			m.ask(c)
			return
		}
		if c.got == len(c.line) {
			m.free(c)
			return
		}
	}
}

// firstPort is the first of the host's ports that clients get. Programs of the host that guests connect to have smaller ones.
const firstPort = 1 << 30

// ask asks the guest for the connection that a client wants.
func (m *mux) ask(c *conn) {
	port, ok := parseConnect(c.line[:c.got])
	if !ok || m.full() {
		m.dev.counters.refused.Add(1)
		m.free(c)
		return
	}
	for c.key = (key{guest: port}); ; { // ends: there are more ports than connections
		c.key.host = firstPort + m.nextPort%firstPort
		m.nextPort++
		if m.conns[c.key] == nil {
			break
		}
	}
	m.hellos--
	m.conns[c.key] = c
	c.state = stateAsked
	m.limit(c, m.dev.limits.answer)
	m.tell(c, sayRequest)
}

// answered tells the client that the guest took the connection.
func (m *mux) answered(c *conn) {
	line := append(strconv.AppendUint(append(c.line[:0], "OK "...), uint64(c.key.host), 10), '\n')
	m.parts = append(m.parts[:0], line)
	n, errno := m.vector.send(c.fd, m.parts)
	if errno != 0 || n < len(line) { // the socket is fresh and has room; its reader may be gone
		m.kill(c)
		return
	}
	c.state, c.deadline = stateOpen, 0
	m.dev.counters.opened.Add(1)
	m.wants(c)
}

// drain gives what is late a last chance. Afterwards it is gone.
func (d *Vsock) drain() {
	var v vector
	for until := time.Now().Add(d.limits.linger); len(d.late) > 0; {
		var polls []unix.PollFd
		rest := d.late[:0]
		for _, l := range d.late {
			if l.flush(&v) {
				rest = append(rest, l)
				polls = append(polls, unix.PollFd{Fd: int32(l.fd), Events: unix.POLLOUT})
				continue
			}
			l.close(&d.pool)
		}
		d.late = rest
		left := time.Until(until)
		if len(polls) == 0 || left <= 0 {
			break
		}
		if _, err := unix.Poll(polls, int(left.Milliseconds())+1); err != nil && err != unix.EINTR {
			break
		}
	}
	for _, l := range d.late {
		l.close(&d.pool)
	}
	d.late = nil
}

// flush writes as much as the reader takes now, and says whether there is more that it may take later.
func (l *late) flush(v *vector) bool {
	for l.ring.n > 0 {
		n, errno := v.send(l.fd, l.ring.appendTo(nil))
		if errno != 0 {
			return errno == unix.EAGAIN
		}
		l.ring.drop(n)
	}
	return false
}

func (l *late) close(p *pool) {
	unix.Close(l.fd)
	p.give(&l.ring)
}
