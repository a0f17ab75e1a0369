package kv

import (
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// listen returns the descriptor of a socket that listens at an address of package net and does not block, and the address.
func listen(address string) (fd int, at string, err error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return -1, "", err
	}
	defer l.Close() // the copy goes on
	f, err := l.(*net.TCPListener).File()
	if err != nil {
		return -1, "", err
	}
	defer f.Close() // likewise
	raw, err := f.SyscallConn()
	if err != nil {
		return -1, "", err
	}
	var dupErr error
	if err := raw.Control(func(original uintptr) { fd, dupErr = unix.FcntlInt(original, unix.F_DUPFD_CLOEXEC, 0) }); err != nil {
		return -1, "", err
	}
	if dupErr != nil {
		return -1, "", os.NewSyscallError("fcntl", dupErr)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		_ = unix.Close(fd) // it was never used
		return -1, "", fmt.Errorf("listen at %s: %v", address, err)
	}
	return fd, l.Addr().String(), nil
}
