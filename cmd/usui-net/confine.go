package main

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// inherited takes the card's sockets.
func inherited(count int) ([]*os.File, error) {
	var files []*os.File
	for fd := 3; fd < 3+count; fd++ {
		kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
		if err != nil || kind != unix.SOCK_SEQPACKET {
			return nil, fmt.Errorf("descriptor %d is not a card's socket: \"usui run --net user\" starts this program", fd)
		}
		unix.CloseOnExec(fd)
		if err := unix.SetNonblock(fd, true); err != nil {
			return nil, os.NewSyscallError("fcntl", err)
		}
		files = append(files, os.NewFile(uintptr(fd), "card"))
	}
	return files, nil
}

// ownFiles are the descriptors that the Go runtime and the standard streams need.
const ownFiles = 32

// confine gives up what the network does not need, after all that needs it: published ports may be privileged ones.
func confine(descriptors int) error {
	limits := []struct {
		name     string
		resource int
		most     uint64
	}{
		{"NOFILE", unix.RLIMIT_NOFILE, uint64(descriptors + ownFiles)},
		{"CORE", unix.RLIMIT_CORE, 0},
		{"FSIZE", unix.RLIMIT_FSIZE, 0},
	}
	for _, l := range limits {
		var r unix.Rlimit
		if err := unix.Getrlimit(l.resource, &r); err != nil {
			return fmt.Errorf("limit %s: %w", l.name, err)
		}
		r.Max = min(r.Max, l.most)
		r.Cur = r.Max
		if err := unix.Setrlimit(l.resource, &r); err != nil {
			return fmt.Errorf("limit %s: %w", l.name, err)
		}
	}
	return dropPrivileges()
}
