package migration

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"usui/layer/fsmove/journal"
	"usui/layer/fsmove/tree"
)

// SourceError is that something of the source cannot be had. What its cause says is about the source, and not about what a client asked for.
type SourceError struct {
	Path string // below the source's root
	Err  error
}

func (e *SourceError) Error() string {
	if e.Path == "" { // it is about all of it
		return e.Err.Error()
	}
	return fmt.Sprintf("%q of the source: %v", e.Path, e.Err)
}

func (e *SourceError) Unwrap() error { return e.Err }

// ErrChanged says that a file of the source is not what it was when it was listed.
var ErrChanged = errors.New("the source has changed since it was listed")

// File is one whose content may not be complete.
type File struct {
	m      *Migration
	handle tree.Handle
	users  int // guarded by Migration.mu

	io     lock    // held for all that reads and changes content
	dst    int     // guarded by io; descriptor, -1 until it is needed
	lost   bool    // guarded by io; what clients wrote may be, which is in the report
	origin *origin // guarded by io; nil until it is needed, and while a call to the source that nobody waits for has it

	// What follows is changed with both io and mu held, so that either is enough to read it: who only wants to know waits for no source.
	mu       sync.Mutex
	rec      journal.File
	recorded bool // rec is in the journal
	full     bool // nothing is to be fetched
	doubted  bool // the disk may not have what was fetched
	hot      bool // the rest comes next
}

// Use returns a file that may not be complete, to be released. It is nil for one that is.
func (m *Migration) Use(h tree.Handle) (*File, error) {
	m.gate.RLock()
	defer m.gate.RUnlock()
	if m.finished {
		return nil, nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.files[h]
	if f == nil {
		rec, ok, err := m.journal.File(h)
		if err != nil || !ok {
			return nil, err
		}
		f = &File{m: m, handle: h, io: newLock(), rec: rec, recorded: true, doubted: rec.Doubted, dst: -1}
		m.files[h] = f
	}
	f.users++
	return f, nil
}

// Release ends a use.
func (f *File) Release() {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if f.users--; f.users > 0 {
		return
	}
	delete(f.m.files, f.handle)
	if f.origin != nil {
		f.origin.close()
	}
	if f.dst >= 0 {
		_ = unix.Close(f.dst) // what was written is looked after by fsync
	}
}

// change changes what mu guards. f.io is held.
func (f *File) change(do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do()
}

// insist calls do with f.io held, and again without after the source was away.
func (f *File) insist(ctx context.Context, do func() error) error {
	return f.m.src.insist(ctx, func() error {
		if err := f.io.take(ctx); err != nil {
			return err
		}
		defer f.io.give()
		return do()
	})
}

// open opens the file at the destination. f.io is held.
func (f *File) open() (err error) {
	if f.dst < 0 {
		f.dst, err = f.m.dst.Open(f.handle, unix.O_RDWR)
	}
	return err
}

// Read reads what a client asks for. If the destination has no room for what is missing, that comes from the source each time.
func (f *File) Read(ctx context.Context, p []byte, off int64) (n int, err error) {
	err = f.insist(ctx, func() (err error) {
		n, err = f.read(ctx, p, off)
		return err
	})
	return n, err
}

func (f *File) read(ctx context.Context, p []byte, off int64) (int, error) {
	f.heat()
	missing := f.ready(ctx, off, off+int64(len(p)))
	if missing != nil && !NoRoom(missing) {
		return 0, missing
	}
	if err := f.open(); err != nil {
		return 0, err
	}
	n, err := unix.Pread(f.dst, p, off)
	if err != nil {
		return 0, os.NewSyscallError("pread64", err)
	}
	if missing != nil {
		return n, f.overlay(ctx, p[:n], off)
	}
	return n, nil
}

// heat has the rest of the file come next: a client uses it in part. f.io is held.
func (f *File) heat() {
	if !f.hot && !f.full && f.recorded {
		f.change(func() { f.hot = true })
		f.m.hot.addFile(f.handle)
	}
}

// NoRoom says that an error is that the destination is full.
func NoRoom(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

// overlay replaces what was read from holes by what is at the source. f.io is held.
func (f *File) overlay(ctx context.Context, p []byte, off int64) error {
	holes, err := f.holes(off, min(off+int64(len(p)), f.rec.Limit))
	for _, h := range holes {
		if err == nil {
			err = f.fetch(ctx, h.off, h.end, func(piece []byte, at int64) error {
				copy(p[at-off:], piece)
				return nil
			})
		}
	}
	return err
}

// WillWrite says that a client is about to write: from then on the times of the file are its own.
func (f *File) WillWrite(ctx context.Context) error {
	return f.SetTimes(ctx, func() error { return nil })
}

// SetTimes has a client set times, which are the file's own from then on. Nothing is fetched meanwhile, for that gives a file the times back that it had before.
func (f *File) SetTimes(ctx context.Context, set func() error) error {
	return f.insist(ctx, func() error {
		if f.recorded && !f.rec.Written {
			if err := f.own(ctx, f.rec); err != nil {
				return err
			}
		}
		return set()
	})
}

// own says that a client has changed the file, of which all else is in the record. f.io is held.
func (f *File) own(ctx context.Context, rec journal.File) error {
	if err := f.rewrite(ctx); err != nil { // it would be fetched over what the client does
		return err
	}
	rec.Written, rec.Doubted = true, false
	return f.record(rec)
}

// record changes the record. f.io is held.
func (f *File) record(rec journal.File) error {
	c := f.m.journal.Change()
	c.SetFile(f.handle, rec)
	if err := c.Apply(); err != nil {
		return err
	}
	f.change(func() { f.rec = rec })
	return nil
}

// Write writes what a client wants, which has called WillWrite. A block that it covers in part is fetched before.
func (f *File) Write(ctx context.Context, p []byte, off int64) (n int, err error) {
	err = f.insist(ctx, func() (err error) {
		n, err = f.write(ctx, p, off)
		return err
	})
	return n, err
}

func (f *File) write(ctx context.Context, p []byte, off int64) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	f.heat()
	end := off + int64(len(p))
	for _, edge := range []int64{off, end} {
		if edge%f.m.block != 0 {
			if err := f.ready(ctx, edge, edge+1); err != nil {
				return 0, err
			}
		}
	}
	if err := f.open(); err != nil {
		return 0, err
	}
	holes, err := f.holes(off, end)
	if err != nil {
		return 0, err
	}
	n, err := unix.Pwrite(f.dst, p, off)
	f.m.step("client wrote")
	n, err = max(n, 0), os.NewSyscallError("pwrite64", err)
	for _, h := range holes {
		if at := off + int64(n); n < len(p) && at < h.end { // in whole blocks: what is said to be written is, and the rest is to be fetched
			if at > h.off {
				n = max(0, n-int(at&(f.m.block-1)))
				h.off = off + int64(n)
			}
			err = errors.Join(err, f.restore(h))
		}
	}
	return n, err
}

// path is where it is at the source.
func (f *File) path() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.rec.Path
}

// Size is how much of the file was at the source, and has not been cut off.
func (f *File) Size() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.rec.Limit
}

// Correct changes what the destination says of the file to what clients are told: times that no client has changed are the source's, and so are blocks, for
// programs take a file without any for one hole.
func (f *File) Correct(m *tree.Meta) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.recorded && !f.rec.Written {
		m.Mtime, m.Ctime = f.rec.Mtime, f.rec.Ctime
	}
	if !f.full {
		there := (min(m.Size, f.rec.Limit) + 511) / 512 // at most
		m.Blocks = max(m.Blocks, min(cmp.Or(f.rec.Blocks, there), there))
	}
}

// Full says that nothing is to be fetched any more.
func (f *File) Full() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.full
}
