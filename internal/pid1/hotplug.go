package pid1

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// loadDriversOfNewcomers loads the modules of PCI devices that come while the guest runs, as it loads those of devices that are there. The
// caller loads the latter afterwards, so that none is missed in between.
func loadDriversOfNewcomers(pci, lists string) error {
	if _, err := os.Stat(lists); errors.Is(err, fs.ErrNotExist) {
		return nil // the lab
	}
	events, err := kernelEvents()
	if err != nil {
		return fmt.Errorf("listen for devices: %w", err)
	}
	guarded(func() { // ends with the guest
		err := eachNewcomer(events, func() {
			for _, remark := range loadDeviceModules(pci, lists) {
				console("usui-init: " + remark)
			}
		})
		console(fmt.Sprintf("usui-init: listen for devices: %v", err))
	})
	return nil
}

// kernelEvents is a socket on which the kernel tells of devices (lib/kobject_uevent.c).
func kernelEvents() (io.Reader, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	const fromKernel = 1 // the group; the other one is udev's
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: fromKernel}); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("bind", err)
	}
	return os.NewFile(uintptr(fd), "kernel events"), nil
}

// eachNewcomer calls came for each PCI device that comes, and when events were lost, until events fail.
func eachNewcomer(events io.Reader, came func()) error {
	event := make([]byte, 8<<10) // the kernel's are a path and at most 2 KiB of variables
	for {
		n, err := events.Read(event)
		if errors.Is(err, unix.ENOBUFS) || err == nil && isNewcomer(event[:n]) {
			came()
		} else if err != nil {
			return err
		}
	}
}

// isNewcomer says whether an event, lines that end with a zero, is of a PCI device that has come.
func isNewcomer(event []byte) bool {
	lines := bytes.Split(event, []byte{0})
	has := func(line string) bool {
		return slices.ContainsFunc(lines, func(l []byte) bool { return string(l) == line })
	}
	return has("ACTION=add") && has("SUBSYSTEM=pci")
}
