package migration

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"usui/host/need"
	"usui/layer/fsmove/journal"
	"usui/layer/fsmove/tree"
)

// skipped is what a migration leaves out.
func skipped(t *testing.T, m *Migration) (all []journal.Loss) {
	t.Helper()
	for l, err := range m.Skipped() {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, l)
	}
	return all
}

// inodes are the numbers of files.
func inodes(t *testing.T, paths ...string) (all []uint64) {
	t.Helper()
	for _, path := range paths {
		m, err := tree.Stat(unix.AT_FDCWD, path)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, m.Ino)
	}
	return all
}

// linked makes a file with a name in each of two folders, and says how to make other ones.
func linked(t *testing.T, dir string, content []byte) {
	t.Helper()
	err := errors.Join(os.Mkdir(filepath.Join(dir, "a"), 0o755), os.Mkdir(filepath.Join(dir, "b"), 0o755),
		os.WriteFile(filepath.Join(dir, "a/x"), content, 0o644), os.Link(filepath.Join(dir, "a/x"), filepath.Join(dir, "b/y")))
	if err != nil {
		t.Fatal(err)
	}
}

func TestNamesAreMetThoughTheSourceIsMountedAnew(t *testing.T) {
	need.Root(t)
	umask(t)
	src := makeDisk(t, 8)
	linked(t, src.at, []byte("content"))
	before, err := tree.Stat(unix.AT_FDCWD, src.at)
	if err != nil {
		t.Fatal(err)
	}
	dst := t.TempDir()
	m := begin(t, src.at, dst)
	handle(t, m, "a", "x")
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	device := src.attach(t)
	src.unmount(t)
	src.mountFrom(t, device, "ro")
	after, err := tree.Stat(unix.AT_FDCWD, src.at)
	if err != nil || after.Dev == before.Dev {
		t.Fatalf("the source is on device %v again, %v", after.Dev, err)
	}
	m = begin(t, src.at, dst)
	if err := m.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := inodes(t, filepath.Join(dst, "a/x"), filepath.Join(dst, "b/y")); got[0] != got[1] {
		t.Errorf("two names have the inodes %d", got)
	}
	if lost := skipped(t, m); len(lost) != 0 {
		t.Errorf("left out: %v", lost)
	}
}

// TestEqualNumbersOfTwoFileSystemsAreTwoInodes has one file system mounted in another, with the same files but for their content.
func TestEqualNumbersOfTwoFileSystemsAreTwoInodes(t *testing.T) {
	need.Root(t)
	umask(t)
	outer, inner := makeDisk(t, 8), makeDisk(t, 8)
	linked(t, outer.at, []byte("outer"))
	linked(t, inner.at, []byte("inner"))
	if a, b := inodes(t, filepath.Join(outer.at, "a/x")), inodes(t, filepath.Join(inner.at, "a/x")); a[0] != b[0] {
		t.Fatalf("inodes %d and %d, which are to be equal", a, b)
	}
	inner.unmount(t)
	long := strings.Repeat("n", 255) // too long for a name in which it is only a part
	inner.at = filepath.Join(outer.at, long)
	if err := os.Mkdir(inner.at, 0o755); err != nil {
		t.Fatal(err)
	}
	inner.mount(t)
	dst := t.TempDir()
	m := begin(t, outer.at, dst)
	if err := m.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]string{dst: "outer", filepath.Join(dst, long): "inner"} {
		for _, name := range []string{"a/x", "b/y"} {
			if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != want {
				t.Errorf("%s of the %s file system has %q, %v", name, want, got, err)
			}
		}
		if got := inodes(t, filepath.Join(dir, "a/x"), filepath.Join(dir, "b/y")); got[0] != got[1] {
			t.Errorf("two names of the %s file system have the inodes %d", want, got)
		}
	}
}

func TestANameOfWhatHasChangedIsAFileOfItsOwn(t *testing.T) {
	need.Root(t)
	umask(t)
	src, dst := t.TempDir(), t.TempDir()
	linked(t, src, []byte("before"))
	m := begin(t, src, dst)
	if err := use(t, m, handle(t, m, "a", "x")).Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(src, "b/y"), []byte("and after"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := m.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"a/x": "before", "b/y": "and after"} {
		if got, err := os.ReadFile(filepath.Join(dst, name)); err != nil || string(got) != want {
			t.Errorf("%s has %q, %v; want %q", name, got, err, want)
		}
	}
	if lost := skipped(t, m); len(lost) != 1 || lost[0].Path != "b/y" || !strings.Contains(lost[0].What, ErrChanged.Error()) {
		t.Errorf("left out: %v; want b/y as a name", lost)
	}
}

// TestAsManyNamesAsThereCanBe has a file with all names that ext4 gives one, so that there is none left for the migration itself.
func TestAsManyNamesAsThereCanBe(t *testing.T) {
	need.Root(t)
	umask(t)
	const most = 65000 // EXT4_LINK_MAX of the kernel's fs/ext4/ext4.h
	src, dst := makeDisk(t, 64), makeDisk(t, 192)
	path := filepath.Join(src.at, "0")
	if err := os.WriteFile(path, []byte("content"), 0o644); err != nil {
		t.Fatal(err)
	}
	for i := 1; i < most; i++ {
		if err := os.Link(path, filepath.Join(src.at, fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	m := begin(t, src.at, dst.at)
	if err := m.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, err := tree.Stat(unix.AT_FDCWD, filepath.Join(dst.at, "0")); err != nil || got.Links != most {
		t.Errorf("it has %d names, %v; want %d", got.Links, err, most)
	}
	if lost := skipped(t, m); len(lost) != 0 {
		t.Errorf("left out: %v", lost)
	}
}
