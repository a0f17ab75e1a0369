package front

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"usui/layer/fsmove/live"
)

// note keeps the number of the connection, which is that of the mount's device, for the time when it is not mounted any more.
func (d *Mount) note() error {
	all, err := mountinfo()
	if err != nil {
		return err
	}
	device := ""
	for _, m := range all {
		if m.at == d.path && m.kind == FileSystem {
			device = m.device
		}
	}
	_, minor, _ := strings.Cut(device, ":")
	n, err := strconv.ParseUint(minor, 10, 32)
	if err != nil || n == 0 {
		return fmt.Errorf("%s: its mount is not in /proc/self/mountinfo (device %q)", d.path, device)
	}
	_, err = d.seat.Table.Put(live.Record{Kind: connectionRecord, Key: n})
	return err
}

// number is the connection's, which was noted. d.placing is held.
func (d *Mount) number() (uint64, error) {
	for _, r := range d.seat.Table.All() {
		if r.Kind == connectionRecord {
			return r.Key, nil
		}
	}
	return 0, errors.New("BUG: the connection has no number")
}

// abort ends a connection: fusectl in the kernel's fuse.rst. It is mounted nowhere for that.
func abort(connection uint64) error {
	fs, err := unix.Fsopen("fusectl", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("fsopen fusectl", err)
	}
	defer unix.Close(fs)
	if err := unix.FsconfigCreate(fs); err != nil {
		return os.NewSyscallError("fsconfig fusectl", err)
	}
	top, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("fsmount fusectl", err)
	}
	defer unix.Close(top)
	fd, err := unix.Openat(top, fmt.Sprintf("%d/abort", connection), unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) { // it has ended
		return nil
	}
	if err != nil {
		return os.NewSyscallError("openat fusectl", err)
	}
	defer unix.Close(fd)
	_, err = unix.Write(fd, []byte("1"))
	return os.NewSyscallError("write fusectl", err)
}
