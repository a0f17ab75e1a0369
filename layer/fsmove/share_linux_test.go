package fsmove

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestUsrShareIsMovedUnderLoad moves /usr/share, with clients that read, ask, write and rename, and a process that is killed.
func TestUsrShareIsMovedUnderLoad(t *testing.T) {
	_, dst, at := paths(t)
	const src = "/usr/share"
	moved, names := share(t, src)
	want := manifest(t, src, nil)
	v := startKept(t, src, dst, at)
	var clients sync.WaitGroup
	var over atomic.Bool
	use := func(f func(random *rand.Rand, i int) error) {
		seed := rand.Uint64()
		clients.Go(func() { // until all has arrived, or it has used much: then the rest comes at full speed
			random := rand.New(rand.NewPCG(seed, 0))
			for i := 0; i < 3000 && !over.Load() || i == 0; i++ {
				if err := f(random, i); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 2 {
		use(func(random *rand.Rand, _ int) error { return sameFile(src, at, names[random.IntN(len(names))]) })
	}
	use(func(random *rand.Rand, _ int) error { return sameStat(src, at, names[random.IntN(len(names))]) })
	use(func(_ *rand.Rand, i int) error { return useOnce(filepath.Join(at, "client"), i, nil) })
	use(func(*rand.Rand, int) error {
		here, away := filepath.Join(at, moved), filepath.Join(at, moved+".away")
		return errors.Join(os.Rename(here, away), os.Rename(away, here))
	})
	v.kill(t)
	v.awaitAll(t)
	over.Store(true)
	clients.Wait()
	v.end(t)
	for _, dir := range []string{at, dst} {
		got := manifest(t, dir, func(name string) bool { return name == "client" })
		got[""], want[""] = "", "" // clients have changed the top
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: -want +got\n%s", dir, d)
		}
	}
}

// share says what folder is the first, and what files are in the others.
func share(t *testing.T, dir string) (first string, names []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		name, _ := filepath.Rel(dir, path)
		switch {
		case err != nil:
			return err
		case first == "" && d.IsDir() && name != ".":
			first = name
			return fs.SkipDir
		case d.Type().IsRegular():
			names = append(names, name)
		}
		return nil
	})
	if err != nil || first == "" || len(names) == 0 {
		t.Fatalf("%s has no folders or no files, %v", dir, err)
	}
	return first, names
}

// sameFile says whether a file has the same content in two trees.
func sameFile(a, b, name string) error {
	want, err1 := os.ReadFile(filepath.Join(a, name))
	got, err2 := os.ReadFile(filepath.Join(b, name))
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		n := 0
		for n < min(len(got), len(want)) && got[n] == want[n] {
			n++
		}
		return fmt.Errorf("%s has %d bytes, want %d; they differ from %d on: %.16x, want %.16x", name, len(got), len(want), n, got[n:], want[n:])
	}
	return nil
}

// sameStat says whether a file is told to be the same in two trees.
func sameStat(a, b, name string) error {
	want, err1 := os.Lstat(filepath.Join(a, name))
	got, err2 := os.Lstat(filepath.Join(b, name))
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	if got.Size() != want.Size() || got.Mode() != want.Mode() || !got.ModTime().Equal(want.ModTime()) {
		return fmt.Errorf("%s is %d bytes, %v, %v; want %d, %v, %v", name, got.Size(), got.Mode(), got.ModTime(), want.Size(), want.Mode(), want.ModTime())
	}
	return nil
}
