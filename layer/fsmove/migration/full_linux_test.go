package migration

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"usui/layer/fsmove/tree"
)

// eat takes all room that a file system has, and returns what gives it back.
func eat(t *testing.T, dir string) (giveBack func(bytes int64)) {
	t.Helper()
	path := filepath.Join(dir, "eaten")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	size := int64(0)
	for piece := int64(64 << 20); piece >= 4096; {
		if err := unix.Fallocate(int(f.Fd()), 0, size, piece); errors.Is(err, unix.ENOSPC) {
			piece /= 2
		} else if err != nil {
			t.Fatal(err)
		} else {
			size += piece
		}
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	return func(bytes int64) {
		size = max(0, size-bytes)
		fd, err := unix.Open(path, unix.O_WRONLY, 0)
		if err == nil {
			err = errors.Join(unix.Ftruncate(fd, size), unix.Fsync(fd), unix.Close(fd)) // what is free is so once that is durable
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// all is more than any disk has.
const all = 1 << 60

// TestADestinationWithoutRoom has another's file take all of it, between a listing and what comes after it.
func TestADestinationWithoutRoom(t *testing.T) {
	umask(t)
	disk := makeDisk(t, 128)
	src, dst := t.TempDir(), filepath.Join(disk.at, "dst")
	content := pattern(8<<20, 1)
	err := errors.Join(os.Mkdir(dst, 0o700), os.Mkdir(filepath.Join(src, "many"), 0o755), os.WriteFile(filepath.Join(src, "file"), content, 0o644),
		os.WriteFile(filepath.Join(src, "shorter"), content, 0o644))
	for i := range 500 { // each with a block
		err = errors.Join(err, os.Symlink(strings.Repeat("t", 200), filepath.Join(src, "many", fmt.Sprint("link", i))))
	}
	if err != nil {
		t.Fatal(err)
	}
	want := imageOf(t, src)
	m := begin(t, src, dst)
	f, shorter, many := use(t, m, handle(t, m, "file")), use(t, m, handle(t, m, "shorter")), handle(t, m, "many")
	giveBack := eat(t, disk.at)

	p := make([]byte, 1<<20)
	for off := int64(0); off < int64(len(content)); off += 3 << 19 {
		n, err := f.Read(t.Context(), p, off)
		if end := min(int64(len(content)), off+int64(len(p))); err != nil || !bytes.Equal(p[:n], content[off:end]) {
			t.Fatalf("without room Read at %d = %d, %v", off, n, err)
		}
	}
	if n, err := f.Write(t.Context(), pattern(1<<20, 5), 4096); n != 0 || !errors.Is(err, unix.ENOSPC) {
		t.Errorf("without room Write = %d, %v; want %v", n, err, unix.ENOSPC)
	}
	if err := m.List(t.Context(), many); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("without room List = %v, want %v", err, unix.ENOSPC)
	}
	if left, err := os.ReadDir(filepath.Join(dst, "many")); err != nil || len(left) != 0 {
		t.Errorf("a listing without room has left %d entries, %v", len(left), err)
	}
	if err := shorter.Truncate(t.Context(), 5000); err != nil { // lives on what was kept back
		t.Error(err)
	}
	shorter.Release()
	f.Release()

	full, done := make(chan struct{}), make(chan error, 1)
	said := false
	m.hook = func(step string) {
		if step == "pause" && !said {
			said = true
			close(full)
		}
	}
	go func() { done <- m.Run(t.Context()) }() // until everything has arrived
	<-full
	if s := m.Stats(); !s.NoRoom {
		t.Errorf("without room it says %+v", s)
	}
	giveBack(all)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	got := imageOf(t, dst)
	want.Content["shorter"] = content[:5000]
	got.Meta["shorter"], want.Meta["shorter"] = tree.Meta{}, tree.Meta{} // a client has changed it
	same(t, got, want)
	if s := m.Stats(); s.NoRoom || s.Failing != 0 {
		t.Errorf("at the end it says %+v", s)
	}
}

// TestRoomThatEndsInAWrite has some for a part of it: what is said to be written is, and nothing else is changed.
func TestRoomThatEndsInAWrite(t *testing.T) {
	umask(t)
	disk := makeDisk(t, 128)
	src, dst := t.TempDir(), filepath.Join(disk.at, "dst")
	content := pattern(8<<20, 1)
	if err := errors.Join(os.Mkdir(dst, 0o700), os.WriteFile(filepath.Join(src, "file"), content, 0o644)); err != nil {
		t.Fatal(err)
	}
	m := begin(t, src, dst)
	f := use(t, m, handle(t, m, "file"))
	if err := f.WillWrite(t.Context()); err != nil {
		t.Fatal(err)
	}
	giveBack := eat(t, disk.at)
	wrote := 0
	for _, off := range []int64{100, 3<<20 + 5000, 6 << 20} {
		giveBack(300 << 10)
		p := pattern(1<<20+77, 9)
		n, err := f.Write(t.Context(), p, off)
		if n == len(p) || err != nil && !errors.Is(err, unix.ENOSPC) {
			t.Fatalf("with little room Write = %d, %v", n, err)
		}
		copy(content[off:], p[:n])
		wrote += n
		got := make([]byte, len(content))
		if k, err := f.Read(t.Context(), got, 0); k != len(got) || err != nil || !bytes.Equal(got, content) {
			t.Errorf("after a write of %d bytes at %d Read = %d, %v, and it is as expected: %t", n, off, k, err, bytes.Equal(got, content))
		}
	}
	if wrote == 0 {
		t.Error("nothing was written")
	}
	f.Release()
	giveBack(all)
	m = killed(t, m, src, dst)
	if err := m.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(dst, "file")); err != nil || !bytes.Equal(got, content) {
		t.Errorf("at the end it has %d bytes, %v, and is as expected: %t", len(got), err, bytes.Equal(got, content))
	}
}

// TestAProcessThatIsStartedWithoutRoom goes on where room has gone while no process was at it.
func TestAProcessThatIsStartedWithoutRoom(t *testing.T) {
	umask(t)
	disk := makeDisk(t, 128)
	src, dst := t.TempDir(), filepath.Join(disk.at, "dst")
	if err := os.Mkdir(dst, 0o700); err != nil {
		t.Fatal(err)
	}
	fillTree(t, src)
	want := imageOf(t, src)
	m := begin(t, src, dst)
	handle(t, m, "n0")
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	giveBack := eat(t, disk.at)
	m = begin(t, src, dst)
	giveBack(all)
	if err := m.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	same(t, imageOf(t, dst), want)
}

// TestADestinationThatIsTooSmall has no room for what is kept back.
func TestADestinationThatIsTooSmall(t *testing.T) {
	disk := makeDisk(t, 24)
	dst := filepath.Join(disk.at, "dst")
	if err := os.Mkdir(dst, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := New(Config{Source: t.TempDir(), Destination: dst, Logger: slog.New(slog.DiscardHandler)}); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("New = %v, want %v", err, unix.ENOSPC)
	}
}
