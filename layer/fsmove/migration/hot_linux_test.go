package migration

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"usui/host/need"
	"usui/layer/fsmove/tree"
)

// useOf is a file that a client uses until the test ends.
func useOf(t *testing.T, m *Migration, path ...string) *File {
	t.Helper()
	f := use(t, m, handle(t, m, path...))
	t.Cleanup(f.Release) // before the migration is closed
	return f
}

func mustWrite(t *testing.T, path string, p []byte) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, p, 0o644)); err != nil {
		t.Fatal(err)
	}
}

// TestClientsDoNotWaitForTheBackground holds the background in the middle of a file: clients read that file, list folders and sync, and nothing else arrives.
func TestClientsDoNotWaitForTheBackground(t *testing.T) {
	need.Root(t)
	umask(t)
	src, dst := t.TempDir(), t.TempDir()
	large := bytes.Repeat([]byte("0123456789abcdef"), 1<<20)
	mustWrite(t, filepath.Join(src, "large"), large)
	mustWrite(t, filepath.Join(src, "folder/small"), []byte("small"))
	m := begin(t, src, dst)
	if err := m.List(t.Context(), handle(t, m)); err != nil {
		t.Fatal(err)
	}
	must := func(err error) {
		if err != nil {
			t.Error(err)
		}
	}
	f := useOf(t, m, "large")
	reached, ended := make(chan struct{}), make(chan error, 1)
	var pieces atomic.Int64
	m.hook = func(step string) {
		if step == "block fetched" && pieces.Add(1) == 2 {
			must(m.SetPaused(true)) // for what comes next
			close(reached)
		}
	}
	go func() { // until the pause ends
		ended <- f.Fill(context.WithValue(t.Context(), backgroundKey{}, first))
	}()
	<-reached
	p := make([]byte, 4096)
	if n, err := f.Read(t.Context(), p, 8<<20); err != nil || !bytes.Equal(p[:n], large[8<<20:8<<20+4096]) {
		t.Errorf("a client reads %d bytes, %v", n, err)
	}
	if err := m.List(t.Context(), handle(t, m, "folder")); err != nil {
		t.Errorf("a client's listing: %v", err)
	}
	if got, want := m.Stats().BytesFetched, uint64(2*fetchBytes+4096); got != want {
		t.Errorf("%d bytes are fetched, want %d: two pieces and what the client read", got, want)
	}
	running, stop := context.WithCancel(t.Context())
	run := make(chan error, 1)
	go func() { run <- m.Run(running) }() // until stop
	small := useOf(t, m, "folder", "small")
	if err := small.Fill(t.Context()); err != nil {
		t.Errorf("a client's file in a pause: %v", err)
	}
	stop()
	if err := <-run; !errors.Is(err, context.Canceled) {
		t.Errorf("Run = %v, want %v", err, context.Canceled)
	}
	must(m.SetPaused(false))
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := m.Run(t.Context()); err != nil {
		t.Error(err)
	}
	same(t, imageOf(t, dst), imageOf(t, src))
}

// TestWhatClientsAreAtComesFirst has the rest of a file, and subfolders of a folder, come before anything else.
func TestWhatClientsAreAtComesFirst(t *testing.T) {
	need.Root(t)
	umask(t)
	src, dst := t.TempDir(), t.TempDir()
	content := bytes.Repeat([]byte("x"), 3<<20)
	mustWrite(t, filepath.Join(src, "read"), content)
	mustWrite(t, filepath.Join(src, "not"), content)
	mustWrite(t, filepath.Join(src, "folder/sub/file"), []byte("x"))
	m := begin(t, src, dst)
	if err := m.List(t.Context(), handle(t, m)); err != nil {
		t.Fatal(err)
	}
	if _, err := useOf(t, m, "read").Read(t.Context(), make([]byte, 10), 1<<20); err != nil {
		t.Fatal(err)
	}
	read, not, folder := handle(t, m, "read"), handle(t, m, "not"), handle(t, m, "folder")
	if err := m.ask(context.WithValue(t.Context(), backgroundKey{}, inTurn), 1); err != nil {
		t.Fatal(err)
	}
	_, hasRead, err1 := m.journal.File(read)
	_, hasNot, err2 := m.journal.File(not)
	_, hasFolder, err3 := m.journal.Folder(folder)
	if err := errors.Join(err1, err2, err3); err != nil || hasRead || !hasNot || hasFolder {
		t.Errorf("to be done are what was read: %t, what was not: %t, the folder: %t, %v; want only what was not", hasRead, hasNot, hasFolder, err)
	}
	sub, err := tree.HandleOf(unix.AT_FDCWD, filepath.Join(dst, "folder/sub"))
	if err != nil {
		t.Fatal(err)
	}
	if _, has, err := m.journal.Folder(sub); err != nil || !has {
		t.Errorf("a folder that no client looked near is to be listed: %t, %v; want true", has, err)
	}
	for range hotMost + 10 {
		m.hot.addFile(not)
		m.hot.addFolders([]tree.Handle{folder})
	}
	if f, d := len(m.hot.files), len(m.hot.folders); f != hotMost || d != hotMost {
		t.Errorf("%d files and %d folders are remembered, want %d of each", f, d, hotMost)
	}
	if err := m.Run(t.Context()); err != nil {
		t.Error(err)
	}
	same(t, imageOf(t, dst), imageOf(t, src))
}

// TestHolesArePassedOver has a file of a tebibyte take no more pieces than it has data.
func TestHolesArePassedOver(t *testing.T) {
	need.Root(t)
	umask(t)
	src, dst := t.TempDir(), t.TempDir()
	f, err := os.Create(filepath.Join(src, "sparse"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	err = f.Truncate(1 << 40)
	offsets := []int64{1 << 20, 1<<39 + 5000, 1<<40 - 10}
	for _, off := range offsets {
		_, e := f.WriteAt([]byte("data"), off)
		err = errors.Join(err, e)
	}
	if err != nil {
		t.Fatal(err)
	}
	m := begin(t, src, dst)
	if err := m.List(t.Context(), handle(t, m)); err != nil {
		t.Fatal(err)
	}
	file, pieces := useOf(t, m, "sparse"), 0
	for off := int64(0); !file.Full(); off += fetchBytes {
		if err := file.insist(t.Context(), func() (err error) {
			if off, err = file.findPiece(t.Context(), off); err == nil && !file.full {
				err = file.ready(t.Context(), off, off+fetchBytes)
				pieces++
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	if pieces > 2*len(offsets)+2 {
		t.Errorf("%d pieces, want at most %d", pieces, 2*len(offsets)+2)
	}
	for _, off := range offsets {
		p := make([]byte, 4)
		if _, err := file.Read(t.Context(), p, off); err != nil || string(p) != "data" {
			t.Errorf("at %d is %q, %v", off, p, err)
		}
	}
	if err := m.Run(t.Context()); err != nil {
		t.Error(err)
	}
}
