package fsmove

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"usui/layer/fsmove/control"
	"usui/layer/fsmove/tree"
)

// flip changes a bit of a file, and nothing else that can be seen but the time of change.
func flip(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	before, err := tree.Stat(int(f.Fd()), "")
	p := make([]byte, 1)
	_, err2 := f.ReadAt(p, before.Size/2)
	p[0] ^= 1
	_, err3 := f.WriteAt(p, before.Size/2)
	if err := errors.Join(err, err2, err3, tree.SetTimes(int(f.Fd()), "", before.Atime, before.Mtime), f.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestAMoveDoesNotEndWithDamage has one bit be another at the destination: finish refuses, names the file, and clients go on. What clients have changed keeps nothing.
func TestAMoveDoesNotEndWithDamage(t *testing.T) {
	src, dst, at := paths(t)
	want := sow(t, src, 20, 300_000)
	if err := os.WriteFile(filepath.Join(src, "large"), make([]byte, 3<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	v := startKept(t, src, dst, at)
	c, _ := v.ask(t)
	if err := os.WriteFile(filepath.Join(at, "of a client"), []byte("new"), 0o644); err != nil {
		t.Fatal(err)
	}
	v.awaitAll(t)
	flip(t, filepath.Join(dst, "large"))
	err := c.Finish(t.Context(), control.Consent{Verify: control.Full})
	if err == nil || !strings.Contains(err.Error(), `"large" (content differs from byte 1572864 on)`) {
		t.Errorf("Finish = %v, want that large is damaged in its middle", err)
	}
	if _, s := v.ask(t); s.Phase != control.Arrived || !strings.Contains(s.Note, "1 damaged") || !isFUSE(t, at) {
		t.Errorf("after that it is %s, %q, and clients use the mount: %t; want %s, 1 damaged, true", s.Phase, s.Note, isFUSE(t, at), control.Arrived)
	}
	flip(t, filepath.Join(dst, "large"))
	if err := os.Remove(filepath.Join(at, "large")); err != nil {
		t.Fatal(err)
	}
	if err := c.Finish(t.Context(), control.Consent{Verify: control.Full}); err != nil {
		t.Errorf("Finish = %v, of what only clients have changed", err)
	}
	if isFUSE(t, at) {
		t.Error("the destination is not in place")
	}
	want["of a client"] = []byte("new")
	look(t, at, want)
}
