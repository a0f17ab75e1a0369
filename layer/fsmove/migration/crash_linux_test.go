package migration

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"usui/layer/fsmove/tree"
)

// crashing is a migration in the middle of something, of which each step may be the last.
type crashing struct {
	*Migration
	t     *testing.T
	disk  *disk
	dst   string
	power bool // a power cut, and else a process that is killed: what it wrote is there
	shots []shot
}

// shot is what a crash leaves after a step.
type shot struct {
	step string
	disk *disk
}

// after keeps what a crash after a step would leave, for the first times that the step comes.
func (c *crashing) after(step string) {
	same := 0
	for _, s := range c.shots {
		if s.step == step {
			same++
		}
	}
	if same == 2 || step == "entries" && same == 1 {
		return
	}
	if !c.power {
		if err := unix.Syncfs(c.Migration.dst.Fd()); err != nil {
			c.t.Fatal(err)
		}
	}
	c.shots = append(c.shots, shot{step, c.disk.snapshot(c.t)})
}

func (c *crashing) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *crashing) at(path string) string { return filepath.Join(c.dst, path) }

// afterCrash is what there is when everything has arrived after a crash.
type afterCrash struct {
	step  string
	image image
}

// file is the content of a file.
func (a *afterCrash) file(name string) []byte { return a.image.Content[name] }

// without compares all but some paths with the source, which have been changed.
func (a *afterCrash) without(t *testing.T, want image, names ...string) {
	t.Helper()
	got := a.image
	for _, m := range []image{got, want} {
		for _, name := range append(names, ".") { // the names at the top were changed
			delete(m.Meta, name)
			delete(m.Content, name)
			delete(m.Same, name)
		}
	}
	same(t, got, want)
}

// acknowledged says whether a step came after a client had its answer: those have a name that says so.
func (a *afterCrash) acknowledged() bool { return strings.HasPrefix(a.step, "client has") }

const crashFile = 600_000 // two and a half pieces

// crashTree is a source with a bit of everything, a file "file" of crashFile bytes among it.
func crashTree(t *testing.T) string {
	t.Helper()
	src := t.TempDir()
	at := func(name string) string { return filepath.Join(src, name) }
	err := errors.Join(os.WriteFile(at("file"), pattern(crashFile, 1), 0o644), os.WriteFile(at("short"), pattern(100, 2), 0o600), os.Mkdir(at("a"), 0o755),
		os.Mkdir(at("b"), 0o750), os.WriteFile(at("a/linked"), pattern(20_000, 3), 0o644), os.Link(at("a/linked"), at("b/linked too")),
		os.Link(at("file"), at("a/file too")), os.Symlink("nowhere", at("a/link")), unix.Mkfifo(at("b/fifo"), 0o600), os.WriteFile(at("b/empty"), nil, 0o644),
		os.Chown(at("short"), 12, 34), os.Chown(at("b"), 5, 6))
	if err != nil {
		t.Fatal(err)
	}
	return src
}

// crashes are the rows: what is done, and what may be found after a crash in it.
var crashes = []struct {
	name  string
	do    func(c *crashing)
	check func(t *testing.T, a *afterCrash, src image)
}{
	{"list", func(c *crashing) {
		handle(c.t, c.Migration, "a", "link")
		handle(c.t, c.Migration, "b", "fifo")
	}, func(t *testing.T, a *afterCrash, src image) { same(t, a.image, src) }},
	{"fetch", func(c *crashing) {
		f := use(c.t, c.Migration, handle(c.t, c.Migration, "file"))
		defer f.Release()
		c.must(f.Fill(c.t.Context()))
		c.after("filled")
	}, func(t *testing.T, a *afterCrash, src image) { same(t, a.image, src) }},
	{"look", doLook, checkLook},
	{"write", doWrite, checkWrite},
	{"truncate", doTruncate, checkTruncate},
	{"rename, link, unlink", doNames, checkNames},
	{"promote", func(c *crashing) {
		f := use(c.t, c.Migration, handle(c.t, c.Migration, "file"))
		defer f.Release()
		c.must(f.Settle(c.t.Context()))
	}, func(t *testing.T, a *afterCrash, src image) { same(t, a.image, src) }},
	{"seal", func(c *crashing) {
		for _, path := range [][]string{{"a", "linked"}, {"b", "empty"}} {
			handle(c.t, c.Migration, path...)
		}
		for h, err := range c.journal.Files() { // as Run, but one at a time
			c.must(err)
			_, err := c.fillAll(c.t.Context(), []tree.Handle{h})
			c.must(err)
		}
	}, func(t *testing.T, a *afterCrash, src image) { same(t, a.image, src) }},
	{"swap and clean-up", func(c *crashing) {
		c.hook = nil
		c.must(c.Run(c.t.Context()))
		c.hook = c.after
		c.must(c.Finish())
	}, func(t *testing.T, a *afterCrash, src image) { same(t, a.image, src) }},
}

// doLook looks up entries of folders that are not listed, has a client write to one, and lists the folders then.
func doLook(c *crashing) {
	c.early.least = 1
	for _, path := range [][]string{{"short"}, {"none"}, {"b", "fifo"}, {"b", "linked too"}} { // the last one has several names, and comes with all others
		h := look(c.t, c.Migration, path...)
		if path[0] != "short" {
			continue
		}
		f := use(c.t, c.Migration, h)
		defer f.Release()
		c.must(f.WillWrite(c.t.Context()))
		_, err := f.Write(c.t.Context(), []byte("client"), 10)
		c.must(err)
		fd, err := c.Migration.dst.Open(f.handle, unix.O_WRONLY)
		c.must(err)
		defer unix.Close(fd)
		c.must(unix.Fsync(fd))
		c.after("client has synced")
	}
	top, err := tree.HandleOf(c.Migration.dst.Fd(), "")
	c.must(err)
	c.must(c.List(c.t.Context(), top))
	c.after("client has listed")
}

func checkLook(t *testing.T, a *afterCrash, src image) {
	before := src.Content["short"]
	after := slices.Clone(before)
	copy(after[10:], "client")
	if got := a.file("short"); !bytes.Equal(got, after) && (a.acknowledged() || !bytes.Equal(got, before)) {
		t.Errorf("%d bytes are not those of before or after", len(got))
	}
	a.without(t, src, "short")
}

// look is what handle is, but for the entries beside those of the path. It is that of the last folder if what is looked for is not there.
func look(t *testing.T, m *Migration, path ...string) tree.Handle {
	t.Helper()
	at := m.dst.Path()
	h, err := tree.HandleOf(unix.AT_FDCWD, at)
	for _, name := range path {
		if err == nil {
			_, err = m.Look(t.Context(), h, name)
		}
		at = filepath.Join(at, name)
		if err == nil {
			var next tree.Handle
			if next, err = tree.HandleOf(unix.AT_FDCWD, at); err == nil {
				h = next
			} else if errors.Is(err, unix.ENOENT) {
				err = nil
			}
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// doWrite writes what begins and ends within blocks that are not here, and behind the end.
func doWrite(c *crashing) {
	f := use(c.t, c.Migration, handle(c.t, c.Migration, "file"))
	defer f.Release()
	for _, off := range []int64{100_000, crashFile - 100} {
		c.must(f.WillWrite(c.t.Context()))
		c.after("will write")
		n, err := f.Write(c.t.Context(), pattern(50_001, 9), off)
		if n != 50_001 {
			c.t.Fatalf("Write = %d, %v", n, err)
		}
		c.after("wrote")
	}
	fd, err := c.Migration.dst.Open(f.handle, unix.O_WRONLY)
	c.must(err)
	defer unix.Close(fd)
	c.must(unix.Fsync(fd))
	c.after("client has synced")
}

// checkWrite has each byte old or new, and new when a client was told so.
func checkWrite(t *testing.T, a *afterCrash, src image) {
	before := pattern(crashFile, 1)
	after := append(slices.Clone(before[:crashFile-100]), pattern(50_001, 9)...)
	copy(after[100_000:], pattern(50_001, 9))
	got := a.file("file")
	if len(got) < len(before) || len(got) > len(after) || a.acknowledged() && !bytes.Equal(got, after) {
		t.Errorf("%d bytes, and as they were written: %t", len(got), bytes.Equal(got, after))
	}
	for i, b := range got {
		if b != after[i] && (i >= len(before) || b != before[i]) && !(i >= len(before) && b == 0) { // what was to be longer may be a hole
			t.Errorf("at %d is %#x, which is neither old nor new", i, b)
			break
		}
	}
	a.without(t, src, "file", "a/file too")
}

// doTruncate cuts a file, and has it grow again: zeros.
func doTruncate(c *crashing) {
	f := use(c.t, c.Migration, handle(c.t, c.Migration, "file"))
	defer f.Release()
	p := make([]byte, 8192)
	_, err := f.Read(c.t.Context(), p, 296_000) // some of what is cut off is here
	c.must(err)
	c.must(f.Truncate(c.t.Context(), 300_001))
	c.after("client has cut")
	c.must(f.Truncate(c.t.Context(), 500_000))
	c.after("client has let it grow")
}

func checkTruncate(t *testing.T, a *afterCrash, src image) {
	got := a.file("file")
	want := pattern(crashFile, 1)[:300_001]
	switch long := append(slices.Clone(want), make([]byte, 500_000-len(want))...); {
	case bytes.Equal(got, want), bytes.Equal(got, long) && a.acknowledged():
	case bytes.Equal(got, pattern(crashFile, 1)) && !a.acknowledged(): // not begun
	default:
		t.Errorf("it has %d bytes that are not those of before or after", len(got))
	}
	a.without(t, src, "file", "a/file too")
}

// doNames changes names of files that are not here yet, as the mount does: at the destination.
func doNames(c *crashing) {
	handle(c.t, c.Migration, "a", "linked")
	c.must(os.Rename(c.at("short"), c.at("a/renamed")))
	c.after("renamed")
	c.must(os.Link(c.at("file"), c.at("a/another")))
	c.after("linked")
	c.must(os.Remove(c.at("a/linked"))) // "b/linked too" has not been met
	c.after("removed")
	c.must(os.Remove(c.at("file")))
	c.after("removed the other")
	c.must(unix.Syncfs(c.Migration.dst.Fd()))
	c.after("client has synced")
}

func checkNames(t *testing.T, a *afterCrash, src image) {
	for _, names := range [][]string{{"short", "a/renamed"}, {"file", "a/another", "a/file too"}, {"a/linked", "b/linked too"}} {
		want, there := src.Content[names[0]], 0
		for _, name := range names {
			if got, ok := a.image.Content[name]; ok {
				there++
				if !bytes.Equal(got, want) {
					t.Errorf("%s has %d bytes, want the %d of %s", name, len(got), len(want), names[0])
				}
			}
		}
		if there == 0 {
			t.Errorf("none of %q is there", names)
		}
	}
	for _, name := range []string{"short", "file", "a/linked"} {
		if _, ok := a.image.Meta[name]; ok && a.acknowledged() {
			t.Errorf("%s was removed, and is there", name)
		}
	}
	a.without(t, src, "short", "file", "a", "a/renamed", "a/another", "a/file too", "a/linked", "b/linked too")
}

// TestCrashes ends each operation after each of its steps, by a power cut and by a kill, and goes on from what that leaves.
func TestCrashes(t *testing.T) {
	crashOn(t, func(t *testing.T) *disk { return makeDisk(t, 64) })
}

// crashOn does that with destinations that are made for it.
func crashOn(t *testing.T, makeDisk func(t *testing.T) *disk) {
	umask(t)
	for _, row := range crashes {
		for _, power := range []bool{true, false} {
			how := map[bool]string{true: "power cut", false: "kill"}[power]
			t.Run(row.name+"/"+how, func(t *testing.T) {
				c := &crashing{t: t, disk: makeDisk(t), power: power}
				src := crashTree(t)
				c.dst = c.disk.at
				if err := os.RemoveAll(filepath.Join(c.dst, "lost+found")); err != nil { // it is no part of the tree
					t.Fatal(err)
				}
				c.Migration = begin(t, src, c.dst)
				c.hook = c.after
				row.do(c)
				c.hook = nil
				if err := c.Close(); err != nil {
					t.Fatal(err)
				}
				if len(c.shots) == 0 {
					t.Fatal("it has no steps")
				}
				for _, s := range c.shots {
					t.Run(s.step, func(t *testing.T) {
						s.disk.mount(t)
						goOn(t, src, s.disk.at)
						row.check(t, &afterCrash{s.step, imageOf(t, s.disk.at)}, imageOf(t, src))
					})
				}
			})
		}
	}
}

// goOn brings a migration to its end from what a crash has left.
func goOn(t *testing.T, src, dst string) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(dst, StateFolder)); err != nil {
		if _, err := os.Stat(filepath.Join(dst, endedFolder)); err != nil {
			return // it was at its end
		}
		if _, err := New(Config{Source: src, Destination: dst, Logger: slog.New(slog.DiscardHandler)}); !errors.Is(err, ErrEnded) {
			t.Fatalf("New with what an end leaves = %v, want %v", err, ErrEnded)
		}
		return
	}
	m := begin(t, src, dst)
	if err := m.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if lost := skipped(t, m); len(lost) != 0 {
		t.Errorf("left out: %q", lost)
	}
	arrived := imageOf(t, dst)
	if err := m.Finish(); err != nil {
		t.Fatal(err)
	}
	same(t, imageOf(t, dst), arrived)
}
