package compare

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"usui/host/need"
	"usui/layer/fsmove/tree"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var when = time.Unix(1_600_000_000, 123_456_789)

// grow makes a tree with one of everything, all of one time.
func grow(t *testing.T, dir string) {
	t.Helper()
	at := func(name string) string { return filepath.Join(dir, name) }
	random := rand.NewChaCha8([32]byte{1})
	for _, name := range []string{"a", "a/b", "c"} {
		must(t, os.Mkdir(at(name), 0o755))
	}
	for i, name := range []string{"one", "a/two", "a/b/three", "c/four", "five", "six", "seven"} {
		p := make([]byte, 3<<20+i)
		_, _ = random.Read(p) // never fails
		must(t, os.WriteFile(at(name), p, 0o644))
	}
	must(t, os.WriteFile(at("a/empty"), nil, 0o600))
	must(t, unix.Setxattr(at("one"), "user.colour", []byte("blue"), 0))
	must(t, os.Symlink("one", at("c/link")))
	must(t, unix.Mkfifo(at("c/fifo"), 0o600))
	must(t, unix.Mknod(at("c/null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	must(t, os.Link(at("five"), at("a/five")))
	sparse, err := os.Create(at("sparse"))
	must(t, err)
	must(t, sparse.Truncate(1<<40))
	_, err = sparse.WriteAt([]byte("data"), 1<<39)
	must(t, errors.Join(err, sparse.Close()))
	stamp(t, dir)
}

// stamp gives everything the same time.
func stamp(t *testing.T, dir string) {
	t.Helper()
	var folders []string
	must(t, filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		folders = append(folders, path)
		return err
	}))
	slices.Reverse(folders)
	for _, path := range folders {
		must(t, tree.SetTimes(unix.AT_FDCWD, path, when, when))
	}
}

// copyOf is a copy of a tree.
func copyOf(t *testing.T, dir string) string {
	t.Helper()
	to := t.TempDir()
	if out, err := exec.Command("cp", "-a", "--sparse=always", dir+"/.", to).CombinedOutput(); err != nil {
		t.Fatalf("cp: %v: %s", err, out)
	}
	return to
}

func open(t *testing.T, path string) *tree.Root {
	t.Helper()
	r, err := tree.Open(path)
	must(t, err)
	t.Cleanup(func() { r.Close() })
	return r
}

func compared(t *testing.T, src, dst string, o Options) Report {
	t.Helper()
	r, err := Trees(t.Context(), open(t, src), open(t, dst), o)
	must(t, err)
	for _, c := range r.classes() {
		slices.SortFunc(c.List, func(a, b Finding) int { return strings.Compare(a.Path, b.Path) })
	}
	return r
}

func paths(c Class) (all []string) {
	for _, f := range c.List {
		all = append(all, f.Path)
	}
	return all
}

func TestACopyIsTheSame(t *testing.T) {
	need.Root(t)
	src := t.TempDir()
	grow(t, src)
	r := compared(t, src, copyOf(t, src), Options{})
	if !r.Good() || r.Same != r.Entries || r.Entries != 17 || r.Bytes < 7*3<<20 || r.Bytes > 8*3<<20 {
		t.Errorf("a copy: %+v; want 17 entries, all the same, and each content read once", r)
	}
}

// TestOneBitIsFound flips a bit of a file and sets the time back.
func TestOneBitIsFound(t *testing.T) {
	need.Root(t)
	src := t.TempDir()
	grow(t, src)
	dst := copyOf(t, src)
	for _, at := range []int64{0, 1<<20 - 1, 1 << 20, 3 << 20} {
		f, err := os.OpenFile(filepath.Join(dst, "a/two"), os.O_RDWR, 0)
		must(t, err)
		p := make([]byte, 1)
		flip := func() {
			t.Helper()
			_, err := f.ReadAt(p, at)
			p[0] ^= 4
			_, err2 := f.WriteAt(p, at)
			must(t, errors.Join(err, err2, tree.SetTimes(int(f.Fd()), "", when, when)))
		}
		flip()
		r := compared(t, src, dst, Options{})
		want := fmt.Sprintf("content differs from byte %d on", at)
		if r.Good() || r.Damaged.Count != 1 || len(r.Damaged.List) != 1 || r.Damaged.List[0] != (Finding{"a/two", want}) || r.Same != r.Entries-1 {
			t.Errorf("with a bit at %d: %+v, want a/two damaged there", at, r)
		}
		if r := compared(t, src, dst, Options{Quick: true}); !r.Good() || r.Same != r.Entries || r.Bytes != 0 {
			t.Errorf("quick: %+v, want nothing found and nothing read", r)
		}
		flip()
		must(t, f.Close())
	}
}

// TestHolesThatAreNoneAreFound writes into a hole of the destination, and makes one of data.
func TestHolesThatAreNoneAreFound(t *testing.T) {
	need.Root(t)
	src := t.TempDir()
	grow(t, src)
	dst := copyOf(t, src)
	f, err := os.OpenFile(filepath.Join(dst, "sparse"), os.O_RDWR, 0)
	must(t, err)
	_, err = f.WriteAt([]byte{1}, 1<<30)
	must(t, errors.Join(err, f.Close()))
	f, err = os.OpenFile(filepath.Join(dst, "six"), os.O_RDWR, 0)
	must(t, err)
	must(t, errors.Join(unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 1<<20, 4096), f.Close()))
	stamp(t, dst)
	if r := compared(t, src, dst, Options{}); !slices.Equal(paths(r.Damaged), []string{"six", "sparse"}) || r.Same != r.Entries-2 {
		t.Errorf("holes that are none: %+v", r)
	}
}

// TestWhatClientsDoIsNoDamage has clients do what they do.
func TestWhatClientsDoIsNoDamage(t *testing.T) {
	need.Root(t)
	src := t.TempDir()
	grow(t, src)
	dst := copyOf(t, src)
	at := func(name string) string { return filepath.Join(dst, name) }
	must(t, os.WriteFile(at("one"), []byte("by a client"), 0o644))                 // changed
	must(t, os.Remove(at("a/two")))                                                // gone, and a is changed
	must(t, os.Rename(at("c/four"), at("c/for")))                                  // gone and new, and c is changed
	must(t, os.WriteFile(at("c/new"), nil, 0o644))                                 // new
	must(t, os.Chmod(at("six"), 0o400))                                            // metadata
	must(t, unix.Setxattr(at("seven"), "user.n", []byte("1"), 0))                  // metadata
	must(t, errors.Join(os.Remove(at("c/link")), os.Symlink("x", at("c/link"))))   // changed
	must(t, errors.Join(os.Remove(at("a/empty")), os.Mkdir(at("a/empty"), 0o755))) // changed
	must(t, os.MkdirAll(at(".own/journal"), 0o755))                                // skipped, and the top is changed
	r := compared(t, src, dst, Options{Skip: func(path string) bool { return path == ".own" }})
	for _, tt := range []struct {
		name string
		got  Class
		want []string
	}{
		{"changed", r.Changed, []string{"", "a", "a/empty", "c", "c/link", "one"}},
		{"gone", r.Gone, []string{"a/two", "c/four"}},
		{"new", r.New, []string{"c/for", "c/new"}},
		{"metadata", r.Metadata, []string{"seven", "six"}},
		{"damaged", r.Damaged, nil},
		{"failed", r.Failed, nil},
	} {
		if got := paths(tt.got); !slices.Equal(got, tt.want) || tt.got.Count != uint64(len(tt.want)) {
			t.Errorf("%s are %q, want %q", tt.name, got, tt.want)
		}
	}
	if !r.Good() || r.Entries != r.Same+r.Changed.Count+r.Gone.Count+r.Metadata.Count {
		t.Errorf("%+v is not good, or does not add up", r)
	}
}

// TestDamageOfEachKindIsFound breaks one thing of each kind and leaves times as they were.
func TestDamageOfEachKindIsFound(t *testing.T) {
	need.Root(t)
	src := t.TempDir()
	grow(t, src)
	dst := copyOf(t, src)
	at := func(name string) string { return filepath.Join(dst, name) }
	must(t, os.Remove(at("a/b/three")))
	must(t, os.Truncate(at("six"), 1000))
	must(t, errors.Join(os.Remove(at("c/link")), os.Symlink("two", at("c/link"))))
	must(t, errors.Join(os.Remove(at("c/null")), unix.Mknod(at("c/null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 5)))))
	p, err := os.ReadFile(at("five"))
	must(t, err)
	must(t, errors.Join(os.Remove(at("a/five")), os.WriteFile(at("a/five"), p, 0o644))) // another inode
	stamp(t, dst)
	r := compared(t, src, dst, Options{})
	if got, want := paths(r.Damaged), []string{"a/b/three", "c/link", "c/null", "six"}; !slices.Equal(got, want) {
		t.Errorf("damaged are %q, want %q", got, want)
	}
	if got := paths(r.Metadata); len(got) != 1 || got[0] != "five" && got[0] != "a/five" || !strings.Contains(r.Metadata.List[0].What, "another file") {
		t.Errorf("of a link that is none: %+v, want one of the two", r.Metadata)
	}
}

func TestListsAreBoundedAndCountsAreNot(t *testing.T) {
	need.Root(t)
	src, dst := t.TempDir(), t.TempDir()
	for i := range 100 {
		must(t, os.WriteFile(filepath.Join(src, fmt.Sprint(i)), nil, 0o644))
	}
	r := compared(t, src, dst, Options{List: 7})
	if r.Gone.Count != 100 || len(r.Gone.List) != 7 {
		t.Errorf("%d are gone and %d listed, want 100 and 7", r.Gone.Count, len(r.Gone.List))
	}
	var text, document bytes.Buffer
	must(t, r.WriteText(&text, 3))
	if !strings.Contains(text.String(), "and 97 more") {
		t.Errorf("the text does not say that there are 97 more:\n%s", text.String())
	}
	must(t, json.NewEncoder(&document).Encode(r))
	var again Report
	if err := json.Unmarshal(document.Bytes(), &again); err != nil || again.Gone.Count != 100 {
		t.Errorf("the document has %d, %v", again.Gone.Count, err)
	}
}

func TestAComparisonStopsWithItsContext(t *testing.T) {
	need.Root(t)
	src := t.TempDir()
	grow(t, src)
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if _, err := Trees(ctx, open(t, src), open(t, src), Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("Trees = %v, want %v", err, context.Canceled)
	}
}

// TestASourceThatChangesIsTold has the source of a comparison change after it was looked at.
func TestASourceThatChangesIsTold(t *testing.T) {
	need.Root(t)
	src := t.TempDir()
	grow(t, src)
	dst := copyOf(t, src)
	c := &comparison{src: open(t, src), dst: open(t, dst), Options: Options{List: 10, Pace: func(context.Context, int64) error { return nil }}}
	look := func(dir string) *tree.Meta {
		m, err := tree.Read(open(t, dir).Fd(), "one")
		must(t, err)
		return &m
	}
	f := content{"one", look(src), look(dst), ""}
	b := &buffers{make([]byte, bufferBytes), make([]byte, bufferBytes)}
	must(t, os.WriteFile(filepath.Join(src, "one"), []byte("other"), 0o644))
	c.content(t.Context(), &f, b)
	if got := paths(c.report.SourceChanged); !slices.Equal(got, []string{"one"}) || c.report.Good() {
		t.Errorf("%+v, want one changed at the source", c.report)
	}
	f.src, f.dst = look(src), look(dst)
	must(t, os.WriteFile(filepath.Join(dst, "one"), []byte("a client's"), 0o644))
	c.content(t.Context(), &f, b)
	if got := paths(c.report.Changed); !slices.Equal(got, []string{"one"}) || c.report.Damaged.Count != 0 {
		t.Errorf("%+v, want one changed by a client", c.report)
	}
}

// TestWhatTakesANameIsNoDamage has a client give a name to something of the same time, which only its folder's time tells.
func TestWhatTakesANameIsNoDamage(t *testing.T) {
	need.Root(t)
	src := t.TempDir()
	grow(t, src)
	dst := copyOf(t, src)
	must(t, os.Rename(filepath.Join(dst, "six"), filepath.Join(dst, "one"))) // of another length
	r := compared(t, src, dst, Options{})
	if !r.Good() || !slices.Equal(paths(r.Changed), []string{"", "one"}) || !slices.Equal(paths(r.Gone), []string{"six"}) {
		t.Errorf("%+v, want one changed and six gone", r)
	}
}

// TestWhatIsKnownToBeLostIsNoDamage has something missing of which that is known.
func TestWhatIsKnownToBeLostIsNoDamage(t *testing.T) {
	need.Root(t)
	src := t.TempDir()
	grow(t, src)
	dst := copyOf(t, src)
	must(t, os.Remove(filepath.Join(dst, "a/two")))
	must(t, os.Remove(filepath.Join(dst, "a/b/three")))
	stamp(t, dst)
	r := compared(t, src, dst, Options{Lost: func(path string) bool { return path == "a/two" || path == "one" }})
	if !slices.Equal(paths(r.Lost), []string{"a/two"}) || !slices.Equal(paths(r.Damaged), []string{"a/b/three"}) || r.Same != r.Entries-2 {
		t.Errorf("%+v, want a/two lost and a/b/three damaged", r)
	}
}

// TestADestinationOfWholeSecondsIsCompared has a destination that keeps no parts of seconds: what it has is no work of clients.
func TestADestinationOfWholeSecondsIsCompared(t *testing.T) {
	need.Root(t)
	src := t.TempDir()
	grow(t, src)
	dst := copyOf(t, src)
	f, err := os.OpenFile(filepath.Join(dst, "one"), os.O_RDWR, 0)
	must(t, err)
	_, err = f.WriteAt([]byte("bad"), 1000)
	must(t, errors.Join(err, f.Close()))
	must(t, filepath.WalkDir(dst, func(path string, _ os.DirEntry, err error) error {
		return errors.Join(err, tree.SetTimes(unix.AT_FDCWD, path, when, when.Truncate(time.Second)))
	}))
	if r := compared(t, src, dst, Options{}); !slices.Equal(paths(r.Damaged), []string{"one"}) || r.Same != r.Entries-1 {
		t.Errorf("%+v, want one damaged and all else the same", r)
	}
}
