package block_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"usui/host/need"
	"usui/machine/block"
	"usui/machine/block/blocktest"
)

// loop makes a block device with blocks of 4 KiB out of content.
func loop(t *testing.T, content []byte) string {
	t.Helper()
	need.Root(t)
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		t.Skip(err)
	}
	defer control.Close()
	backing, err := os.OpenFile(image(t, t.TempDir(), content), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer backing.Close()
	for range 20 { // somebody else may take the free number first
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			t.Skip(err)
		}
		path := fmt.Sprintf("/dev/loop%d", n)
		dev, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Skip(err)
		}
		err = unix.IoctlLoopConfigure(int(dev.Fd()), &unix.LoopConfig{Fd: uint32(backing.Fd()), Size: 4096})
		if errors.Is(err, unix.EBUSY) {
			dev.Close()
			continue
		}
		if err != nil {
			dev.Close()
			t.Skip(err)
		}
		t.Cleanup(func() {
			if err := unix.IoctlSetInt(int(dev.Fd()), unix.LOOP_CLR_FD, 0); err != nil {
				t.Errorf("free %s: %v", path, err)
			}
			dev.Close()
		})
		return path
	}
	t.Skip("no loop device is free")
	return ""
}

func TestBlockDevice(t *testing.T) {
	for _, e := range engines {
		t.Run(e.String(), func(t *testing.T) {
			blocktest.TestBackend(t, func(t *testing.T, content []byte, readOnly bool) block.Backend {
				f := open(t, loop(t, content), block.Options{ReadOnly: readOnly, Engine: e})
				if g := f.Geometry(); g.BlockSize != 4096 || g.Size != int64(len(content)) {
					t.Errorf("Geometry() = %+v, want %d bytes in blocks of 4096", g, len(content))
				}
				return f
			})
		})
	}
}

// What the kernel has claimed, as it does for a mounted file system, cannot be written but read.
func TestClaimedDevice(t *testing.T) {
	path := loop(t, make([]byte, 8192))
	claim, err := os.OpenFile(path, os.O_RDWR|os.O_EXCL, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = block.OpenFile(path, block.Options{})
	if !errors.Is(err, block.ErrInUse) || !strings.HasPrefix(err.Error(), path+": in use by the kernel (mounted") {
		t.Errorf("OpenFile for writing = %v, want that it is in use", err)
	}
	open(t, path, block.Options{ReadOnly: true}).Close()
	claim.Close()
	open(t, path, block.Options{}).Close()
	open(t, path, block.Options{}).Close() // Close gave the claim back
}
