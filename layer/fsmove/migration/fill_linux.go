package migration

import (
	"context"
	"errors"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"usui/layer/fsmove/tree"
)

// ready has what is between two offsets at the destination. f.io is held.
func (f *File) ready(ctx context.Context, off, end int64) error {
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
			err = f.fill(ctx, h.off, h.end)
		}
	}
	return err
}

// hole is what is not at the destination.
type hole struct{ off, end int64 }

// holes are those between two offsets. f.io is held, and the file is open.
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

// restore makes a hole again of what a write that failed left there: zeros that were never fetched. f.io is held.
func (f *File) restore(h hole) error {
	err := unix.Fallocate(f.dst, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, h.off, (h.end-h.off+f.m.block-1)&^(f.m.block-1))
	return os.NewSyscallError("fallocate", err)
}

// fill fetches what belongs into a hole, but for what is a hole at the source, too. f.io is held.
func (f *File) fill(ctx context.Context, off, end int64) error {
	before, err := tree.Stat(f.dst, "")
	if err != nil {
		return err
	}
	return f.fetch(ctx, off, end, func(p []byte, at int64) error {
		if err := writeAll(f.dst, p, at); err != nil {
			return errors.Join(err, f.restore(hole{at, at + int64(len(p))}))
		}
		f.m.step("block fetched")
		if err := tree.SetTimes(f.dst, "", before.Atime, before.Mtime); err != nil {
			return err
		}
		f.m.count(func(s *Stats) { s.BytesFetched += uint64(len(p)) })
		return nil
	})
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

// fillBytes is how much of a file is filled before others may use it.
const fillBytes = 4 << 20

// Fill has all of the file at the destination. It is durable once the migration has settled it.
func (f *File) Fill(ctx context.Context) error {
	for off := int64(0); ; off += fillBytes {
		done := false
		err := f.insist(ctx, func() (err error) {
			done, err = f.fillFrom(ctx, off)
			return err
		})
		if done || err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

// fillFrom fills a part, and says whether nothing is missing: holes do not come back while a file has a record. f.io is held.
func (f *File) fillFrom(ctx context.Context, off int64) (done bool, err error) {
	if f.full || !f.recorded {
		return true, nil
	}
	if err := f.ready(ctx, off, off+fillBytes); err != nil || off+fillBytes < f.rec.Limit {
		return false, err
	}
	if f.origin != nil {
		f.origin.close()
		f.origin = nil
	}
	f.change(func() { f.full = true })
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
	if err := f.io.take(ctx); err != nil {
		return err
	}
	defer f.io.give()
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
	f.m.step("filled")
	return os.NewSyscallError("fsync", unix.Fsync(f.dst))
}

// forget takes the records of files away that endure, and of such that are gone. Clients change neither meanwhile.
func (m *Migration) forget(files []*File, gone []tree.Handle) error {
	for _, f := range files {
		_ = f.io.take(context.Background()) // which does not end; what is full waits for no source
		defer f.io.give()
	}
	files = slices.DeleteFunc(files, func(f *File) bool { return !f.recorded })
	if len(files) == 0 && len(gone) == 0 {
		return nil
	}
	c := m.journal.Change()
	var less Waiting
	for _, f := range files {
		c.DropFile(f.handle)
		less.add(Waiting{Files: 1, Bytes: uint64(f.rec.Size)})
	}
	for _, h := range gone {
		rec, ok, err := m.journal.File(h)
		if err != nil {
			c.Drop()
			return err
		}
		if ok {
			c.DropFile(h)
			less.add(Waiting{Files: 1, Bytes: uint64(rec.Size)})
		}
	}
	m.step("settled")
	if err := c.Apply(); err != nil {
		return err
	}
	for _, f := range files {
		f.change(func() { f.recorded = false })
		if f.dst >= 0 { // else nobody could execute it as long as somebody has it open here
			_ = unix.Close(f.dst) // it is durable
			f.dst = -1
		}
	}
	m.step("forgotten")
	m.count(func(s *Stats) { s.Waiting.add(Waiting{Files: -less.Files, Bytes: -less.Bytes}) })
	for _, f := range files {
		m.succeeded(f.handle)
	}
	return nil
}
