package xfs

import (
	"encoding/binary"
	"errors"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"usui/host/need"
)

// TestAGenerationIsThatOfTheHandle has what name_to_handle_at(2) says to be compared with.
func TestAGenerationIsThatOfTheHandle(t *testing.T) {
	need.Root(t)
	need.Loop(t)
	dir := mount(t)
	top, err := unix.Open(dir, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(top)
	path := filepath.Join(dir, "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	h, _, err := unix.NameToHandleAt(unix.AT_FDCWD, path, 0)
	if err != nil {
		t.Fatal(err)
	}
	want := binary.NativeEndian.Uint32(h.Bytes()[h.Size()-4:])
	if got, err := Generation(top, st.Ino); err != nil || got != want || got == 0 {
		t.Errorf("Generation(%d) = %#x, %v; want %#x", st.Ino, got, err, want)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	for _, ino := range []uint64{0, st.Ino, 1 << 40, math.MaxUint64} {
		if got, err := Generation(top, ino); !errors.Is(err, ErrNone) {
			t.Errorf("Generation(%d) = %#x, %v; want %v", ino, got, err, ErrNone)
		}
	}
}

func TestOtherFileSystemsDoNotTell(t *testing.T) {
	f, err := os.Open("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got, err := Generation(int(f.Fd()), 1); err == nil || errors.Is(err, ErrNone) {
		t.Errorf("Generation = %#x, %v; want an error of the call", got, err)
	}
}

// mount makes an xfs of a file.
func mount(t *testing.T) (dir string) {
	t.Helper()
	mkfs := need.Tool(t, "mkfs.xfs", "xfsprogs")
	image, dir := filepath.Join(t.TempDir(), "image"), t.TempDir()
	if err := errors.Join(os.WriteFile(image, nil, 0o600), os.Truncate(image, 320<<20)); err != nil {
		t.Fatal(err)
	}
	for _, c := range [][]string{{mkfs, "-q", image}, {"mount", "-o", "loop", image, dir}} {
		if out, err := exec.Command(c[0], c[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v, %s", c, err, out)
		}
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}
