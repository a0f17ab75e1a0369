package kv

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// listener is a socket that listens and does not block.
type listener struct {
	fd      int
	address string
	path    string // of a Unix socket, empty for others
}

// listenAll listens at all of a list of addresses with commas between them, or at none.
func listenAll(addresses string) (all []listener, err error) {
	defer func() {
		if err != nil {
			for _, l := range all {
				_ = unix.Close(l.fd) // nobody has come yet
				l.remove()
			}
		}
	}()
	for address := range strings.SplitSeq(addresses, ",") {
		l, err := listen(address)
		if err != nil {
			return all, err
		}
		all = append(all, l)
	}
	return all, nil
}

// checkAddress says what is wrong with an address to listen at, by its form alone. An empty one would be every interface, and a port by chance.
func checkAddress(address string) error {
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		if path == "" {
			return errors.New("unix: wants a path, as in unix:/run/kv.sock")
		}
		return nil
	}
	_, port, err := net.SplitHostPort(address)
	if err == nil && port == "" {
		err = errors.New("no port")
	}
	if err == nil {
		_, err = net.LookupPort("tcp", port)
	}
	if err != nil {
		return fmt.Errorf("want HOST:PORT, :PORT or unix:PATH: %w", err)
	}
	return nil
}

// listen listens at an address of package net, or, behind unix:, at a path.
func listen(address string) (listener, error) {
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		l, err := listenUnix(path)
		if err != nil {
			return listener{}, err
		}
		defer l.Close() // the copy goes on
		fd, err := copyOf(l)
		return listener{fd, address, path}, err
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return listener{}, err
	}
	defer l.Close() // the copy goes on
	fd, err := copyOf(l.(*net.TCPListener))
	return listener{fd, l.Addr().String(), ""}, err
}

// listenUnix makes a socket that its owner alone may use. One that a killed server left is replaced.
func listenUnix(path string) (*net.UnixListener, error) {
	// The kernel gives the file the mode of the socket: unix(7), "Pathname socket ownership and permissions". So at no time may others use it.
	private := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		return errors.Join(c.Control(func(fd uintptr) { err = unix.Fchmod(int(fd), 0o600) }), err)
	}}
	l, err := private.Listen(context.Background(), "unix", path)
	if errors.Is(err, unix.EADDRINUSE) && left(path) {
		if err := os.Remove(path); err != nil {
			return nil, err
		}
		l, err = private.Listen(context.Background(), "unix", path)
	}
	if err != nil {
		return nil, err
	}
	u := l.(*net.UnixListener)
	u.SetUnlinkOnClose(false) // the copy goes on
	return u, nil
}

// left says that a socket belongs to nobody any more.
func left(path string) bool {
	if i, err := os.Lstat(path); err != nil || i.Mode().Type() != fs.ModeSocket {
		return false
	}
	c, err := net.Dial("unix", path)
	if err == nil {
		c.Close()
	}
	return errors.Is(err, unix.ECONNREFUSED)
}

// remove removes the file of a Unix socket.
func (l listener) remove() {
	if l.path != "" {
		_ = os.Remove(l.path) // it may be gone, and there is nothing else to do about it
	}
}

// copyOf returns a descriptor of its own for a socket, which Go's poller does not know.
func copyOf(s syscall.Conn) (fd int, err error) {
	raw, err := s.SyscallConn()
	if err != nil {
		return -1, err
	}
	var dupErr error
	if err := raw.Control(func(original uintptr) { fd, dupErr = unix.FcntlInt(original, unix.F_DUPFD_CLOEXEC, 0) }); err != nil {
		return -1, err
	}
	if dupErr != nil {
		return -1, os.NewSyscallError("fcntl", dupErr)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		_ = unix.Close(fd) // it was never used
		return -1, fmt.Errorf("make a socket non-blocking: %w", err)
	}
	return fd, nil
}
