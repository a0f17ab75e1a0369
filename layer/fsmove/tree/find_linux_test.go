package tree

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"usui/host/need"
)

// TestAnInodeIsFoundByItsNumber finds it as long as it is there. On xfs it is found in a test of package migration, which makes one.
func TestAnInodeIsFoundByItsNumber(t *testing.T) {
	need.Root(t)
	dir := t.TempDir()
	r := open(t, dir)
	if kind := TypeOf(r.Fd()); kind != unix.EXT4_SUPER_MAGIC && kind != unix.XFS_SUPER_MAGIC {
		t.Fatalf("%s is on a file system of type %#x, want ext4 or xfs: set TMPDIR", dir, kind)
	}
	path := filepath.Join(dir, "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	m, err1 := Stat(r.Fd(), "file")
	want, err2 := HandleOf(r.Fd(), "file")
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	fd, err := r.Find(m.Ino)
	if err != nil {
		t.Fatal(err)
	}
	got, err := HandleOf(fd, "")
	if unix.Close(fd); err != nil || got != want {
		t.Errorf("Find(%d) is %x, %v; want %x", m.Ino, got, err, want)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	for _, ino := range []uint64{m.Ino, m.Ino + 1<<32, 0, 1<<64 - 1} {
		if fd, err := r.Find(ino); !errors.Is(err, ErrGone) {
			t.Errorf("Find(%d) of what is not there = %d, %v; want %v", ino, fd, err, ErrGone)
		}
	}
}

// TestAFolderOutsideIsNotFound has numbers of folders of the same file system, of which one is in the tree.
func TestAFolderOutsideIsNotFound(t *testing.T) {
	need.Root(t)
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "top/a/b"), 0o755); err != nil {
		t.Fatal(err)
	}
	r := open(t, filepath.Join(dir, "top"))
	for name, want := range map[string]error{"top": nil, "top/a/b": nil, ".": ErrGone, "..": ErrGone} {
		m, err := Stat(unix.AT_FDCWD, filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		fd, err := r.Find(m.Ino)
		if err == nil {
			unix.Close(fd)
		}
		if !errors.Is(err, want) {
			t.Errorf("Find of %q = %v, want %v", name, err, want)
		}
	}
}

// FuzzWithNumber has any handle, and any number.
func FuzzWithNumber(f *testing.F) {
	f.Add("", uint64(0))
	f.Add("\x01\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00", uint64(1<<32))
	f.Add("\x81\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", uint64(1<<40))
	f.Fuzz(func(t *testing.T, like string, ino uint64) {
		if h, ok := withNumber(Handle(like), ino); ok && (len(h) != len(like) || h[:4] != Handle(like[:4])) {
			t.Errorf("withNumber(%x, %d) = %x", like, ino, h)
		}
	})
}
