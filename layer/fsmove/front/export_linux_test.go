package front

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"usui/layer/fsmove/tree"
)

// TestAHandleOutlivesWhatTheKernelKnows opens files by what a file server would have given to its clients, after the kernel has forgotten them.
func TestAHandleOutlivesWhatTheKernelKnows(t *testing.T) {
	src := t.TempDir()
	want := content(300_000, 1)
	for _, name := range []string{"a/b/c/file", "a/gone", "top"} {
		path := filepath.Join(src, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, want, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	v := begin(t, src)
	mount, err := tree.Open(v.at)
	if err != nil {
		t.Fatal(err)
	}
	defer mount.Close()
	handles := map[string]tree.Handle{}
	for _, name := range []string{"a", "a/b/c", "a/b/c/file", "a/gone", "top"} {
		if handles[name], err = tree.HandleOf(unix.AT_FDCWD, filepath.Join(v.at, name)); err != nil {
			t.Fatal(err)
		}
	}
	v.forget(t)
	for _, name := range []string{"a/b/c/file", "top"} {
		if got := readHandle(t, mount, handles[name]); !bytes.Equal(got, want) {
			t.Errorf("%s has %d bytes, want %d", name, len(got), len(want))
		}
	}
	for _, name := range []string{"a", "a/b/c"} { // of which the kernel wants to know where they are
		fd, err := mount.Open(handles[name], unix.O_PATH)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		at, err := os.Readlink(tree.Through(fd))
		if want := filepath.Join(v.at, name); err != nil || at != want {
			t.Errorf("%s is at %q, %v; want %q", name, at, err, want)
		}
		unix.Close(fd)
	}
	v.forget(t)
	if err := os.Remove(filepath.Join(v.at, "a/gone")); err != nil {
		t.Fatal(err)
	}
	v.forget(t)
	if fd, err := mount.Open(handles["a/gone"], unix.O_RDONLY); !errors.Is(err, tree.ErrGone) {
		t.Errorf("Open of what was removed = %d, %v; want %v", fd, err, tree.ErrGone)
	}
	for range 100 { // one of them gets the number that is free
		f, err := os.CreateTemp(filepath.Join(v.at, "a"), "")
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	v.forget(t)
	if fd, err := mount.Open(handles["a/gone"], unix.O_RDONLY); !errors.Is(err, tree.ErrGone) {
		t.Errorf("Open of what was removed, and whose number another has = %d, %v; want %v", fd, err, tree.ErrGone)
	}
}

func readHandle(t *testing.T, mount *tree.Root, h tree.Handle) []byte {
	t.Helper()
	fd, err := mount.Open(h, unix.O_RDONLY)
	if err != nil {
		t.Error(err)
		return nil
	}
	defer unix.Close(fd)
	p := make([]byte, 1<<20)
	n, err := unix.Pread(fd, p, 0)
	if err != nil {
		t.Error(err)
		return nil
	}
	return p[:n]
}

// forget has the kernel forget all nodes but the top, and those of which it has said nothing.
func (v *move) forget(t *testing.T) {
	t.Helper()
	for {
		if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("2"), 0); err != nil {
			t.Fatal(err)
		}
		s := v.mount.fs
		s.mu.Lock()
		left := len(s.nodes)
		s.mu.Unlock()
		if left == 1 {
			return
		}
	}
}

// TestNumbersThatNobodyKnows asks for what no handle is of, as a client that makes one up would.
func TestNumbersThatNobodyKnows(t *testing.T) {
	v := begin(t, t.TempDir())
	var top unix.Stat_t
	if err := unix.Stat(v.dst, &top); err != nil {
		t.Fatal(err)
	}
	for _, id := range []uint64{0, 3, 1 << 31, 1<<32 + top.Ino, 1<<64 - 1} {
		for _, name := range []string{".", ".."} {
			var out fuse.EntryOut
			if status := v.mount.fs.Lookup(nil, &fuse.InHeader{NodeId: id}, name, &out); status != fuse.Status(unix.ESTALE) {
				t.Errorf("Lookup of %q of %d = %v, want %v", name, id, status, unix.ESTALE)
			}
		}
	}
}
