package journal

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"

	"usui/layer/fsmove/tree"
)

// fullFS is a file system that has room or not.
type fullFS struct {
	vfs.FS
	full atomic.Bool
}

func (f *fullFS) no() error {
	if f.full.Load() {
		return &os.PathError{Op: "write", Path: "journal", Err: unix.ENOSPC}
	}
	return nil
}

func (f *fullFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if err := f.no(); err != nil {
		return nil, err
	}
	file, err := f.FS.Create(name, c)
	return &fullFile{file, f}, err
}

func (f *fullFS) GetDiskUsage(path string) (vfs.DiskUsage, error) {
	if f.full.Load() {
		return vfs.DiskUsage{}, nil
	}
	return f.FS.GetDiskUsage(path)
}

type fullFile struct {
	vfs.File
	fs *fullFS
}

// Write writes half of what it is given when there is no room.
func (f *fullFile) Write(p []byte) (int, error) {
	err := f.fs.no()
	if err != nil {
		p = p[:len(p)/2]
	}
	n, failed := f.File.Write(p)
	if failed != nil {
		err = failed
	}
	return n, err
}

// told is a logger that tells of messages.
type told struct {
	slog.Handler
	messages chan string
}

func (l told) Enabled(context.Context, slog.Level) bool { return true }

func (l told) Handle(_ context.Context, r slog.Record) error {
	if r.Level >= slog.LevelError {
		l.messages <- r.Message
	}
	return nil
}

func TestAChangeWaitsForRoom(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "journal")
	fs := &fullFS{FS: vfs.Default}
	log := told{slog.DiscardHandler, make(chan string, 100)}
	j, err := openIn(fs, dir, 3, 64<<10, slog.New(log))
	if err != nil {
		t.Fatal(err)
	}
	apply(t, j, func(c *Change) { c.SetFolder("before", Folder{Path: "before"}) })
	if j.Short() {
		t.Error("at first there is no room")
	}
	fs.full.Store(true)
	applied := make(chan error, 1)
	c := j.Change()
	c.SetFolder("when full", Folder{Path: "when full"})
	go func() { applied <- c.Apply() }() // until there is room
	for message := range log.messages {
		if strings.Contains(message, "waits for room") {
			break
		}
	}
	if f, ok, err := j.Folder("before"); f.Path != "before" || !ok || err != nil {
		t.Errorf("while a change waits another record is %v, %t, %v", f, ok, err)
	}
	if !j.Short() {
		t.Error("a change waits, and there is room")
	}
	if all, err := os.ReadDir(dir + ".room"); err != nil || len(all) != 0 {
		t.Errorf("kept back are still %v, %v", all, err)
	}
	select {
	case err := <-applied:
		t.Fatalf("without room Apply = %v", err)
	default:
	}
	fs.full.Store(false)
	if err := <-applied; err != nil {
		t.Fatal(err)
	}
	j.room.looked = time.Time{} // long ago
	if j.Short() {
		t.Error("there is still no room")
	}
	if all, err := os.ReadDir(dir + ".room"); err != nil || len(all) != 3 {
		t.Errorf("kept back are %v, %v; want 3", all, err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	j = open(t, dir)
	defer j.Close() // nothing depends on it
	for _, name := range []string{"before", "when full"} {
		if f, ok, err := j.Folder(tree.Handle(name)); f.Path != name || !ok || err != nil {
			t.Errorf("the record of %s is %v, %t, %v", name, f, ok, err)
		}
	}
}
