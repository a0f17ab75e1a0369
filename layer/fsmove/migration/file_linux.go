package migration

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"usui/layer/fsmove/journal"
	"usui/layer/fsmove/tree"
)

// fetchBytes is how much is fetched at a time.
const fetchBytes = 256 << 10

// SourceError is that something of the source cannot be had. What its cause says is about the source, and not about what a client asked for.
type SourceError struct {
	Path string // below the source's root
	Err  error
}

func (e *SourceError) Error() string { return fmt.Sprintf("%q of the source: %v", e.Path, e.Err) }

func (e *SourceError) Unwrap() error { return e.Err }

// ErrChanged says that a file of the source is not what it was when it was listed.
var ErrChanged = errors.New("the source has changed since it was listed")

// File is one whose content may not be complete.
type File struct {
	m      *Migration
	handle tree.Handle
	users  int // guarded by Migration.mu

	mu       sync.Mutex
	rec      journal.File // guarded by mu
	recorded bool         // guarded by mu; rec is in the journal
	full     bool         // guarded by mu; nothing is to be fetched
	src, dst int          // guarded by mu; descriptors, -1 until they are needed
	buf      []byte       // guarded by mu
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
		f = &File{m: m, handle: h, rec: rec, recorded: true, src: -1, dst: -1}
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
	for _, fd := range []int{f.src, f.dst} {
		if fd >= 0 {
			_ = unix.Close(fd) // what was written is looked after by fsync
		}
	}
}

// open opens the file at the destination. f.mu is held.
func (f *File) open() (err error) {
	if f.dst < 0 {
		f.dst, err = f.m.dst.Open(f.handle, unix.O_RDWR)
	}
	return err
}

// openSource opens the file at the source. f.mu is held.
func (f *File) openSource() (err error) {
	if f.src >= 0 {
		return nil
	}
	if f.src, err = f.m.src.At(f.rec.Path, unix.O_RDONLY|unix.O_NOATIME|unix.O_NONBLOCK); err != nil {
		return &SourceError{f.rec.Path, err}
	}
	return f.same()
}

// same makes sure that the file of the source is the one that was listed. f.mu is held.
func (f *File) same() error {
	s, err := tree.Stat(f.src, "")
	if err != nil {
		return &SourceError{f.rec.Path, err}
	}
	if s.Ino != f.rec.Ino || s.Size != f.rec.Size || !s.Mtime.Equal(f.rec.Mtime) || !s.Ctime.Equal(f.rec.Ctime) {
		return &SourceError{f.rec.Path, ErrChanged}
	}
	return nil
}

// Ready has n bytes from off on at the destination.
func (f *File) Ready(off, n int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ready(off, off+n)
}

// ready has what is between two offsets at the destination. f.mu is held.
func (f *File) ready(off, end int64) error {
	if f.full {
		return nil
	}
	if err := f.open(); err != nil {
		return err
	}
	off &^= f.m.block - 1
	end = min((end+f.m.block-1)&^(f.m.block-1), f.rec.Limit)
	holes, err := f.holes(off, end)
	for _, h := range holes {
		if err == nil {
			err = f.fill(h.off, h.end)
		}
	}
	return err
}

// hole is what is not at the destination.
type hole struct{ off, end int64 }

// holes are those between two offsets. f.mu is held, and the file is open.
func (f *File) holes(off, end int64) (all []hole, err error) {
	for off < end {
		from, err := unix.Seek(f.dst, off, unix.SEEK_HOLE)
		if errors.Is(err, unix.ENXIO) || err == nil && from >= end {
			return all, nil // behind the end, or nothing is missing
		}
		if err != nil {
			return nil, os.NewSyscallError("lseek", err)
		}
		data, err := unix.Seek(f.dst, from, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			data, err = end, nil
		}
		if err != nil {
			return nil, os.NewSyscallError("lseek", err)
		}
		off = min(data, end)
		all = append(all, hole{from, off})
	}
	return all, nil
}

// restore makes a hole again of what a write that failed left there: zeros that were never fetched. f.mu is held.
func (f *File) restore(h hole) error {
	err := unix.Fallocate(f.dst, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, h.off, (h.end-h.off+f.m.block-1)&^(f.m.block-1))
	return os.NewSyscallError("fallocate", err)
}

// fill fetches what belongs into a hole, but for what is a hole at the source, too. f.mu is held.
func (f *File) fill(off, end int64) error {
	if err := f.openSource(); err != nil {
		return err
	}
	before, err := tree.Stat(f.dst, "")
	if err != nil {
		return err
	}
	if f.buf == nil {
		f.buf = make([]byte, fetchBytes)
	}
	for off < end {
		from, to, err := f.sourceData(off, end)
		if err != nil {
			return err
		}
		if from == to {
			return f.same() // all that is left is a hole
		}
		off = from
		p := f.buf[:min(int64(len(f.buf)), to-off)]
		if err := f.fetch(p, off); err != nil {
			return err
		}
		if err := writeAll(f.dst, p, off); err != nil {
			return errors.Join(err, f.restore(hole{off, off + int64(len(p))}))
		}
		if err := tree.SetTimes(f.dst, "", before.Atime, before.Mtime); err != nil {
			return err
		}
		f.m.count(func(s *Stats) { s.BytesFetched += uint64(len(p)) })
		off += int64(len(p))
	}
	return nil
}

// sourceData is where data begins and ends at the source, in whole blocks of the destination, at end both if there is none. A source that does not tell of holes
// has data everywhere. f.mu is held.
func (f *File) sourceData(off, end int64) (from, to int64, err error) {
	data, err := unix.Seek(f.src, off, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.EINVAL):
		return off, end, nil
	case errors.Is(err, unix.ENXIO) || err == nil && data >= end:
		return end, end, nil
	case err == nil:
		var hole int64
		if hole, err = unix.Seek(f.src, data, unix.SEEK_HOLE); err == nil {
			return max(off, data&^(f.m.block-1)), min(end, (hole+f.m.block-1)&^(f.m.block-1)), nil
		}
	}
	return 0, 0, &SourceError{f.rec.Path, os.NewSyscallError("lseek", err)}
}

// fetch reads from the source, and nothing that was changed meanwhile. f.mu is held.
func (f *File) fetch(p []byte, off int64) error {
	for n := 0; n < len(p); {
		k, err := unix.Pread(f.src, p[n:], off+int64(n))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return &SourceError{f.rec.Path, fmt.Errorf("read at %d: %w", off+int64(n), err)}
		}
		if k == 0 {
			return &SourceError{f.rec.Path, fmt.Errorf("it ends at %d: %w", off+int64(n), ErrChanged)}
		}
		n += k
	}
	return f.same()
}

func writeAll(fd int, p []byte, off int64) error {
	for len(p) > 0 {
		n, err := unix.Pwrite(fd, p, off)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return os.NewSyscallError("pwrite64", err)
		}
		p, off = p[n:], off+int64(n)
	}
	return nil
}

// Read reads what a client asks for. If the destination has no room for what is missing, that comes from the source each time.
func (f *File) Read(p []byte, off int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	missing := f.ready(off, off+int64(len(p)))
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
		return n, f.overlay(p[:n], off)
	}
	return n, nil
}

// NoRoom says that an error is that the destination is full.
func NoRoom(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

// overlay replaces what was read from holes by what is at the source. f.mu is held.
func (f *File) overlay(p []byte, off int64) error {
	holes, err := f.holes(off, min(off+int64(len(p)), f.rec.Limit))
	for _, h := range holes {
		if err == nil {
			err = f.fetch(p[h.off-off:h.end-off], h.off)
		}
	}
	return err
}

// WillWrite says that a client is about to write: from then on the times of the file are its own.
func (f *File) WillWrite() error { return f.SetTimes(func() error { return nil }) }

// SetTimes has a client set times, which are the file's own from then on. Nothing is fetched meanwhile, for that gives a file the times back that it had before.
func (f *File) SetTimes(set func() error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.recorded && !f.rec.Written {
		rec := f.rec
		rec.Written = true
		if err := f.record(rec); err != nil {
			return err
		}
	}
	return set()
}

// record changes the record. f.mu is held.
func (f *File) record(rec journal.File) error {
	c := f.m.journal.Change()
	c.SetFile(f.handle, rec)
	if err := c.Apply(); err != nil {
		return err
	}
	f.rec = rec
	return nil
}

// Write writes what a client wants, which has called WillWrite. A block that it covers in part is fetched before.
func (f *File) Write(p []byte, off int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(p) == 0 {
		return 0, nil
	}
	end := off + int64(len(p))
	for _, edge := range []int64{off, end} {
		if edge%f.m.block != 0 {
			if err := f.ready(edge, edge+1); err != nil {
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
	n, err = max(n, 0), os.NewSyscallError("pwrite64", err)
	for _, h := range holes {
		if at := off + int64(n); n < len(p) && at < h.end { // in whole blocks: what is said to be written is, and the rest is to be fetched
			if at > h.off {
				n -= int(at & (f.m.block - 1))
				h.off = off + int64(n)
			}
			err = errors.Join(err, f.restore(h))
		}
	}
	return n, err
}

// Truncate gives the file another size. What it cuts off is never fetched.
func (f *File) Truncate(size int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.open(); err != nil {
		return err
	}
	rec := f.rec
	if rec.Written = true; f.recorded && !f.rec.Written && size >= rec.Limit {
		if err := f.record(rec); err != nil {
			return err
		}
	}
	if !f.recorded || size >= rec.Limit {
		return os.NewSyscallError("ftruncate", unix.Ftruncate(f.dst, size))
	}
	rec.Limit, rec.Cut = size, true
	if err := f.record(rec); err != nil {
		return err
	}
	return f.finishCut()
}

// finishCut does what the record says was begun. f.mu is held.
func (f *File) finishCut() error {
	if err := unix.Ftruncate(f.dst, f.rec.Limit); err != nil {
		return os.NewSyscallError("ftruncate", err)
	}
	if err := unix.Fsync(f.dst); err != nil { // the journal is another file: its sync says nothing of this one
		return os.NewSyscallError("fsync", err)
	}
	rec := f.rec
	rec.Cut = false
	return f.record(rec)
}

// fillBytes is how much of a file is filled before others may use it.
const fillBytes = 4 << 20

// Fill has all of the file at the destination. It is durable once the migration has settled it.
func (f *File) Fill(ctx context.Context) error {
	for off := int64(0); ; off += fillBytes {
		if done, err := f.fillFrom(off); done || err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

// fillFrom fills a part, and says whether nothing is missing: holes do not come back while a file has a record.
func (f *File) fillFrom(off int64) (done bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.full || !f.recorded {
		return true, nil
	}
	if err := f.ready(off, off+fillBytes); err != nil || off+fillBytes < f.rec.Limit {
		return false, err
	}
	if f.src >= 0 {
		_ = unix.Close(f.src)
		f.src = -1
	}
	f.full, f.buf = true, nil
	f.m.count(func(s *Stats) { s.FilesFilled++ })
	return true, nil
}

// Settle fills the file, makes it durable, and forgets that it was ever anything but an ordinary one. After that it may have holes of its own.
func (f *File) Settle(ctx context.Context) error {
	if err := f.endure(ctx); err != nil {
		return err
	}
	return f.m.forget([]*File{f}, nil)
}

// endure fills the file and makes it durable.
func (f *File) endure(ctx context.Context) error {
	if err := f.Fill(ctx); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.recorded {
		return nil
	}
	if err := f.open(); err != nil {
		return err
	}
	if !f.rec.Written { // a process that was killed while it filled may have left other times
		now, err := tree.Stat(f.dst, "")
		if err != nil {
			return err
		}
		if err := tree.SetTimes(f.dst, "", now.Atime, f.rec.Mtime); err != nil {
			return err
		}
	}
	return os.NewSyscallError("fsync", unix.Fsync(f.dst))
}

// forget takes the records of files away that endure, and of such that are gone. Clients change neither meanwhile.
func (m *Migration) forget(files []*File, gone []tree.Handle) error {
	for _, f := range files {
		f.mu.Lock()
		defer f.mu.Unlock()
	}
	files = slices.DeleteFunc(files, func(f *File) bool { return !f.recorded })
	if len(files) == 0 && len(gone) == 0 {
		return nil
	}
	c := m.journal.Change()
	for _, f := range files {
		c.DropFile(f.handle)
	}
	for _, h := range gone {
		c.DropFile(h)
	}
	if err := c.Apply(); err != nil {
		return err
	}
	for _, f := range files {
		f.recorded = false
		if f.dst >= 0 { // else nobody could execute it as long as somebody has it open here
			_ = unix.Close(f.dst) // it is durable
			f.dst = -1
		}
	}
	return nil
}

// Size is how much of the file was at the source, and has not been cut off.
func (f *File) Size() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.rec.Limit
}

// Correct changes what the destination says of the file to what clients are told: times that no client has changed are the source's, and what is not fetched counts as data, for
// programs take a file without blocks for one hole.
func (f *File) Correct(m *tree.Meta) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.recorded && !f.rec.Written {
		m.Mtime, m.Ctime = f.rec.Mtime, f.rec.Ctime
	}
	if !f.full {
		m.Blocks = max(m.Blocks, (m.Size+511)/512)
	}
}

// Full says that nothing is to be fetched any more.
func (f *File) Full() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.full
}

// finishCuts finishes what a crash interrupted.
func (m *Migration) finishCuts() error {
	for h, err := range m.journal.Files("") {
		if err != nil {
			return err
		}
		if err := m.finishCutOf(h); err != nil {
			return err
		}
	}
	return nil
}

func (m *Migration) finishCutOf(h tree.Handle) error {
	f, err := m.Use(h)
	if err != nil || f == nil {
		return err
	}
	defer f.Release()
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.rec.Cut {
		return nil
	}
	if err := f.open(); errors.Is(err, tree.ErrGone) {
		c := m.journal.Change()
		c.DropFile(h)
		return c.Apply()
	} else if err != nil {
		return err
	}
	return f.finishCut()
}
