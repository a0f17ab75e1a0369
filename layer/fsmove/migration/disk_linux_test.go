package migration

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"usui/host/need"
)

// disk is a file system in a file.
type disk struct {
	file, at string
	options  string // of its mounts
}

// makeDisk makes an ext4 and mounts it.
func makeDisk(t *testing.T, megabytes int64, options ...string) *disk {
	t.Helper()
	// Reserved blocks are for root, which everybody is here. What is written reaches the disk only when somebody syncs it, and not by time.
	return formatDisk(t, megabytes, "loop,commit=600", append([]string{need.Tool(t, "mkfs.ext4", "e2fsprogs"), "-q", "-m", "0", "-b", "4096", "-I", "256"}, options...))
}

// makeXFS makes an xfs and mounts it.
func makeXFS(t *testing.T) *disk {
	t.Helper()
	return formatDisk(t, 320, "loop,nouuid", []string{need.Tool(t, "mkfs.xfs", "xfsprogs"), "-q"}) // 300 MiB is the least; a snapshot has the same UUID
}

func formatDisk(t *testing.T, megabytes int64, options string, mkfs []string) *disk {
	t.Helper()
	need.Root(t)
	need.Loop(t)
	d := &disk{filepath.Join(t.TempDir(), "disk"), t.TempDir(), options}
	f, err := os.Create(d.file)
	if err == nil {
		err = f.Truncate(megabytes << 20)
	}
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(mkfs[0], append(mkfs[1:], d.file)...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	d.mount(t)
	return d
}

// attach gives it one more block device, which is another than the one that it is mounted from, until the test ends.
func (d *disk) attach(t *testing.T) (device string) {
	t.Helper()
	losetup := need.Tool(t, "losetup", "mount")
	out, err := exec.Command(losetup, "--find", "--show", d.file).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	device = strings.TrimSpace(string(out))
	t.Cleanup(func() {
		if out, err := exec.Command(losetup, "--detach", device).CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	})
	return device
}

// mount mounts it, until the test ends.
func (d *disk) mount(t *testing.T) {
	t.Helper()
	d.mountFrom(t, d.file, d.options)
}

func (d *disk) mountFrom(t *testing.T, what, options string) {
	t.Helper()
	if out, err := exec.Command("mount", "-o", options, what, d.at).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Cleanup(func() {
		for unix.Unmount(d.at, unix.MNT_DETACH) == nil { // a test that has failed may have files open
		}
	})
}

// unmount unmounts it.
func (d *disk) unmount(t *testing.T) {
	t.Helper()
	if out, err := exec.Command("umount", d.at).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// snapshot copies what the disk has now, as a machine finds it after a power cut: what was not written to it is lost.
func (d *disk) snapshot(t *testing.T) *disk {
	t.Helper()
	c := &disk{filepath.Join(t.TempDir(), "disk"), t.TempDir(), d.options}
	from, err := os.Open(d.file)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	to, err := os.Create(c.file)
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	if err := copyData(to, from); err != nil {
		t.Fatal(err)
	}
	return c
}

// copyData copies a file but for its holes.
func copyData(to, from *os.File) error {
	info, err := from.Stat()
	if err != nil {
		return err
	}
	for off := int64(0); ; {
		if off, err = unix.Seek(int(from.Fd()), off, unix.SEEK_DATA); err != nil {
			break // none is left
		}
		end, err := unix.Seek(int(from.Fd()), off, unix.SEEK_HOLE)
		if err != nil {
			return err
		}
		if _, err := io.Copy(io.NewOffsetWriter(to, off), io.NewSectionReader(from, off, end-off)); err != nil {
			return err
		}
		off = end
	}
	return to.Truncate(info.Size())
}
