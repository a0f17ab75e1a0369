package front

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestThePacerHearsOfClients has requests that wait for the source told apart from those that do not.
func TestThePacerHearsOfClients(t *testing.T) {
	src := t.TempDir()
	if err := os.WriteFile(filepath.Join(src, "file"), content(5<<20, 1), 0o644); err != nil {
		t.Fatal(err)
	}
	v := begin(t, src)
	pacer := v.Pacer()
	if _, err := os.Stat(filepath.Join(v.at, "file")); err != nil { // waits for the listing
		t.Fatal(err)
	}
	if _, err := inFile(filepath.Join(v.at, "file"), os.O_RDONLY, func(f *os.File) (string, error) {
		_, err := f.ReadAt(make([]byte, 10), 1<<20)
		return "", err
	}); err != nil {
		t.Fatal(err)
	}
	const lookups = 50
	for i := range lookups {
		if err := unix.Access(filepath.Join(v.at, fmt.Sprint("none", i)), unix.F_OK); !errors.Is(err, unix.ENOENT) {
			t.Errorf("access = %v, want %v", err, unix.ENOENT)
		}
	}
	v.unmount() // when all requests have ended
	s := pacer.Stats()
	if s.Waited < 3 || s.Requests-s.Waited < lookups || v.mount.fs.left() != 0 {
		t.Errorf("%d requests, %d of which may have waited, and %d that were never answered; want at least %d that did not, and 3 that did: the listing, the open and the read", s.Requests, s.Waited, v.mount.fs.left(), lookups)
	}
}

// left is how many requests are under way that may wait for the source.
func (s *fileSystem) left() (n int) {
	s.fetching.Range(func(any, any) bool { n++; return true })
	return n
}
