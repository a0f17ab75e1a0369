package migration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"usui/host/need"
	"usui/layer/fsmove/journal"
	"usui/layer/fsmove/tree"
)

func begin(t *testing.T, src, dst string) *Migration {
	t.Helper()
	m, err := New(Config{Source: src, Destination: dst, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

// killed is what a migration is after its process was killed: another one goes on from what is in files.
func killed(t *testing.T, m *Migration, src, dst string) *Migration {
	t.Helper()
	if err := errors.Join(m.journal.Close(), unix.Close(m.state)); err != nil { // every change was durable before
		t.Fatal(err)
	}
	m.journal, m.state = nil, -1
	return begin(t, src, dst)
}

func umask(t *testing.T) {
	old := unix.Umask(0)
	t.Cleanup(func() { unix.Umask(old) })
}

// image is all that can be seen of a tree: metadata and content by path, and which paths are of one inode.
type image struct {
	Meta    map[string]tree.Meta
	Content map[string][]byte
	Same    map[string]string // to the first path that has this inode
}

func imageOf(t *testing.T, dir string) image {
	t.Helper()
	m := image{map[string]tree.Meta{}, map[string][]byte{}, map[string]string{}}
	first := map[uint64]string{}
	root, err := tree.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	err = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		if name == StateFolder {
			return filepath.SkipDir
		}
		fd, err := root.At(strings.TrimPrefix(name, "."), unix.O_PATH)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		meta, err := tree.Read(fd, "")
		if err != nil {
			return err
		}
		if at, ok := first[meta.Ino]; ok {
			m.Same[name] = at
		}
		first[meta.Ino] = name
		if meta.Type() == unix.S_IFREG {
			if m.Content[name], err = os.ReadFile(path); err != nil {
				return err
			}
		}
		meta.Ino, meta.Dev, meta.Ctime, meta.Atime, meta.Blocks = 0, tree.Device{}, time.Time{}, time.Time{}, 0
		if meta.Type() == unix.S_IFDIR {
			meta.Size = 0
			if name == "." { // it has the StateFolder
				meta.Links = 0
			}
		}
		m.Meta[name] = meta
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func same(t *testing.T, got, want image) {
	t.Helper()
	if d := cmp.Diff(want.Meta, got.Meta); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
	if d := cmp.Diff(want.Same, got.Same); d != "" {
		t.Errorf("inodes with several names: -want +got\n%s", d)
	}
	for name, p := range want.Content {
		if !bytes.Equal(got.Content[name], p) {
			t.Errorf("%s has another content", name)
		}
	}
}

// fillTree makes a tree of folders and files, some with several names.
func fillTree(t *testing.T, dir string) {
	t.Helper()
	random := rand.New(rand.NewPCG(1, 2))
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var files []string
	folders := []string{dir}
	for i := range 60 {
		in := folders[random.IntN(len(folders))]
		path := filepath.Join(in, fmt.Sprint("n", i))
		switch i % 4 {
		case 0:
			must(os.Mkdir(path, 0o755))
			folders = append(folders, path)
		case 1, 2:
			must(os.WriteFile(path, pattern(random.IntN(1<<20), byte(i)), 0o640))
			must(os.Chown(path, 1000+i, 2000+i))
			files = append(files, path)
		case 3:
			must(os.Link(files[random.IntN(len(files))], path))
		}
	}
	must(os.WriteFile(filepath.Join(dir, "sparse"), nil, 0o600))
	f, err := os.OpenFile(filepath.Join(dir, "sparse"), os.O_WRONLY, 0)
	must(err)
	must(f.Truncate(100 << 20))
	_, err = f.WriteAt(pattern(300_000, 9), 50<<20+123)
	must(err)
	must(f.Close())
	must(os.Symlink("n1", filepath.Join(dir, "link")))
	must(unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600))
	for _, f := range append(files, folders...) {
		must(os.Chtimes(f, time.Unix(1_600_000_000, 5), time.Unix(1_500_000_000, int64(len(f)))))
	}
}

// pattern is content without zeros, other for each seed.
func pattern(n int, seed byte) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(i>>8) ^ byte(i)*3 ^ seed | 1
	}
	return p
}

func TestEverythingArrives(t *testing.T) {
	need.Root(t)
	umask(t)
	src, dst := t.TempDir(), t.TempDir()
	fillTree(t, src)
	want := imageOf(t, src)
	m := begin(t, src, dst)
	if err := m.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	same(t, imageOf(t, dst), want)
	same(t, imageOf(t, src), want)
	var a, b unix.Stat_t
	if err := errors.Join(unix.Stat(filepath.Join(src, "sparse"), &a), unix.Stat(filepath.Join(dst, "sparse"), &b)); err != nil || b.Blocks > a.Blocks {
		t.Errorf("a sparse file of %d blocks has %d at the destination, %v", a.Blocks, b.Blocks, err)
	}
	left, err := os.ReadDir(filepath.Join(dst, StateFolder, linksFolder))
	if err != nil || len(left) != 0 {
		t.Errorf("left of links: %v, %v", left, err)
	}
}

// handle is that of a path at the destination, whose folders are listed on the way.
func handle(t *testing.T, m *Migration, path ...string) tree.Handle {
	t.Helper()
	at := m.dst.Path()
	h, err := tree.HandleOf(unix.AT_FDCWD, at)
	for _, name := range path {
		if err == nil {
			err = m.List(t.Context(), h)
		}
		at = filepath.Join(at, name)
		if err == nil {
			h, err = tree.HandleOf(unix.AT_FDCWD, at)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func use(t *testing.T, m *Migration, h tree.Handle) *File {
	t.Helper()
	f, err := m.Use(h)
	if err != nil || f == nil {
		t.Fatalf("Use = %v, %v", f, err)
	}
	return f
}

// TestAFileIsFetchedInParts reads, writes and cuts a file that is not complete, each time after a process that was killed, beside a copy that is complete.
func TestAFileIsFetchedInParts(t *testing.T) {
	need.Root(t)
	umask(t)
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { inParts(t, seed) })
	}
}

func inParts(t *testing.T, seed uint64) {
	const size = 3<<20 + 1234
	src, dst := t.TempDir(), t.TempDir()
	model := pattern(size, 7)
	if err := os.WriteFile(filepath.Join(src, "file"), model, 0o600); err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(seed, 1))
	m := begin(t, src, dst)
	h := handle(t, m, "file")
	for step := range 150 {
		f := use(t, m, h)
		off, n := random.Int64N(int64(len(model)+1)), random.IntN(100_000)
		switch random.IntN(8) {
		case 0:
			to := random.Int64N(2 * size)
			if err := f.Truncate(t.Context(), to); err != nil {
				t.Fatal(err)
			}
			model = append(model[:min(len(model), int(to))], make([]byte, max(0, int(to)-len(model)))...)
		case 1, 2:
			p := pattern(n, byte(step))
			if err := f.WillWrite(t.Context()); err != nil {
				t.Fatal(err)
			}
			if k, err := f.Write(t.Context(), p, off); k != n || err != nil {
				t.Fatalf("Write(%d bytes, %d) = %d, %v", n, off, k, err)
			}
			model = append(model[:off], append(p, model[min(len(model), int(off)+n):]...)...)
		default:
			got := make([]byte, n)
			k, err := f.Read(t.Context(), got, off)
			if want := model[off:min(len(model), int(off)+n)]; err != nil || !bytes.Equal(got[:k], want) {
				t.Fatalf("step %d: Read(%d bytes, %d) = %d, %v; want the %d of the model", step, n, off, k, err, len(want))
			}
		}
		f.Release()
		if random.IntN(10) == 0 {
			m = killed(t, m, src, dst)
		}
	}
	if err := m.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(dst, "file")); err != nil || !bytes.Equal(got, model) {
		t.Errorf("at the end it has %d bytes, %v; want the %d of the model", len(got), err, len(model))
	}
	if f, err := m.Use(h); f != nil || err != nil {
		t.Errorf("at the end Use = %v, %v; want nil", f, err)
	}
}

// runUntilItFails has a migration run until nothing comes any more but a path that cannot be had.
func runUntilItFails(t *testing.T, m *Migration, path string, want error) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended, failure := make(chan error, 1), make(chan struct{}, 1)
	m.hook = func(step string) {
		if step == "failed" {
			select {
			case failure <- struct{}{}:
			default:
			}
		}
	}
	go func() { ended <- m.Run(ctx) }() // until stop
	for {
		select {
		case err := <-ended:
			t.Fatalf("Run = %v, want it to go on", err)
		case <-failure:
		}
		failed := slices.IndexFunc(m.Failures(), func(f Failure) bool { return f.Path == path && f.Count > 1 })
		if failed >= 0 {
			if err := m.Failures()[failed].Err; !errors.Is(err, want) {
				t.Errorf("the failure of %s is %v, want %v", path, err, want)
			}
			stop()
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Errorf("Run when it is stopped = %v, want %v", err, context.Canceled)
			}
			m.hook = nil
			return
		}
	}
}

func TestASourceThatChangesIsNotMixed(t *testing.T) {
	need.Root(t)
	umask(t)
	for what, change := range map[string]func(path string) error{
		"content": func(path string) error {
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err == nil {
				_, err = f.WriteAt([]byte("other"), 1<<20)
			}
			return errors.Join(err, f.Close())
		},
		"size": func(path string) error { return os.Truncate(path, 1<<20) },
		"another": func(path string) error {
			return errors.Join(os.Remove(path), os.WriteFile(path, pattern(2<<20, 3), 0o600))
		},
	} {
		t.Run(what, func(t *testing.T) {
			src, dst := t.TempDir(), t.TempDir()
			path := filepath.Join(src, "file")
			if err := os.WriteFile(path, pattern(2<<20, 3), 0o600); err != nil {
				t.Fatal(err)
			}
			m := begin(t, src, dst)
			f := use(t, m, handle(t, m, "file"))
			p := make([]byte, 4096)
			if _, err := f.Read(t.Context(), p, 0); err != nil {
				t.Fatal(err)
			}
			if err := change(path); err != nil {
				t.Fatal(err)
			}
			if n, err := f.Read(t.Context(), p, 1<<20); !errors.Is(err, ErrChanged) && what != "another" {
				t.Errorf("Read of what changed = %d, %v; want %v", n, err, ErrChanged)
			}
			if n, err := f.Read(t.Context(), p, 0); n != len(p) || err != nil || !bytes.Equal(p, pattern(len(p), 3)) {
				t.Errorf("Read of what was fetched before = %d, %v", n, err)
			}
			if what == "another" { // which may have all that the first had, and its number
				return
			}
			runUntilItFails(t, m, "file", ErrChanged)
			if err := os.Remove(filepath.Join(dst, "file")); err != nil { // as a user does at the mount
				t.Fatal(err)
			}
			f.Release()
			if err := m.Run(t.Context()); err != nil {
				t.Errorf("Run when what changed was removed = %v", err)
			}
			if left := m.Failures(); len(left) != 0 {
				t.Errorf("failures: %v", left)
			}
		})
	}
}

func TestOneNameMayGoBeforeTheOtherIsListed(t *testing.T) {
	need.Root(t)
	umask(t)
	src, dst := t.TempDir(), t.TempDir()
	content := pattern(100_000, 1)
	err := errors.Join(os.Mkdir(filepath.Join(src, "a"), 0o700), os.Mkdir(filepath.Join(src, "b"), 0o700),
		os.WriteFile(filepath.Join(src, "a/x"), content, 0o600), os.Link(filepath.Join(src, "a/x"), filepath.Join(src, "b/y")))
	if err != nil {
		t.Fatal(err)
	}
	m := begin(t, src, dst)
	f := use(t, m, handle(t, m, "a", "x"))
	if err := f.WillWrite(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(t.Context(), []byte("new"), 10); err != nil {
		t.Fatal(err)
	}
	f.Release()
	if err := os.Remove(filepath.Join(dst, "a/x")); err != nil {
		t.Fatal(err)
	}
	m = killed(t, m, src, dst)
	if err := m.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	copy(content[10:], "new")
	if got, err := os.ReadFile(filepath.Join(dst, "b/y")); err != nil || !bytes.Equal(got, content) {
		t.Errorf("the other name has %d bytes, %v; want what was written by the first", len(got), err)
	}
	if m, err := tree.Stat(unix.AT_FDCWD, filepath.Join(dst, "b/y")); err != nil || m.Links != 1 {
		t.Errorf("it has %d names, %v; want 1", m.Links, err)
	}
}

func TestAListingThatWasCutShortIsBegunAgain(t *testing.T) {
	need.Root(t)
	umask(t)
	src, dst := t.TempDir(), t.TempDir()
	fillTree(t, src)
	want := imageOf(t, src)
	m := begin(t, src, dst)
	// What a process leaves that is killed just before it forgets the folder's record.
	rec, _, err := m.journal.Folder(handle(t, m))
	if err != nil {
		t.Fatal(err)
	}
	w := &maker{m: m, src: &folder{rec: rec, fd: -1}, dst: m.dst.Fd(), change: m.journal.Change(), met: map[journal.Inode]*journal.Link{}}
	if err := w.all(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.unlock()
	w.change.Drop()
	m = killed(t, m, src, dst)
	if err := m.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	same(t, imageOf(t, dst), want)
}

func TestOnlyAnEmptyDestinationIsTaken(t *testing.T) {
	need.Root(t)
	src, dst := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(dst, "mine"), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(Config{Source: src, Destination: dst, Logger: slog.New(slog.DiscardHandler)}); err == nil {
		t.Error("a destination with a file was taken")
	}
	if all, err := os.ReadDir(dst); err != nil || len(all) != 1 {
		t.Errorf("it has %v, %v", all, err)
	}
	other := t.TempDir()
	begin(t, src, other)
	for _, from := range []string{src, t.TempDir()} {
		if _, err := New(Config{Source: from, Destination: other, Logger: slog.New(slog.DiscardHandler)}); err == nil {
			t.Errorf("a second migration began in one destination")
		}
	}
}

// TestAnEndThatWasCutShort leaves what a process does that is killed while it ends: state that is not whole must never lead to a beginning.
func TestAnEndThatWasCutShort(t *testing.T) {
	need.Root(t)
	umask(t)
	config := func(src, dst string) Config {
		return Config{Source: src, Destination: dst, Logger: slog.New(slog.DiscardHandler)}
	}
	src, dst := t.TempDir(), t.TempDir()
	fillTree(t, src)
	want := imageOf(t, src)
	m := begin(t, src, dst)
	if err := m.Finish(); !errors.Is(err, ErrUnfinished) {
		t.Errorf("Finish before everything has arrived = %v, want %v", err, ErrUnfinished)
	}
	if err := m.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := m.Finish(); err != nil {
		t.Fatal(err)
	}
	same(t, imageOf(t, dst), want)
	for _, name := range []string{StateFolder, endedFolder} {
		if _, err := os.Stat(filepath.Join(dst, name)); err == nil {
			t.Errorf("%s is left", name)
		}
	}
	if err := os.MkdirAll(filepath.Join(dst, endedFolder, journalFolder), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := New(config(src, dst)); !errors.Is(err, ErrEnded) {
		t.Errorf("New with what an end leaves = %v, want %v", err, ErrEnded)
	}
	if err := os.MkdirAll(filepath.Join(dst, StateFolder), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := New(config(src, dst)); err == nil {
		t.Error("a migration began where something is")
	}
	if err := os.RemoveAll(filepath.Join(dst, StateFolder)); err != nil {
		t.Fatal(err)
	}
	want.Meta["."], want.Content["."] = imageOf(t, dst).Meta["."], nil // the test has changed its times
	same(t, imageOf(t, dst), want)
}

// TestWhatIsWholeIsLeftAlone has files in use when everything has arrived: their times are a client's, nothing here keeps them open for writing, and nothing needs the journal any more.
func TestWhatIsWholeIsLeftAlone(t *testing.T) {
	need.Root(t)
	umask(t)
	src, dst := t.TempDir(), t.TempDir()
	for _, name := range []string{"program", "longer"} {
		if err := os.WriteFile(filepath.Join(src, name), []byte("#!/bin/sh\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chtimes(filepath.Join(src, "longer"), time.Unix(1, 0), time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	m := begin(t, src, dst)
	program, longer := use(t, m, handle(t, m, "program")), use(t, m, handle(t, m, "longer"))
	defer program.Release()
	defer longer.Release()
	if err := longer.Truncate(t.Context(), 100); err != nil {
		t.Fatal(err)
	}
	if err := m.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if m, err := tree.Stat(unix.AT_FDCWD, filepath.Join(dst, "longer")); err != nil || m.Mtime.Equal(time.Unix(1, 0)) {
		t.Errorf("what a client made longer was changed %v, %v; want now", m.Mtime, err)
	}
	if out, err := exec.Command(filepath.Join(dst, "program")).CombinedOutput(); err != nil {
		t.Errorf("a program that is in use: %v, %s", err, out)
	}
	if err := m.Finish(); err != nil {
		t.Fatal(err)
	}
	if err := program.Settle(t.Context()); err != nil {
		t.Errorf("Settle when all has ended = %v", err)
	}
}

// TestWhatCannotBeHadKeepsNothingElse has a folder of the source go away, and a file change.
func TestWhatCannotBeHadKeepsNothingElse(t *testing.T) {
	need.Root(t)
	umask(t)
	src, dst := t.TempDir(), t.TempDir()
	fillTree(t, src)
	if err := errors.Join(os.Mkdir(filepath.Join(src, "gone"), 0o755), os.WriteFile(filepath.Join(src, "changed"), []byte("before"), 0o644)); err != nil {
		t.Fatal(err)
	}
	want := imageOf(t, src)
	m := begin(t, src, dst)
	handle(t, m, "gone")
	if err := errors.Join(os.Remove(filepath.Join(src, "gone")), os.WriteFile(filepath.Join(src, "changed"), []byte("and after"), 0o644)); err != nil {
		t.Fatal(err)
	}
	runUntilItFails(t, m, "changed", ErrChanged)
	got := imageOf(t, dst)
	got.Content["changed"] = want.Content["changed"]
	same(t, got, want)
}

// TestWhatOthersMountInTheDestinationIsNotWiped has a folder of somebody else's be mounted there when a migration is given up.
func TestWhatOthersMountInTheDestinationIsNotWiped(t *testing.T) {
	need.Root(t)
	src, dst, other := t.TempDir(), t.TempDir(), t.TempDir()
	mustWrite(t, filepath.Join(src, "folder", "sub", "file"), []byte("x"))
	mustWrite(t, filepath.Join(other, "precious"), []byte("y"))
	m := begin(t, src, dst)
	if err := m.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	at := filepath.Join(dst, "folder", "sub")
	if err := unix.Mount(other, at, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	err := errors.Join(m.GiveUp())
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Wipe(); err == nil || !strings.Contains(err.Error(), "mount") {
		t.Errorf("Wipe() = %v, want it to tell of the mount", err)
	}
	if err := unix.Unmount(at, 0); err != nil {
		t.Fatal(err)
	}
	if p, err := os.ReadFile(filepath.Join(other, "precious")); err != nil || string(p) != "y" {
		t.Errorf("what was mounted has %q, %v", p, err)
	}
}
