package migration

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"usui/host/need"
	"usui/layer/fsmove/tree"
)

// TestALookUpListsNoLargeFolder looks up some of many entries, one that has several names, and more than are made one by one.
func TestALookUpListsNoLargeFolder(t *testing.T) {
	need.Root(t)
	umask(t)
	const entries = DefaultEarly + 50
	for _, row := range []struct {
		name   string
		looks  []string
		listed bool
	}{
		{"some", []string{"n7", "n7", "none", "folder", "n9"}, false},
		{"several names", []string{"n7", "linked"}, true},
		{"many", func() (all []string) {
			for i := range earlyMost + 1 {
				all = append(all, fmt.Sprint("n", i))
			}
			return all
		}(), true},
	} {
		t.Run(row.name, func(t *testing.T) {
			src, dst := t.TempDir(), t.TempDir()
			for i := range entries {
				mustWrite(t, filepath.Join(src, fmt.Sprint("n", i)), pattern(i, 1))
			}
			mustWrite(t, filepath.Join(src, "folder", "in"), []byte("in"))
			if err := os.Link(filepath.Join(src, "n100"), filepath.Join(src, "linked")); err != nil {
				t.Fatal(err)
			}
			m := begin(t, src, dst)
			top, err := tree.HandleOf(m.dst.Fd(), "")
			if err != nil {
				t.Fatal(err)
			}
			want := map[string]bool{}
			for i, name := range row.looks {
				listed, err := m.Look(t.Context(), top, name)
				if last := i == len(row.looks)-1; err != nil || listed != (row.listed && last) {
					t.Errorf("Look(%q) = %t, %v", name, listed, err)
				}
				if want[name] = true; name == "none" {
					delete(want, name)
				}
			}
			all, err := os.ReadDir(dst)
			if err != nil {
				t.Fatal(err)
			}
			if n := len(all) - 1; row.listed && n != entries+2 || !row.listed && n != len(want) { // beside the StateFolder
				t.Errorf("%d entries are there, after %q", n, row.looks)
			}
			m = killed(t, m, src, dst)
			if err := m.Run(t.Context()); err != nil {
				t.Fatal(err)
			}
			same(t, imageOf(t, dst), imageOf(t, src))
			if early, err := m.journal.Early(top); err != nil || len(early) != 0 {
				t.Errorf("the journal has %v at the end, %v", early, err)
			}
		})
	}
}

// TestNobodyBuildsOnAListingThatIsNotDurable has the journal say already what it has not synced, which whoever comes next must not believe.
func TestNobodyBuildsOnAListingThatIsNotDurable(t *testing.T) {
	need.Root(t)
	umask(t)
	src := t.TempDir()
	mustWrite(t, filepath.Join(src, "file"), []byte("content"))
	m := begin(t, src, t.TempDir())
	top, err := tree.HandleOf(m.dst.Fd(), "")
	if err != nil {
		t.Fatal(err)
	}
	if err := m.List(t.Context(), top); err != nil {
		t.Fatal(err)
	}
	for what, come := range map[string]func() error{
		"List": func() error { return m.List(t.Context(), top) },
		"Look": func() error { _, err := m.Look(t.Context(), top, "file"); return err },
	} {
		l := &listing{done: make(chan struct{})}
		m.listings[top] = l // nobody else is there
		asks, came := m.Asks(), make(chan error, 1)
		go func() { came <- come() }() // until the listing ends
		for m.Asks() == asks {
			select {
			case err := <-came:
				t.Fatalf("%s = %v before the listing is durable", what, err)
			default:
			}
		}
		m.mu.Lock()
		delete(m.listings, top)
		m.mu.Unlock()
		close(l.done)
		if err := <-came; err != nil {
			t.Errorf("%s = %v", what, err)
		}
	}
}
