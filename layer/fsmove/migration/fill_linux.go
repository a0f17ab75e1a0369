package migration

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"usui/layer/fsmove/tree"
)

// fetchBytes is how much is fetched at a time.
const fetchBytes = 256 << 10

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

// Fill has all of the file at the destination, for a client. It is durable once the migration has settled it.
func (f *File) Fill(ctx context.Context) error { return f.fillAll(ctx, atOnce) }

// atOnce is what is asked before each piece for a client.
func atOnce(ctx context.Context, _ int64) error { return ctx.Err() }

// fillAll has all of the file at the destination. It asks before each piece, and others use the file between two.
func (f *File) fillAll(ctx context.Context, ask func(context.Context, int64) error) error {
	for off := int64(0); !f.Full(); {
		if err := ask(ctx, min(fetchBytes, f.Size()-off)); err != nil {
			return err
		}
		next, err := f.fillFrom(off)
		if err != nil {
			return err
		}
		off = next
	}
	return nil
}

// fillFrom fills a piece, and says where the next one is. After the last nothing is missing: holes do not come back while a file has a record.
func (f *File) fillFrom(off int64) (next int64, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.full || !f.recorded {
		f.full = true
		return off, nil
	}
	if err := f.ready(off, off+fetchBytes); err != nil {
		return off, err
	}
	if next, err = f.nextPiece(off + fetchBytes); err != nil || next < f.rec.Limit {
		return next, err
	}
	if f.src >= 0 {
		_ = unix.Close(f.src)
		f.src = -1
	}
	f.full, f.buf = true, nil
	f.m.count(func(s *Stats) { s.FilesFilled++ })
	return next, nil
}

// nextPiece is the first piece from an offset on that has something to fetch, for all that is known: behind what is here, and behind a hole of the source. f.mu is held.
func (f *File) nextPiece(off int64) (int64, error) {
	if off >= f.rec.Limit {
		return off, nil
	}
	if err := f.open(); err != nil {
		return off, err
	}
	missing, err := unix.Seek(f.dst, off, unix.SEEK_HOLE)
	if err != nil {
		return off, os.NewSyscallError("lseek", err)
	}
	if off = max(off, missing&^(fetchBytes-1)); off >= f.rec.Limit || f.src < 0 {
		return off, nil
	}
	data, _, err := f.sourceData(off, f.rec.Limit)
	if err != nil || data == off {
		return off, err
	}
	if data == f.rec.Limit {
		return data, f.same()
	}
	return max(off, data&^(fetchBytes-1)), nil
}

// Settle fills the file, makes it durable, and forgets that it was ever anything but an ordinary one. After that it may have holes of its own.
func (f *File) Settle(ctx context.Context) error {
	if err := f.endure(ctx, atOnce); err != nil {
		return err
	}
	return f.m.forget([]*File{f}, nil)
}

// endure fills the file and makes it durable. It asks before each piece. Clients use the file while it is synced, by a descriptor that keeps nobody from executing it.
func (f *File) endure(ctx context.Context, ask func(context.Context, int64) error) error {
	if err := f.fillAll(ctx, ask); err != nil {
		return err
	}
	if recorded, err := f.finishTimes(); err != nil || !recorded {
		return err
	}
	fd, err := f.m.dst.Open(f.handle, unix.O_RDONLY)
	if err != nil {
		return err
	}
	return errors.Join(os.NewSyscallError("fsync", unix.Fsync(fd)), os.NewSyscallError("close", unix.Close(fd)))
}

// finishTimes gives a file its times that no client has changed: a process that was killed while it filled may have left others. It says whether the file has a record.
func (f *File) finishTimes() (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.recorded {
		return false, nil
	}
	if err := f.open(); err != nil {
		return false, err
	}
	if f.rec.Written {
		return true, nil
	}
	now, err := tree.Stat(f.dst, "")
	if err != nil {
		return false, err
	}
	return true, tree.SetTimes(f.dst, "", now.Atime, f.rec.Mtime)
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
