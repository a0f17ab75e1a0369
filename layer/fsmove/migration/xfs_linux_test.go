package migration

import (
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"usui/host/need"
	"usui/layer/fsmove/tree"
)

// TestXFSIsADestination moves to an xfs, and from one.
func TestXFSIsADestination(t *testing.T) {
	t.Setenv("TMPDIR", makeXFS(t).at) // where tests have their folders
	for _, tt := range []struct {
		name string
		f    func(t *testing.T)
	}{
		{"everything arrives", TestEverythingArrives},
		{"a file is fetched in parts", TestAFileIsFetchedInParts},
		{"links", TestOneNameMayGoBeforeTheOtherIsListed},
		{"holes", TestHolesArePassedOver},
		{"an inode is found by its number", findByNumber},
	} {
		t.Run(tt.name, tt.f)
	}
}

// findByNumber finds an inode as long as it is there ([tree.Root.Find]).
func findByNumber(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := tree.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	m, err1 := tree.Stat(r.Fd(), "file")
	want, err2 := tree.HandleOf(r.Fd(), "file")
	fd, err3 := r.Find(m.Ino)
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	got, err := tree.HandleOf(fd, "")
	if unix.Close(fd); err != nil || got != want {
		t.Errorf("Find(%d) is %x, %v; want %x", m.Ino, got, err, want)
	}
	if err := os.Remove(filepath.Join(dir, "file")); err != nil {
		t.Fatal(err)
	}
	if fd, err := r.Find(m.Ino); !errors.Is(err, tree.ErrGone) {
		t.Errorf("Find(%d) of what was removed = %d, %v; want %v", m.Ino, fd, err, tree.ErrGone)
	}
}

// TestCrashesOnXFS is TestCrashes with other destinations.
func TestCrashesOnXFS(t *testing.T) { crashOn(t, makeXFS) }

// TestADestinationThatReservesRoomIsRefused has a folder whose files get room around what is written: what was never fetched would be told of as data once it was read.
func TestADestinationThatReservesRoomIsRefused(t *testing.T) {
	dst := filepath.Join(makeXFS(t).at, "dst")
	if err := os.Mkdir(dst, 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(need.Tool(t, "xfs_io", "xfsprogs"), "-c", "extsize 64k", dst).CombinedOutput(); err != nil {
		t.Fatalf("xfs_io: %v, %s", err, out)
	}
	m, err := New(Config{Source: t.TempDir(), Destination: dst, Logger: slog.New(slog.DiscardHandler)})
	if err == nil || !strings.Contains(err.Error(), "extent size hint") {
		t.Errorf("New = %v, want it to name the extent size hint", err)
	}
	if err == nil {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}
}
