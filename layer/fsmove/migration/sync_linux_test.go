package migration

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"usui/host/need"
)

// TestWhatTheDiskCouldNotWriteIsFetchedOnceMore has content be lost before it is durable, which a failed sync tells of.
func TestWhatTheDiskCouldNotWriteIsFetchedOnceMore(t *testing.T) {
	need.Root(t)
	umask(t)
	src, dst := t.TempDir(), t.TempDir()
	want := map[string][]byte{"read": pattern(600_000, 1), "written": pattern(600_000, 2)}
	for name, p := range want {
		mustWrite(t, filepath.Join(src, name), p)
	}
	m := begin(t, src, dst)
	read, written := use(t, m, handle(t, m, "read")), use(t, m, handle(t, m, "written"))
	defer read.Release()
	defer written.Release()
	if err := written.WillWrite(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := written.Write(t.Context(), []byte("client"), 1000); err != nil {
		t.Fatal(err)
	}
	copy(want["written"][1000:], "client")
	for _, f := range []*File{read, written} {
		if err := f.finish(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := unix.Pwrite(read.dst, make([]byte, 100_000), 100_000); err != nil { // a disk that lost it
		t.Fatal(err)
	}
	for _, f := range []*File{read, written} {
		if err := f.distrust(unix.EIO); err != nil {
			t.Fatal(err)
		}
	}
	before := m.Stats()
	if err := m.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if after := m.Stats(); after.BytesFetched-before.BytesFetched != 600_000 {
		t.Errorf("%d bytes were fetched once more, want 600000", after.BytesFetched-before.BytesFetched)
	}
	for name, p := range want {
		if got, err := os.ReadFile(filepath.Join(dst, name)); err != nil || !bytes.Equal(got, p) {
			t.Errorf("%s has another content, %v", name, err)
		}
	}
	if lost := skipped(t, m); len(lost) != 1 || lost[0].Path != "written" {
		t.Errorf("the report has %q, want what a client wrote", lost)
	}
}
