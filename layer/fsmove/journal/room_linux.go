package journal

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"
)

// room is a file system that keeps some room back for the journal, which cannot do without: what it writes waits for room, and does not fail. What is kept back are files, so
// that there are inodes as well.
type room struct {
	vfs.FS
	folder string // that has the files
	pieces int
	bytes  int64 // of each
	logger *slog.Logger

	mu     sync.Mutex
	left   int       // guarded by mu; files that are there
	looked time.Time // guarded by mu; for room
	waits  bool      // guarded by mu; all are gone, and something waits
}

// How much is kept back. Each piece is small, for others are after the room that it leaves.
const (
	keptPieces = 64
	keptBytes  = 512 << 10
)

// retry is how often what waits looks whether there is room.
const retry = time.Second

// openRoom keeps room back in a folder that it makes. A folder that was there has less, perhaps, after a process that ended while there was none.
func openRoom(fs vfs.FS, folder string, pieces int, bytes int64, logger *slog.Logger) (*room, error) {
	r := &room{FS: fs, folder: folder, pieces: pieces, bytes: bytes, logger: logger}
	err := os.Mkdir(folder, 0o700)
	begun := errors.Is(err, os.ErrExist)
	if err != nil && !begun {
		return nil, err
	}
	for r.left < r.pieces && r.has(r.left) {
		r.left++
	}
	if err := r.fill(); err != nil && !(begun && full(err)) {
		return nil, fmt.Errorf("keep %d bytes for the journal: %w", int64(pieces)*bytes, err)
	}
	return r, nil
}

func (r *room) piece(n int) string { return filepath.Join(r.folder, fmt.Sprint(n)) }

// has says whether a piece is there as a whole.
func (r *room) has(n int) bool {
	var st unix.Stat_t
	return unix.Lstat(r.piece(n), &st) == nil && st.Blocks*512 >= r.bytes
}

// fill makes the pieces that are missing. r.mu is held, or nobody else has r yet.
func (r *room) fill() error {
	for ; r.left < r.pieces; r.left++ {
		f, err := os.OpenFile(r.piece(r.left), os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		err = errors.Join(os.NewSyscallError("fallocate", unix.Fallocate(int(f.Fd()), 0, 0, r.bytes)), f.Close())
		if err != nil {
			return errors.Join(err, os.Remove(r.piece(r.left)))
		}
	}
	return nil
}

// full says that an error is that there is no room.
func full(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

// short says whether room that was kept back has been used, after having filled it up again if there is room for that and some more.
func (r *room) short() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.left == r.pieces {
		return false
	}
	if time.Since(r.looked) < retry {
		return true
	}
	r.looked = time.Now()
	if disk, err := r.FS.GetDiskUsage(r.folder); err != nil || disk.AvailBytes < uint64(r.pieces-r.left+2)*uint64(r.bytes) {
		return true
	}
	if err := r.fill(); err != nil {
		return true // there is less room than it seemed
	}
	r.waits = false
	r.logger.Info("there is room again")
	return false
}

// give gives up a piece, or waits a while if there is none.
func (r *room) give() {
	r.mu.Lock()
	if r.left > 0 {
		if r.left == r.pieces {
			r.logger.Error("the destination is full: its journal lives on what was kept back", "bytes", int64(r.pieces)*r.bytes)
		}
		r.left--
		_ = os.Remove(r.piece(r.left)) // if it was not there, what needs room comes again
		r.mu.Unlock()
		return
	}
	said := r.waits
	r.waits = true
	r.mu.Unlock()
	if !said {
		r.logger.Error("the destination is full: its journal waits for room, and so does what clients change")
	}
	<-time.After(retry)
}

// insist calls f until there is room for what it does.
func (r *room) insist(f func() error) error {
	for {
		err := f()
		if !full(err) {
			return err
		}
		r.give()
	}
}

// file insists on what makes a file.
func (r *room) file(open func() (vfs.File, error)) (vfs.File, error) {
	var f vfs.File
	err := r.insist(func() (err error) {
		f, err = open()
		return err
	})
	if err != nil {
		return nil, err
	}
	return &roomFile{f, r}, nil
}

// Create implements [vfs.FS].
func (r *room) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return r.file(func() (vfs.File, error) { return r.FS.Create(name, c) })
}

// OpenReadWrite implements [vfs.FS].
func (r *room) OpenReadWrite(name string, c vfs.DiskWriteCategory, options ...vfs.OpenOption) (vfs.File, error) {
	return r.file(func() (vfs.File, error) { return r.FS.OpenReadWrite(name, c, options...) })
}

// ReuseForWrite implements [vfs.FS].
func (r *room) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return r.file(func() (vfs.File, error) { return r.FS.ReuseForWrite(from, to, c) })
}

// Link implements [vfs.FS].
func (r *room) Link(from, to string) error {
	return r.insist(func() error { return r.FS.Link(from, to) })
}

// Rename implements [vfs.FS].
func (r *room) Rename(from, to string) error {
	return r.insist(func() error { return r.FS.Rename(from, to) })
}

// MkdirAll implements [vfs.FS].
func (r *room) MkdirAll(dir string, mode os.FileMode) error {
	return r.insist(func() error { return r.FS.MkdirAll(dir, mode) })
}

// Unwrap implements [vfs.FS].
func (r *room) Unwrap() vfs.FS { return r.FS }

// roomFile is a file whose writes wait for room. Its syncs do not: what a sync could not write, the next one says nothing of.
type roomFile struct {
	vfs.File
	room *room
}

// Write implements [vfs.File].
func (f *roomFile) Write(p []byte) (n int, err error) {
	err = f.room.insist(func() error {
		k, err := f.File.Write(p[n:])
		n += max(k, 0)
		return err
	})
	return n, err
}

// WriteAt implements [vfs.File].
func (f *roomFile) WriteAt(p []byte, off int64) (n int, err error) {
	err = f.room.insist(func() error {
		k, err := f.File.WriteAt(p[n:], off+int64(n))
		n += max(k, 0)
		return err
	})
	return n, err
}

// Preallocate implements [vfs.File]. It is a hint.
func (f *roomFile) Preallocate(off, length int64) error {
	if err := f.File.Preallocate(off, length); !full(err) {
		return err
	}
	return nil
}
