package migration

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"sync"
	"sync/atomic"

	"usui/layer/fsmove/tree"
)

// Run lists all folders and fills all files. It returns nil once everything is at the destination, and before that when ctx ends, or when nothing is left but what cannot be had.
func (m *Migration) Run(ctx context.Context) error {
	for {
		before := m.Stats()
		more, err := m.pass(ctx)
		if err := ctx.Err(); err != nil {
			return err
		}
		if !more || err != nil && m.Stats() == before {
			return err
		}
	}
}

// pass does what there is to do when it begins, and says whether there was anything. What is listed has folders, perhaps, so that files come in a later one.
func (m *Migration) pass(ctx context.Context) (more bool, err error) {
	more, err = groups(ctx, m.journal.Folders(), func(group []tree.Handle) error { return m.listAll(ctx, group) })
	if more && err == nil {
		return true, nil
	}
	filled, failed := groups(ctx, m.journal.Files(), func(group []tree.Handle) error { return m.fillGroup(ctx, group, m.mayGoOn) })
	return more || filled, cmp.Or(err, failed)
}

// So many entries are done with at a time, and so many at once: the destination's log has one commit for those that are synced together, and a source that is far away
// has several requests to answer.
const (
	groupSize = 128
	workers   = 8
)

// groups calls f with all handles, some at a time, and says whether there was any. It goes on after an error: one file that cannot be had keeps no other.
func groups(ctx context.Context, all iter.Seq2[tree.Handle, error], f func([]tree.Handle) error) (more bool, failed error) {
	var group []tree.Handle
	for h, err := range all {
		if err := cmp.Or(err, ctx.Err()); err != nil {
			return false, err
		}
		more = true
		if group = append(group, h); len(group) == groupSize {
			failed = cmp.Or(failed, f(group))
			group = group[:0]
		}
	}
	if len(group) > 0 {
		failed = cmp.Or(failed, f(group))
	}
	return more, failed
}

// each calls f with the numbers below n, several at once, and returns what it said.
func each(ctx context.Context, n int, f func(i int) error) []error {
	errs := make([]error, n)
	var next atomic.Int64
	var all sync.WaitGroup
	for range min(workers, n) {
		all.Go(func() { // until there is no number left
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				if errs[i] = ctx.Err(); errs[i] == nil {
					errs[i] = f(i)
				}
			}
		})
	}
	all.Wait()
	return errs
}

// listAll lists folders, and forgets those that a client has removed, which were empty.
func (m *Migration) listAll(ctx context.Context, group []tree.Handle) error {
	c := m.journal.Change()
	var failed error
	for i, err := range each(ctx, len(group), func(i int) error {
		if err := m.mayGoOn(ctx, listBytes); err != nil {
			return err
		}
		return m.listFor(group[i], false)
	}) {
		if errors.Is(err, tree.ErrGone) {
			c.DropFolder(group[i])
		} else {
			failed = cmp.Or(failed, err)
		}
	}
	return errors.Join(failed, c.Apply())
}

// fillGroup finishes files, and forgets those that are gone. It asks before each piece.
func (m *Migration) fillGroup(ctx context.Context, group []tree.Handle, ask func(context.Context, int64) error) error {
	files := make([]*File, 0, len(group))
	defer func() {
		for _, f := range files {
			f.Release()
		}
	}()
	for _, h := range group {
		f, err := m.Use(h)
		if err != nil {
			return err
		}
		if f != nil {
			files = append(files, f)
		}
	}
	var gone []tree.Handle
	var done []*File
	var failed error
	for i, err := range each(ctx, len(files), func(i int) error { return files[i].endure(ctx, ask) }) {
		switch {
		case err == nil:
			done = append(done, files[i])
		case errors.Is(err, tree.ErrGone):
			gone = append(gone, files[i].handle)
		default:
			failed = cmp.Or(failed, err)
		}
	}
	return errors.Join(failed, m.forget(done, gone))
}
