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
	want := map[string][]byte{"read": pattern(600_000, 1), "written": pattern(600_000, 2), "later": pattern(600_000, 3)}
	for name, p := range want {
		mustWrite(t, filepath.Join(src, name), p)
	}
	m := begin(t, src, dst)
	read, written, later := use(t, m, handle(t, m, "read")), use(t, m, handle(t, m, "written")), use(t, m, handle(t, m, "later"))
	write := func(f *File, name string) {
		if err := f.WillWrite(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(t.Context(), []byte("client"), 1000); err != nil {
			t.Fatal(err)
		}
		copy(want[name][1000:], "client")
	}
	write(written, "written")
	for _, f := range []*File{read, written, later} {
		if err := f.finish(t.Context()); err != nil {
			t.Fatal(err)
		}
		if f != written { // a disk that lost it
			if _, err := unix.Pwrite(f.dst, make([]byte, 100_000), 100_000); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.Distrust(t.Context(), unix.EIO); err != nil {
			t.Fatal(err)
		}
	}
	write(later, "later")
	if err := m.forget([]*File{read}, nil); err != nil { // as somebody does whose own sync was fine
		t.Fatal(err)
	}
	for _, f := range []*File{read, written, later} {
		f.Release()
	}
	m = killed(t, m, src, dst)
	if err := m.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := m.Stats().BytesFetched; n != 600_000 {
		t.Errorf("%d bytes were fetched once more, want 600000", n)
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
