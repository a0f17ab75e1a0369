package pid1

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// portTimeout bounds the wait for a device.
const portTimeout = 30 * time.Second

// portNames are the names of the virtio-serial ports, in the order of the fields of [Ports].
var portNames = [...]string{"usui.control", "usui.stdin", "usui.stdout", "usui.stderr"}

// openPorts waits for the four ports and opens them, connected to the host.
func openPorts() (Ports, error) {
	var found map[string]string
	err := waitFor(portTimeout, func() (bool, error) {
		found = findPorts("/sys/class/virtio-ports")
		return len(found) == len(portNames), nil
	})
	if err != nil {
		return Ports{}, fmt.Errorf("virtio-serial ports %q, of them there are %v: %w", portNames, found, err)
	}
	var files [len(portNames)]*os.File
	for i, name := range portNames {
		if files[i], err = openPort("/dev/" + found[name]); err != nil {
			for _, f := range files[:i] {
				f.Close()
			}
			return Ports{}, fmt.Errorf("port %s: %w", name, err)
		}
	}
	return Ports{files[0], files[1], files[2], files[3]}, nil
}

// findPorts maps the names of our ports to their device nodes. Linux makes both before it says so in a uevent.
func findPorts(class string) map[string]string {
	found := make(map[string]string)
	// The pattern is well-formed, the one cause of an error.
	files, _ := filepath.Glob(class + "/*/name")
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		name := strings.TrimSpace(string(text))
		for _, want := range portNames {
			if name == want {
				found[name] = filepath.Base(filepath.Dir(file))
			}
		}
	}
	return found
}

// openPort opens a port and waits until the host has opened its end: until then a read gives the end of the stream.
func openPort(node string) (*os.File, error) {
	fd, err := unix.Open(node, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", node, err)
	}
	if err := awaitHost(fd, portTimeout); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), node), nil
}

// awaitHost waits until the port has no EPOLLHUP. poll(2) would return at once for as long as there is one; edge-triggered
// epoll(7) reports each change once.
func awaitHost(fd int, limit time.Duration) error {
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return fmt.Errorf("epoll_create: %w", err)
	}
	defer unix.Close(ep)
	event := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLET&0xffffffff, Fd: int32(fd)}
	if err := unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, fd, &event); err != nil {
		return fmt.Errorf("epoll_ctl: %w", err)
	}
	end := time.Now().Add(limit)
	for {
		var events [1]unix.EpollEvent
		n, err := unix.EpollWait(ep, events[:], int(time.Until(end).Milliseconds()))
		switch {
		case err == unix.EINTR:
		case err != nil:
			return fmt.Errorf("epoll_wait: %w", err)
		case n == 1 && events[0].Events&unix.EPOLLHUP == 0:
			return nil
		}
		if !time.Now().Before(end) {
			return fmt.Errorf("no host opened its end within %v", limit)
		}
	}
}

// waitFor returns when ready is true. It asks again after each uevent of the kernel (kobject_uevent, group 1).
func waitFor(limit time.Duration, ready func() (bool, error)) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		return fmt.Errorf("uevent socket: %w", err)
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1}); err != nil {
		return fmt.Errorf("bind uevent socket: %w", err)
	}
	end := time.Now().Add(limit)
	for {
		if ok, err := ready(); ok || err != nil {
			return err
		}
		left := time.Until(end)
		if left <= 0 {
			return fmt.Errorf("not there after %v", limit)
		}
		if err := nextEvent(fd, left); err != nil {
			return err
		}
	}
}

// nextEvent returns after an event or after the time left.
func nextEvent(fd int, left time.Duration) error {
	// One microsecond at least: zero would mean to wait for ever.
	tv := unix.NsecToTimeval(max(left, time.Microsecond).Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
		return fmt.Errorf("set receive timeout: %w", err)
	}
	var buf [1]byte
	_, _, err := unix.Recvfrom(fd, buf[:], 0)
	// ENOBUFS: events were lost, which is as good as one. EAGAIN: the time is up.
	if err == nil || errors.Is(err, unix.EINTR) || errors.Is(err, unix.ENOBUFS) || errors.Is(err, unix.EAGAIN) {
		return nil
	}
	return fmt.Errorf("receive uevent: %w", err)
}
