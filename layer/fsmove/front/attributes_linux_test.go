package front

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"usui/host/need"
)

// listXattrs are the names of a file's attributes, as a user sees them.
func listXattrs(t *testing.T, fd, uid int) []string {
	t.Helper()
	type answer struct {
		p   []byte
		err error
	}
	done := make(chan answer)
	go func() { // ends at once, and its thread, which has another user, with it
		runtime.LockOSThread()
		if _, err := unix.SetfsuidRetUid(uid); err != nil {
			done <- answer{err: err}
			return
		}
		size, err := unix.Flistxattr(fd, nil)
		p := make([]byte, size)
		if err == nil {
			size, err = unix.Flistxattr(fd, p)
		}
		if err == nil && size > 0 {
			if _, short := unix.Flistxattr(fd, p[:size-1]); size > 1 && !errors.Is(short, unix.ERANGE) {
				err = short
			}
		}
		done <- answer{p[:max(size, 0)], err}
	}()
	a := <-done
	if a.err != nil {
		t.Fatal(a.err)
	}
	all := strings.Split(strings.TrimSuffix(string(a.p), "\x00"), "\x00")
	slices.Sort(all)
	return all
}

func TestAttributesForRootAreToldToRoot(t *testing.T) {
	need.Root(t)
	src := t.TempDir()
	path := filepath.Join(src, "file")
	err := errors.Join(os.WriteFile(path, nil, 0o644), unix.Setxattr(path, "user.all", []byte("1"), 0), unix.Setxattr(path, "trusted.root", []byte("2"), 0))
	if err != nil {
		t.Fatal(err)
	}
	v := begin(t, src)
	fd, err := unix.Open(filepath.Join(v.at, "file"), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if got, want := listXattrs(t, fd, 0), []string{"trusted.root", "user.all"}; !slices.Equal(got, want) {
		t.Errorf("root is told of %q, want %q", got, want)
	}
	if got, want := listXattrs(t, fd, 1000), []string{"user.all"}; !slices.Equal(got, want) {
		t.Errorf("another user is told of %q, want %q", got, want)
	}
}
