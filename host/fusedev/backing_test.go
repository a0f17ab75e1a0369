package fusedev

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"usui/host/need"
)

// TestADeviceWithoutAConnectionRefuses needs a mount for what succeeds: layer/fsmove/front has one.
func TestADeviceWithoutAConnectionRefuses(t *testing.T) {
	need.FUSE(t)
	f, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	dev, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(dev)
	if id, err := Open(dev, int(f.Fd())); !errors.Is(err, unix.EPERM) {
		t.Errorf("Open before a mount = %d, %v; want %v", id, err, unix.EPERM)
	}
	if err := Close(int(f.Fd()), 1); !errors.Is(err, unix.ENOTTY) {
		t.Errorf("Close of another device = %v, want %v", err, unix.ENOTTY)
	}
}
