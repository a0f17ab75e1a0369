package migration

import (
	"context"
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"usui/layer/fsmove/tree"
)

// Truncate gives the file another size. What it cuts off is never fetched.
func (f *File) Truncate(ctx context.Context, size int64) error {
	return f.insist(ctx, func() error { return f.truncate(ctx, size) })
}

func (f *File) truncate(ctx context.Context, size int64) error {
	if err := f.open(); err != nil {
		return err
	}
	if f.recorded && !f.rec.Written && size >= f.rec.Limit {
		if err := f.own(ctx, f.rec); err != nil {
			return err
		}
	}
	if !f.recorded || size >= f.rec.Limit {
		return os.NewSyscallError("ftruncate", unix.Ftruncate(f.dst, size))
	}
	rec := f.rec
	rec.Limit, rec.Cut = size, true
	if err := f.own(ctx, rec); err != nil {
		return err
	}
	f.m.step("cut recorded")
	return f.finishCut()
}

// finishCut does what the record says was begun. f.io is held.
func (f *File) finishCut() error {
	if err := unix.Ftruncate(f.dst, f.rec.Limit); err != nil {
		return os.NewSyscallError("ftruncate", err)
	}
	f.m.step("cut")
	if err := unix.Fsync(f.dst); err != nil { // the journal is another file: its sync says nothing of this one
		return os.NewSyscallError("fsync", err)
	}
	f.m.step("cut durable")
	rec := f.rec
	rec.Cut = false
	return f.record(rec)
}

// finishCuts finishes what a crash interrupted.
func (m *Migration) finishCuts() error {
	for rec, err := range m.journal.FileRecords() {
		if err == nil && rec.Cut {
			err = m.finishCutOf(rec.Handle)
		}
		if err != nil {
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
	if err := f.io.take(context.Background()); err != nil {
		return err
	}
	defer f.io.give()
	if !f.rec.Cut {
		return nil
	}
	if err := f.open(); errors.Is(err, tree.ErrGone) {
		return m.forget(nil, []tree.Handle{h})
	} else if err != nil {
		return err
	}
	return f.finishCut()
}
