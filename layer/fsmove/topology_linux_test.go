package fsmove

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"usui/host/need"
	"usui/layer/fsmove/migration"
	"usui/layer/fsmove/tree"
)

// wide is from which size on a file is one with holes, of which only what is no hole is read.
const wide = 16 << 30

// manifest is all that is said of a tree, by path: metadata, a sum of the content and, of an inode with several names, one of them. Folders' sizes, and times of access and of change,
// are a file system's own. What skip says is left out.
func manifest(t *testing.T, dir string, skip func(name string) bool) map[string]string {
	t.Helper()
	all, first := map[string]string{}, map[uint64]string{}
	root, err := tree.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		switch {
		case migration.Reserved(name), skip != nil && skip(name):
			if d.IsDir() {
				return filepath.SkipDir
			}
			return nil
		case name == ".":
			name = ""
		}
		fd, err := root.At(name, unix.O_PATH)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		m, err := tree.Read(fd, "")
		if err != nil {
			return err
		}
		if first[m.Ino] == "" {
			first[m.Ino] = name
		}
		about := fmt.Sprintf("%o %d:%d %v %q %q %v", m.Mode, m.UID, m.GID, m.Rdev, m.Target, m.Xattrs, m.Mtime.UnixNano())
		if m.Type() != unix.S_IFDIR {
			about += fmt.Sprintf(" %d names, as %q, %d bytes", m.Links, first[m.Ino], m.Size)
		}
		if m.Type() == unix.S_IFREG && first[m.Ino] == name {
			sum, err := sumOf(path, m.Size)
			if err != nil {
				return err
			}
			about += sum
		}
		all[name] = about
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// sumOf is one of a file's content, or of what is no hole in a large file.
func sumOf(path string, size int64) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum := sha256.New()
	if size < wide {
		_, err := io.Copy(sum, f)
		return fmt.Sprintf(" %x", sum.Sum(nil)), err
	}
	zero, p := make([]byte, 4096), make([]byte, 4096)
	for off := int64(0); ; {
		from, err := unix.Seek(int(f.Fd()), off, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return fmt.Sprintf(" %x", sum.Sum(nil)), nil
		}
		if err != nil {
			return "", err
		}
		if off, err = unix.Seek(int(f.Fd()), from, unix.SEEK_HOLE); err != nil {
			return "", err
		}
		if off-from > wide {
			return "", fmt.Errorf("%s has %d bytes of data in one place, and was to have holes", path, off-from)
		}
		for at := from; at < off; at += int64(len(p)) { // by block: where a hole ends is each file system's own
			n, _ := f.ReadAt(p, at) // the end is where it was
			if !bytes.Equal(p[:n], zero[:n]) {
				fmt.Fprintf(sum, "%d %x", at, p[:n])
			}
		}
	}
}

// weave makes inodes with names in several folders, and files with holes in front, in the middle and at the end.
func weave(t *testing.T, dir string) {
	t.Helper()
	random := rand.New(rand.NewPCG(4, 4))
	var errs []error
	must := func(err error) { errs = append(errs, err) }
	for i := range 12 {
		must(os.MkdirAll(filepath.Join(dir, fmt.Sprintf("d%d/e/f", i)), 0o755))
	}
	in := func(i int) string {
		return filepath.Join(dir, fmt.Sprintf("d%d", random.IntN(12)), []string{"", "e", "e/f"}[random.IntN(3)], fmt.Sprint("n", i))
	}
	n := 0
	for i := range 150 {
		first := in(n)
		switch n++; i % 10 {
		case 0:
			first = filepath.Join(filepath.Dir(first), fmt.Sprint("fifo", n))
			must(unix.Mknod(first, unix.S_IFIFO|0o640, 0))
		case 1:
			must(os.Symlink(fmt.Sprint("../n", i), first))
		default:
			must(os.WriteFile(first, bytes.Repeat([]byte{byte(i)}, random.IntN(30_000)), 0o644))
		}
		for range random.IntN(6) {
			name := in(n)
			if i%10 == 0 {
				name = filepath.Join(filepath.Dir(name), fmt.Sprint("fifo", n))
			}
			must(os.Link(first, name))
			n++
		}
	}
	for name, s := range map[string]struct {
		size int64
		data []int64
	}{
		"front": {8 << 20, []int64{7 << 20}}, "middle": {9 << 20, []int64{0, 8 << 20}}, "end": {8 << 20, []int64{0}}, "hole": {5<<20 + 3, nil}, "many": {4 << 20, []int64{1 << 14, 1 << 16, 1 << 18, 1 << 20, 3 << 20}},
		"large": {1 << 40, []int64{0, 5 << 30, 1<<40 - 4096}},
	} {
		f, err := os.Create(filepath.Join(dir, "d0", name))
		must(err)
		must(f.Truncate(s.size))
		for _, off := range s.data {
			_, err := f.WriteAt(bytes.Repeat([]byte(name[:1]), 4096), off)
			must(err)
		}
		must(f.Close())
		must(os.Link(f.Name(), filepath.Join(dir, "d1/e", name)))
	}
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// TestLinksAndHolesAreKept has cp and tar save such a tree through the mount, before and after it has arrived, and looks at what has.
func TestLinksAndHolesAreKept(t *testing.T) {
	tar := need.Tool(t, "tar", "tar")
	src, dst, at := paths(t)
	weave(t, src)
	want := manifest(t, src, nil)
	v := startKept(t, src, dst, at)
	c, _ := v.ask(t)
	if err := c.Pause(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	save := func(when string, want map[string]string, skip func(string) bool, exclude ...string) {
		copied, archived, archive := t.TempDir(), t.TempDir(), filepath.Join(t.TempDir(), "archive")
		for _, command := range [][]string{
			append(append([]string{tar, "--format=posix", "--xattrs", "-C", at, "-S", "--exclude=fifo*", "-cf", archive}, exclude...), "."), {tar, "-C", archived, "--xattrs", "-xpf", archive},
			{"cp", "-a", at + "/.", copied},
		} {
			if command[0] == "cp" && exclude != nil {
				continue
			}
			if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
				t.Fatalf("%s: %q: %v, %s", when, command, err, out)
			}
		}
		all := maps.Clone(want)
		maps.DeleteFunc(all, func(name, _ string) bool { return strings.HasPrefix(filepath.Base(name), "fifo") }) // tar keeps no two names of those
		if d := cmp.Diff(all, manifest(t, archived, skip)); d != "" {
			t.Errorf("%s: from an archive: -want +got\n%s", when, d)
		}
		if exclude != nil {
			return
		}
		if d := cmp.Diff(want, manifest(t, copied, skip)); d != "" {
			t.Errorf("%s: a copy: -want +got\n%s", when, d)
		}
	}
	large := func(name string) bool { return filepath.Base(name) == "large" } // of which nobody is told where its holes are before it has arrived
	save("on its way", manifest(t, src, large), large, "--exclude=large")
	if err := c.Pause(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	v.kill(t)
	v.awaitAll(t)
	save("arrived", want, nil)
	v.end(t)
	if d := cmp.Diff(want, manifest(t, dst, nil)); d != "" {
		t.Errorf("at the end: -want +got\n%s", d)
	}
}
