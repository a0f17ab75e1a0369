package tree

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"usui/host/need"
)

// messy fills a folder with one of everything.
func messy(t *testing.T, dir string) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	must(os.WriteFile(at("file"), []byte("content"), 0o640))
	must(os.Chown(at("file"), 12, 34))
	must(unix.Setxattr(at("file"), "user.colour", []byte{0, 1, 255}, 0))
	must(unix.Setxattr(at("file"), "trusted.secret", []byte("s"), 0))
	must(os.WriteFile(at("setuid"), nil, 0o600))
	must(os.Chown(at("setuid"), 1000, 1000))
	must(unix.Chmod(at("setuid"), 0o6755))
	must(os.WriteFile(at("capable"), nil, 0o755))
	// struct vfs_ns_cap_data, version 2 (capabilities(7)): cap_net_bind_service
	must(unix.Setxattr(at("capable"), "security.capability", []byte{1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 0))
	must(os.Symlink("../nowhere\n", at("link")))
	must(os.Lchown(at("link"), 5, 6))
	must(unix.Mkfifo(at("fifo"), 0o604))
	must(unix.Mknod(at("null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	must(unix.Mknod(at("disk"), unix.S_IFBLK|0o660, int(unix.Mkdev(259, 70000))))
	must(unix.Mknod(at("socket"), unix.S_IFSOCK|0o777, 0))
	must(os.WriteFile(at(strings.Repeat("n", 255)), nil, 0o600))
	must(os.WriteFile(at("\xff odd \t"), nil, 0))
	must(os.Mkdir(at("folder"), 0o700))
	must(unix.Chmod(at("folder"), 0o3771))
	// posix_acl_xattr (acl(5)): version 2; user::rwx, user:1234:r--, group::r-x, mask::r-x, other::--x
	acl := []byte{2, 0, 0, 0, 1, 0, 7, 0, 255, 255, 255, 255, 2, 0, 4, 0, 0xd2, 4, 0, 0, 4, 0, 5, 0, 255, 255, 255, 255, 16, 0, 5, 0, 255, 255, 255, 255, 32, 0, 1, 0, 255, 255, 255, 255}
	must(unix.Setxattr(at("folder"), "system.posix_acl_access", acl, 0))
	must(unix.Setxattr(at("folder"), "system.posix_acl_default", acl, 0))
	sparse, err := os.Create(at("sparse"))
	must(err)
	must(sparse.Truncate(1 << 40))
	must(sparse.Close())
	for i, when := range []time.Time{time.Unix(-1, 999_999_999), time.Unix(1<<33, 1), time.Unix(1_700_000_000, 123_456_789)} {
		times := [2]unix.Timespec{}
		times[0], _ = unix.TimeToTimespec(when.Add(-time.Hour))
		times[1], _ = unix.TimeToTimespec(when)
		must(unix.UtimesNanoAt(unix.AT_FDCWD, at([]string{"file", "link", "folder"}[i]), times[:], unix.AT_SYMLINK_NOFOLLOW))
	}
}

func open(t *testing.T, path string) *Root {
	t.Helper()
	r, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func names(t *testing.T, r *Root) (all []string) {
	t.Helper()
	fd, err := r.At("", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := List(fd, 0, func(n Name) bool {
		if !n.Dots() {
			all = append(all, n.Name)
		}
		return true
	}); err != nil {
		t.Fatal(err)
	}
	slices.Sort(all)
	return all
}

func TestWhatIsMadeIsAsWhatWasRead(t *testing.T) {
	need.Root(t)
	old := unix.Umask(0)
	defer unix.Umask(old)
	from, to := t.TempDir(), t.TempDir()
	messy(t, from)
	// What is made inherits nothing from the folder that it is made in.
	if err := unix.Setxattr(to, "system.posix_acl_default", []byte{2, 0, 0, 0, 1, 0, 7, 0, 255, 255, 255, 255, 4, 0, 7, 0, 255, 255, 255, 255, 32, 0, 7, 0, 255, 255, 255, 255}, 0); err != nil {
		t.Fatal(err)
	}
	if err := unix.Chmod(to, 0o2777); err != nil {
		t.Fatal(err)
	}
	src, dst := open(t, from), open(t, to)
	for _, name := range names(t, src) {
		want, err := Read(src.Fd(), name)
		if err != nil {
			t.Fatal(err)
		}
		if err := MakeMost(dst.Fd(), name, &want, nothingLost); err != nil {
			t.Error(err)
			continue
		}
		got, err := Read(dst.Fd(), name)
		if err != nil {
			t.Fatal(err)
		}
		got.Ino, got.Dev, got.Ctime, got.Blocks = want.Ino, want.Dev, want.Ctime, want.Blocks
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%q: -want +got\n%s", name, d)
		}
		if err := MakeMost(dst.Fd(), name, &want, nothingLost); !errors.Is(err, unix.EEXIST) {
			t.Errorf("MakeMost of what is there = %v, want %v", err, unix.EEXIST)
		}
	}
	if got, want := names(t, dst), names(t, src); !slices.Equal(got, want) {
		t.Errorf("names %q, want %q", got, want)
	}
	again, err := Read(src.Fd(), "file")
	if err != nil {
		t.Fatal(err)
	}
	if want := time.Unix(-1, 999_999_999).Add(-time.Hour); !again.Atime.Equal(want) {
		t.Errorf("after it was read its time of access is %v, want %v", again.Atime, want)
	}
}

// TestAnACLThatIsLostLetsNobodyIn has one that is refused, as it has no mask: beside an ACL, the permissions of the group are the most that it gives anybody.
func TestAnACLThatIsLostLetsNobodyIn(t *testing.T) {
	need.Root(t)
	old := unix.Umask(0)
	defer unix.Umask(old)
	dir := open(t, t.TempDir())
	// acl(5): version 2; user::rw-, user:1234:rw-, group::---, other::r--
	acl := []byte{2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 6, 0, 0xd2, 4, 0, 0, 4, 0, 0, 0, 255, 255, 255, 255, 32, 0, 4, 0, 255, 255, 255, 255}
	m := Meta{Mode: unix.S_IFREG | 0o664, Atime: time.Unix(1, 0), Mtime: time.Unix(2, 0), Xattrs: []Xattr{{"system.posix_acl_access", acl}, {"user.kept", []byte("x")}}}
	if err := MakeMost(dir.Fd(), "none", &m, nothingLost); !errors.Is(err, unix.EINVAL) {
		t.Errorf("MakeMost with an ACL that is refused = %v, want %v", err, unix.EINVAL)
	}
	var lost []string
	err := MakeMost(dir.Fd(), "most", &m, func(attribute string, _ error) error {
		lost = append(lost, attribute)
		return nil
	})
	if err != nil || !slices.Equal(lost, []string{"system.posix_acl_access"}) {
		t.Errorf("MakeMost = %v, and it loses %q", err, lost)
	}
	got, err := Read(dir.Fd(), "most")
	if err != nil || got.Mode != unix.S_IFREG|0o604 || len(got.Xattrs) != 1 || !got.Mtime.Equal(m.Mtime) {
		t.Errorf("without its ACL it is %+v, %v; want permissions %#o and one attribute", got, err, 0o604)
	}
	if got, want := names(t, dir), []string{"most"}; !slices.Equal(got, want) {
		t.Errorf("names %q, want %q", got, want)
	}
}

func TestAHandleOutlivesNamesAndNoInode(t *testing.T) {
	need.Root(t)
	dir := t.TempDir()
	r := open(t, dir)
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := os.WriteFile(at("a"), []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	h, err := HandleOf(r.Fd(), "a")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Mkdir(at("d"), 0o700), os.Rename(at("a"), at("d/b"))); err != nil {
		t.Fatal(err)
	}
	fd, err := r.Open(h, unix.O_RDONLY)
	if err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 100)
	if n, err := unix.Read(fd, p); err != nil || string(p[:n]) != "content" {
		t.Errorf("by its handle it has %q, %v", p[:max(n, 0)], err)
	}
	again, err := HandleOf(fd, "")
	if err != nil || again != h {
		t.Errorf("the handle of what was opened by %x is %x, %v", h, again, err)
	}
	unix.Close(fd)
	if err := os.Remove(at("d/b")); err != nil {
		t.Fatal(err)
	}
	for i := range 100 { // one of them gets its number
		if err := os.WriteFile(at(fmt.Sprint("new", i)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if fd, err := r.Open(h, unix.O_RDONLY); !errors.Is(err, ErrGone) {
		t.Errorf("Open of what was removed = %d, %v; want %v", fd, err, ErrGone)
	}
	if _, err := r.Open("x", unix.O_RDONLY); err == nil {
		t.Error("Open of a handle of one byte succeeded")
	}
}

func TestAPathLeadsThroughNoLink(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir)
	deep := strings.Repeat("d/", 3000) // longer than a path may be
	at := r.Fd()
	for range 3000 {
		if err := unix.Mkdirat(at, "d", 0o700); err != nil {
			t.Fatal(err)
		}
		fd, err := openAt(at, "d", unix.O_DIRECTORY)
		if err != nil {
			t.Fatal(err)
		}
		if at != r.Fd() {
			unix.Close(at)
		}
		at = fd
	}
	if err := unix.Symlinkat("/etc", at, "link"); err != nil {
		t.Fatal(err)
	}
	unix.Close(at)
	fd, err := r.At(deep+"link", unix.O_PATH)
	if err != nil {
		t.Fatal(err)
	}
	if m, err := Read(fd, ""); err != nil || m.Type() != unix.S_IFLNK {
		t.Errorf("at the end of a long path is %#o, %v; want a link", m.Mode, err)
	}
	unix.Close(fd)
	for _, path := range []string{deep + "link/passwd", deep + "none", deep + "link"} {
		if fd, err := r.At(path, unix.O_RDONLY); err == nil {
			t.Errorf("At(…%s) = %d", path[len(path)-11:], fd)
		}
	}
	// "go test" cannot remove what is this deep.
	if err := unwind(r.Fd(), 3000); err != nil {
		t.Error(err)
	}
}

// unwind brings each folder up to the top and removes it, empty by then.
func unwind(top, depth int) error {
	for i := range depth {
		from := fmt.Sprint("x", i)
		if err := unix.Renameat(top, "d", top, from); err != nil {
			return err
		}
		if i == depth-1 {
			if err := unix.Unlinkat(top, from+"/link", 0); err != nil {
				return err
			}
		} else if err := unix.Renameat(top, from+"/d", top, "d"); err != nil {
			return err
		}
		if err := unix.Unlinkat(top, from, unix.AT_REMOVEDIR); err != nil {
			return err
		}
	}
	return nil
}

func FuzzEntry(f *testing.F) {
	f.Add([]byte("\x01\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x18\x00\x04abc\x00\x00"))
	f.Fuzz(func(t *testing.T, p []byte) {
		for len(p) > 0 {
			_, rest, err := entry(p)
			if err != nil {
				return
			}
			if len(rest) >= len(p) {
				t.Fatalf("entry took %d bytes", len(p)-len(rest))
			}
			p = rest
		}
	})
}

// nothingLost says that each attribute has to be there.
func nothingLost(_ string, err error) error { return err }
