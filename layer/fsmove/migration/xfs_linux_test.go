package migration

import (
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"usui/host/need"
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
	} {
		t.Run(tt.name, tt.f)
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
