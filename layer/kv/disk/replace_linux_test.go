package disk

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestAReplacementTakesItsPlaceWhenItIsWhole(t *testing.T) {
	dir := t.TempDir()
	folder, err := Open(dir, func(name string) bool { return name == "a" }, Ordinary)
	if err != nil {
		t.Fatal(err)
	}
	defer folder.Close()
	begin := func(content string) Replacement {
		t.Helper()
		r, err := folder.Replace("a")
		if err != nil {
			t.Fatal(err)
		}
		for i := len(content) - 1; i >= 0; i-- {
			if _, err := r.WriteAt([]byte(content[i:i+1]), int64(i)); err != nil {
				t.Fatal(err)
			}
		}
		return r
	}
	has := func(want string) {
		t.Helper()
		f, err := folder.Open("a")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if got := string(f.View()); got != want {
			t.Errorf("a has %q, want %q", got, want)
		}
	}
	if err := begin("first").Commit(); err != nil {
		t.Fatal(err)
	}
	has("first")
	r := begin("another")
	if err := r.Sync(); err != nil {
		t.Fatal(err)
	}
	has("first")
	if err := r.Abandon(); err != nil {
		t.Fatal(err)
	}
	has("first")
	if err := begin("second").Commit(); err != nil {
		t.Fatal(err)
	}
	has("second")
	left := begin("third") // and a crash
	defer left.Abandon()   // closes it; its name is gone by then
	if names, err := folder.Names(); err != nil || !slices.Equal(names, []string{"a"}) {
		t.Errorf("Names() = %q, %v; want only a", names, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "a"+unfinished)); err == nil {
		t.Error("what nobody finished is still there")
	}
	has("second")
}
