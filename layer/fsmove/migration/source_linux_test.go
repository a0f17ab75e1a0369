package migration

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"usui/host/need"
)

// TestAFileThatShrinksWhileItIsFetched never has zeros where its end was.
func TestAFileThatShrinksWhileItIsFetched(t *testing.T) {
	need.Root(t)
	umask(t)
	src, dst := t.TempDir(), t.TempDir()
	content := pattern(2<<20, 1)
	if err := os.WriteFile(filepath.Join(src, "file"), content, 0o644); err != nil {
		t.Fatal(err)
	}
	m := begin(t, src, dst)
	f := use(t, m, handle(t, m, "file"))
	defer f.Release()
	shrunk := false
	m.hook = func(step string) {
		if step == "block fetched" && !shrunk {
			shrunk = true
			if err := os.Truncate(filepath.Join(src, "file"), 1<<20+1000); err != nil {
				t.Error(err)
			}
		}
	}
	if err := f.Fill(t.Context()); !errors.Is(err, ErrChanged) {
		t.Errorf("Fill = %v, want %v", err, ErrChanged)
	}
	had := 0
	for off := int64(0); off < int64(len(content)); off += 4096 {
		p := make([]byte, 4096)
		n, err := f.Read(t.Context(), p, off)
		switch {
		case err == nil && bytes.Equal(p[:n], content[off:off+4096]):
			had++
		case !errors.Is(err, ErrChanged):
			t.Fatalf("Read at %d = %d bytes, %v; want %v", off, n, err, ErrChanged)
		}
	}
	if had*4096 != fetchBytes {
		t.Errorf("%d bytes are had, want the %d that were fetched before", had*4096, fetchBytes)
	}
}

// TestAFolderThatIsNotMountedIsNotEmpty has a file system in the source go away before it is listed.
func TestAFolderThatIsNotMountedIsNotEmpty(t *testing.T) {
	need.Root(t)
	umask(t)
	src, dst, inner := t.TempDir(), t.TempDir(), makeDisk(t, 8)
	if err := errors.Join(os.WriteFile(filepath.Join(inner.at, "file"), []byte("content"), 0o644), os.Mkdir(filepath.Join(src, "inner"), 0o755)); err != nil {
		t.Fatal(err)
	}
	inner.unmount(t)
	inner.at = filepath.Join(src, "inner")
	inner.mount(t)
	m := begin(t, src, dst)
	h := handle(t, m, "inner")
	inner.unmount(t)
	if err := m.List(t.Context(), h); !errors.Is(err, ErrChanged) {
		t.Errorf("List of what is not mounted = %v, want %v", err, ErrChanged)
	}
	runUntilItFails(t, m, "inner", ErrChanged)
	inner.mount(t)
	if err := m.List(t.Context(), h); err != nil {
		t.Errorf("List when it is mounted again = %v", err)
	}
	if left := m.Failures(); len(left) != 0 { // a client has had it
		t.Errorf("failures: %v", left)
	}
	if err := m.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(dst, "inner/file")); err != nil || string(got) != "content" {
		t.Errorf("it has %q, %v", got, err)
	}
}

// shutDown has all calls to a file system's disk fail, as when that is gone. What is in memory stays.
func (d *disk) shutDown(t *testing.T) {
	t.Helper()
	fd, err := unix.Open(d.at, unix.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	const (
		shutdown = 0x8004587d // EXT4_IOC_SHUTDOWN of linux/ext4.h
		noLog    = 2          // EXT4_GOING_FLAGS_NOLOGFLUSH
	)
	if err := unix.Syncfs(fd); err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(fd, shutdown, noLog); err != nil {
		t.Fatal(err)
	}
}

// TestASourceWhoseDiskIsGoneIsWaitedFor has one whose root is told of from memory, and that is mounted anew.
func TestASourceWhoseDiskIsGoneIsWaitedFor(t *testing.T) {
	umask(t)
	src, dst := makeDisk(t, 32), t.TempDir()
	content := pattern(2<<20, 1)
	if err := os.WriteFile(filepath.Join(src.at, "file"), content, 0o644); err != nil {
		t.Fatal(err)
	}
	m := begin(t, src.at, dst)
	f := use(t, m, handle(t, m, "file"))
	defer f.Release()
	src.shutDown(t)
	p := make([]byte, 4096)
	m.src.patient = time.Millisecond
	if n, err := f.Read(t.Context(), p, 1<<20); !errors.Is(err, unix.EIO) || !errors.As(err, new(*SourceError)) {
		t.Errorf("who has no patience gets %d, %v; want %v", n, err, unix.EIO)
	}
	m.src.patient = time.Hour
	runUntilItFails(t, m, "file", unix.EIO) // Run has none: it comes again
	read := make(chan error, 1)
	go func() { // until the source is back
		_, err := f.Read(t.Context(), p, 1<<20)
		read <- err
	}()
	device := src.attach(t) // a file system that was shut down stays that, on its device
	if err := unix.Unmount(src.at, unix.MNT_DETACH); err != nil {
		t.Fatal(err)
	}
	src.mountFrom(t, device, "defaults")
	if err := <-read; err != nil || !bytes.Equal(p, content[1<<20:1<<20+4096]) {
		t.Errorf("when the source is back: %v, and it is as expected: %t", err, bytes.Equal(p, content[1<<20:1<<20+4096]))
	}
	if err := m.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestAnotherSourceIsNotOpened has another directory be where the source was, as the one that is there when it is not mounted.
func TestAnotherSourceIsNotOpened(t *testing.T) {
	need.Root(t)
	src, dst := filepath.Join(t.TempDir(), "src"), t.TempDir()
	mustWrite(t, filepath.Join(src, "file"), []byte("x"))
	m := begin(t, src, dst)
	r, err := m.OpenSource()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(r.Close(), os.Rename(src, src+".away"), os.Mkdir(src, 0o755)); err != nil {
		t.Fatal(err)
	}
	if _, err := m.OpenSource(); err == nil || !strings.Contains(err.Error(), "is it mounted") {
		t.Errorf("OpenSource() = %v, want that it is another", err)
	}
}
