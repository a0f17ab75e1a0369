package migration

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"usui/host/need"
	"usui/layer/fsmove/tree"
)

// TestCapabilitiesOutliveWhatIsFetched has a program with file capabilities be fetched in parts, over a process that ends when the first has been written and they are gone.
func TestCapabilitiesOutliveWhatIsFetched(t *testing.T) {
	need.Root(t)
	const rights = "\x00\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" // CAP_NET_BIND_SERVICE in struct vfs_cap_data of linux/capability.h
	src, dst := t.TempDir(), t.TempDir()
	for _, name := range []string{"kept", "killed", "taken"} {
		mustWrite(t, filepath.Join(src, name), make([]byte, 600_000))
		f, err := os.OpenFile(filepath.Join(src, name), os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		p := make([]byte, 600_000)
		p[0], p[300_000], p[599_999] = 1, 2, 3
		_, err = f.WriteAt(p, 0)
		if err := errors.Join(err, f.Close(), unix.Setxattr(filepath.Join(src, name), capabilityName, []byte(rights), 0)); err != nil {
			t.Fatal(err)
		}
	}
	m := begin(t, src, dst)
	top, err := tree.HandleOf(m.dst.Fd(), "")
	if err := errors.Join(err, m.List(t.Context(), top)); err != nil {
		t.Fatal(err)
	}
	has := func(name string) string {
		p := make([]byte, 100)
		n, err := unix.Getxattr(filepath.Join(dst, name), capabilityName, p)
		if err != nil {
			return err.Error()
		}
		return string(p[:n])
	}
	use := func(name string) *File {
		h, err := tree.HandleOf(m.dst.Fd(), name)
		if err != nil {
			t.Fatal(err)
		}
		f, err := m.Use(h)
		if err != nil || f == nil {
			t.Fatalf("Use(%s) = %v, %v", name, f, err)
		}
		return f
	}
	f := use("kept")
	if _, err := f.Read(t.Context(), make([]byte, 10), 300_000); err != nil {
		t.Fatal(err)
	}
	f.Release()
	if got := has("kept"); got != rights {
		t.Errorf("after a part was fetched it has %q, want %q", got, rights)
	}
	if err := unix.Removexattr(filepath.Join(dst, "killed"), capabilityName); err != nil { // as a process leaves it that is killed right after it has written
		t.Fatal(err)
	}
	h, err := tree.HandleOf(m.dst.Fd(), "taken")
	if err := errors.Join(err, m.OwnCapability(t.Context(), h), unix.Removexattr(filepath.Join(dst, "taken"), capabilityName)); err != nil { // by a client
		t.Fatal(err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	m = begin(t, src, dst)
	if err := m.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"kept": rights, "killed": rights, "taken": unix.ENODATA.Error()} {
		if got := has(name); got != want {
			t.Errorf("at the end %s has %q, want %q", name, got, want)
		}
	}
}
