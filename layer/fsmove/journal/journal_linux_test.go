package journal

import (
	"errors"
	"log/slog"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/google/go-cmp/cmp"

	"usui/layer/fsmove/tree"
)

func open(t *testing.T, dir string) *Journal {
	t.Helper()
	j, err := Open(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func apply(t *testing.T, j *Journal, f func(*Change)) {
	t.Helper()
	c := j.Change()
	f(c)
	if err := c.Apply(); err != nil {
		t.Fatal(err)
	}
}

func TestRecordsOutliveTheProcess(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir)
	file := File{Path: "a/\xff\n", Limit: math.MaxInt64, Cut: true, Written: true, Ino: math.MaxUint64, Size: 1 << 40, Mtime: time.Unix(-1, 999_999_999), Ctime: time.Unix(1<<40, 1)}
	folder, link := Folder{Path: "a/b", Top: "a", Ino: 9}, Link{Left: math.MaxUint32, Size: 1 << 40, Mtime: time.Unix(-1, 1), Ctime: time.Unix(2, 3)}
	header := Header{Source: "/srv", Root: Root{FS: math.MaxUint64, Ino: 2, Mtime: time.Unix(4, 5), Ctime: time.Unix(6, 7)}}
	losses := []Loss{{"a", "no such attributes"}, {"a", "too many names"}, {"b\xff", "too long"}}
	apply(t, j, func(c *Change) {
		c.SetHeader(header)
		c.SetFolder("d", folder)
		c.SetFile("f", file)
		c.SetFile("", File{})
		c.SetFile("gone", file)
		c.SetLink(Inode{"a", 7}, link)
		for _, l := range slices.Backward(append(losses, losses...)) {
			c.AddLoss(l)
		}
	})
	apply(t, j, func(c *Change) { c.DropFile("gone"); c.DropFolder("none") })
	dropped := j.Change()
	dropped.SetFile("never", file)
	dropped.Drop()
	if _, err := Open(dir, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("a journal was opened twice")
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	j = open(t, dir)
	defer j.Close() // nothing depends on it
	same := func(what string, got, want any, ok bool, err error) {
		t.Helper()
		if !ok || err != nil {
			t.Errorf("%s: %t, %v", what, ok, err)
		} else if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: -want +got\n%s", what, d)
		}
	}
	gotFile, ok, err := j.File("f")
	same("file", gotFile, file, ok, err)
	gotFolder, ok, err := j.Folder("d")
	same("folder", gotFolder, folder, ok, err)
	gotLink, ok, err := j.Link(Inode{"a", 7})
	same("link", gotLink, link, ok, err)
	gotHeader, ok, err := j.Header()
	same("header", gotHeader, header, ok, err)
	for _, h := range []tree.Handle{"gone", "never", "d"} {
		if f, ok, err := j.File(h); ok || err != nil {
			t.Errorf("file %q: %v, %v", h, f, err)
		}
	}
	for _, i := range []Inode{{"a", 8}, {"", 7}} {
		if _, ok, err := j.Link(i); ok || err != nil {
			t.Errorf("another link: %t, %v", ok, err)
		}
	}
	for i, err := range j.Links() {
		if want := (Inode{"a", 7}); err != nil || i != want {
			t.Errorf("an inode with a record: %v, %v; want %v", i, err, want)
		}
	}
	var lost []Loss
	for l, err := range j.Losses() {
		if err != nil {
			t.Fatal(err)
		}
		lost = append(lost, l)
	}
	if d := cmp.Diff(losses, lost); d != "" {
		t.Errorf("losses: -want +got\n%s", d)
	}
	var files []tree.Handle
	for h, err := range j.Files() {
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, h)
	}
	if d := cmp.Diff([]tree.Handle{"", "f"}, files); d != "" {
		t.Errorf("files: -want +got\n%s", d)
	}
}

func TestARecordThatIsNotWhatWasWrittenIsAnError(t *testing.T) {
	j := open(t, t.TempDir())
	defer j.Close() // nothing depends on it
	apply(t, j, func(c *Change) { c.SetFile("f", File{Path: "p"}) })
	good, closer, err := j.db.Get([]byte("ff"))
	if err != nil {
		t.Fatal(err)
	}
	good = append([]byte(nil), good...)
	closer.Close()
	other := newWriter()
	other.p[0] = version + 1
	long := newWriter()
	(&File{}).write(long)
	long.number(0)
	for what, p := range map[string][]byte{
		"nothing":         {},
		"cut":             good[:len(good)-1],
		"another version": other.seal([]byte("ff")),
		"no fields":       newWriter().seal([]byte("ff")),
		"more fields":     long.seal([]byte("ff")),
		"another's":       newWriter().seal([]byte("fg")),
	} {
		if err := j.db.Set([]byte("ff"), p, pebble.NoSync); err != nil {
			t.Fatal(err)
		}
		if f, _, err := j.File("f"); err == nil || what != "another version" && !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v, %v", what, f, err)
		}
	}
	for i := range good {
		p := append([]byte(nil), good...)
		p[i] ^= 16
		if _, err := newReader([]byte("ff"), p); err == nil {
			t.Errorf("with another byte at %d it checks", i)
		}
	}
}

func FuzzFile(f *testing.F) {
	w := newWriter()
	(&File{Path: "path", Size: 7}).write(w)
	f.Add(w.p[1:])
	f.Fuzz(func(t *testing.T, p []byte) {
		var a, b File
		r := &reader{p: p}
		a.read(r)
		if r.end(nil) != nil {
			return
		}
		w := newWriter()
		a.write(w)
		again := &reader{p: w.p[1:]}
		if b.read(again); again.end(nil) != nil || !cmp.Equal(a, b) {
			t.Errorf("%+v became %+v", a, b)
		}
	})
}
