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
	capable := f.capable()
	return f.fetch(ctx, off, end, func(p []byte, at int64) error {
		if err := writeAll(f.dst, p, at); err != nil {
			return errors.Join(err, f.restore(hole{at, at + int64(len(p))}))
		}
		f.m.step("block fetched")
		if err := tree.SetTimes(f.dst, "", before.Atime, before.Mtime); err != nil {
			return err
		}
		f.m.count(func(s *Stats) { s.BytesFetched += uint64(len(p)) })
		if capable {
			return f.giveCapability()
		}
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

// Fill has all of the file at the destination. It is durable once the migration has settled it. Others use the file between two pieces.
func (f *File) Fill(ctx context.Context) error {
	for off := int64(0); ; off += fetchBytes {
		if err := f.insist(ctx, func() (err error) {
			off, err = f.findPiece(ctx, off)
			return err
		}); err != nil || f.Full() {
			return err
		}
		if err := f.m.ask(ctx, min(fetchBytes, f.Size()-off)); err != nil {
			return err
		}
		if err := f.insist(ctx, func() error { return f.ready(ctx, off, off+fetchBytes) }); err != nil {
			return err
		}
	}
}

// findPiece is the first piece from an offset on that has something to fetch. If there is none, nothing is missing: holes do not come back while a file has a record. f.io is held.
func (f *File) findPiece(ctx context.Context, off int64) (next int64, err error) {
	if f.full || !f.recorded {
		f.change(func() { f.full = true })
		return off, nil
	}
	if next, err = f.nextPiece(ctx, off); err != nil {
		return off, err
	}
	if next < f.rec.Limit {
		return next, nil
	}
	if f.origin != nil {
		f.origin.close()
		f.origin = nil
	}
	f.change(func() { f.full = true })
	f.m.count(func(s *Stats) { s.FilesFilled++ })
	return next, nil
}

// nextPiece is the first piece from an offset on that has something to fetch, for all that is known: behind what is here, and behind a hole of the source. f.io is held.
func (f *File) nextPiece(ctx context.Context, off int64) (int64, error) {
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
	if missing >= f.rec.Limit {
		return missing, nil
	}
	off = max(off, missing&^(fetchBytes-1))
	if o := f.origin; o == nil || len(o.p) > 0 { // there was data to the end of the piece
		return off, nil
	}
	data, _, err := f.nextData(ctx, off)
	if data < f.rec.Limit {
		data = max(off, data&^(fetchBytes-1))
	}
	return data, err
}

// Settle fills the file, makes it durable, and forgets that it was ever anything but an ordinary one. After that it may have holes of its own.
func (f *File) Settle(ctx context.Context) error {
	files := []*File{f}
	if err := f.m.endure(ctx, files)[0]; err != nil {
		return err
	}
	return f.m.forget(files, nil)
}

// finish fills the file and gives it what is its own.
func (f *File) finish(ctx context.Context) error {
	if err := f.insist(ctx, func() error { return f.rewrite(ctx) }); err != nil {
		return err
	}
	if err := f.Fill(ctx); err != nil {
		return err
	}
	err := f.finishTimes(ctx)
	f.m.step("filled")
	return err
}

// finishTimes gives a file its times, and its capabilities, that no client has changed: a process that was killed while it filled may have left others.
func (f *File) finishTimes(ctx context.Context) error {
	if err := f.io.take(ctx); err != nil {
		return err
	}
	defer f.io.give()
	if !f.recorded || f.rec.Written {
		return nil
	}
	if err := f.open(); err != nil {
		return err
	}
	if err := f.giveCapability(); err != nil {
		return err
	}
	now, err := tree.Stat(f.dst, "")
	if err != nil {
		return err
	}
	return tree.SetTimes(f.dst, "", now.Atime, f.rec.Mtime)
}

// forget takes the records of files away that endure, and of such that are gone. Clients change neither meanwhile.
func (m *Migration) forget(files []*File, gone []tree.Handle) error {
	for _, f := range files {
		_ = f.io.take(context.Background()) // which does not end; what is full waits for no source
		defer f.io.give()
	}
	files = slices.DeleteFunc(files, func(f *File) bool { return !f.recorded || !f.full || f.doubted })
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
		m.tell(f)
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

// OnArrival has f called with the number of each file of the destination that has arrived from then on: its time of change is told anew. It is set before anything is asked for.
func (m *Migration) OnArrival(f func(ino uint64)) { m.onArrival = f }

// tell tells that a file has arrived. f.io is held.
func (m *Migration) tell(f *File) {
	if m.onArrival == nil || f.dst < 0 {
		return
	}
	if st, err := tree.Stat(f.dst, ""); err == nil {
		m.onArrival(st.Ino)
	}
}
