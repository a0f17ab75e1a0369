package initrd

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func write(text string) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := io.WriteString(w, text)
		return err
	}
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

func TestCachedBuildsOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	path, err := Cached(dir, "image", "k1", write("one"))
	if err != nil {
		t.Fatal(err)
	}
	again, err := Cached(dir, "image", "k1", func(io.Writer) error { return errors.New("built twice") })
	if err != nil || again != path {
		t.Errorf("second Cached = %s, %v, want %s", again, err, path)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "one" {
		t.Errorf("content = %q, %v, want one", got, err)
	}
}

func TestCachedLeavesNothingHalfBuilt(t *testing.T) {
	dir := t.TempDir()
	broken := errors.New("broken")
	_, err := Cached(dir, "image", "k", func(w io.Writer) error {
		if err := write("half")(w); err != nil {
			return err
		}
		return broken
	})
	if !errors.Is(err, broken) {
		t.Errorf("Cached = %v, want %v", err, broken)
	}
	if left := names(t, dir); len(left) != 0 {
		t.Errorf("%q is left", left)
	}
}

func TestCachedRemovesOldKeys(t *testing.T) {
	dir := t.TempDir()
	old, err := Cached(dir, "image", "old", write("old"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Cached(dir, "image", "young", write("young")); err != nil {
		t.Fatal(err)
	}
	if _, err := Cached(dir, "other", "old", write("other")); err != nil {
		t.Fatal(err)
	}
	long := time.Now().Add(-2 * staleAfter)
	for _, path := range []string{old, filepath.Join(dir, "other-old")} {
		if err := os.Chtimes(path, long, long); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Cached(dir, "image", "new", write("new")); err != nil {
		t.Fatal(err)
	}
	if got := names(t, dir); len(got) != 3 || got[0] != "image-new" || got[1] != "image-young" || got[2] != "other-old" {
		t.Errorf("files = %q, want image-new, image-young, other-old", got)
	}
}

func TestKeyTellsPartsApart(t *testing.T) {
	if Key("ab", "c") == Key("a", "bc") || Key("a") == Key("a", "") {
		t.Error("different parts have the same key")
	}
}
