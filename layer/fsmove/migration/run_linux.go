package migration

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"usui/layer/fsmove/tree"
)

// How long Run pauses when all that is left cannot be had: longer each time.
const (
	firstPause = time.Second
	lastPause  = 30 * time.Second
)

// Run lists all folders and fills all files. It returns nil once everything is at the destination. What cannot be had is tried again, and is told by Failures meanwhile. An error
// is that of ctx, or that the journal cannot be read or written.
func (m *Migration) Run(ctx context.Context) error {
	ctx = context.WithValue(ctx, backgroundKey{}, inTurn)
	ctx = context.WithValue(ctx, atOnce{}, true)
	for next := firstPause; ; {
		more, did, err := m.pass(ctx)
		if err := cmp.Or(context.Cause(ctx), err); err != nil {
			return err
		}
		if !more {
			return nil
		}
		if did {
			next = firstPause
			continue
		}
		m.step("pause")
		if err := pause(ctx, next); err != nil {
			return err
		}
		next = min(2*next, lastPause)
	}
}

// pass does what there is to do when it begins, and says whether there was anything, and whether any of it was done. What is listed has folders, perhaps, so that files come in a later one.
// It ends when the destination is full.
func (m *Migration) pass(ctx context.Context) (more, did bool, err error) {
	noRoom := m.journal.Short()
	defer func() {
		if errors.Is(err, errFull) {
			noRoom, more, did, err = true, true, false, nil
		}
		m.count(func(s *Stats) { s.NoRoom = noRoom })
	}()
	if noRoom {
		return true, false, nil
	}
	more, did, err = groups(ctx, m.journal.Folders(), func(group []tree.Handle) (bool, error) { return m.listAll(ctx, group) })
	if did || err != nil {
		return more, did, err
	}
	filled, did, err := groups(ctx, m.journal.Files(), func(group []tree.Handle) (bool, error) { return m.fillAll(ctx, group) })
	return more || filled, did, err
}

// errFull says that there is no use in going on.
var errFull = errors.New("the destination is full")

// So many entries are done with at a time, and so many at once: the destination's log has one commit for those that are synced together, and a source that is far away
// has several requests to answer.
const (
	groupSize = 512
	workers   = 8
)

// groups calls f with all handles, some at a time, and says whether there was any, and whether f has done any.
func groups(ctx context.Context, all iter.Seq2[tree.Handle, error], f func([]tree.Handle) (bool, error)) (more, did bool, err error) {
	var group []tree.Handle
	most := groupSize
	var files unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &files) == nil { // each file that is synced takes two
		most = int(min(groupSize, max(files.Cur/4, 1)))
	}
	do := func() error {
		done, err := f(group)
		did, group = did || done, group[:0]
		return err
	}
	for h, err := range all {
		if err := cmp.Or(err, context.Cause(ctx)); err != nil {
			return more, did, err
		}
		more = true
		if group = append(group, h); len(group) == most {
			if err := do(); err != nil {
				return more, did, err
			}
		}
	}
	if len(group) > 0 {
		err = do()
	}
	return more, did, err
}

// each calls f with the numbers below n, several at once, and returns what it said.
func each(ctx context.Context, n int, f func(i int) error) []error {
	errs := make([]error, n)
	var next atomic.Int64
	var all sync.WaitGroup
	for range min(workers, n) {
		all.Go(func() { // until there is no number left
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				if errs[i] = context.Cause(ctx); errs[i] == nil {
					errs[i] = f(i)
				}
			}
		})
	}
	all.Wait()
	return errs
}

// listAll lists folders, and forgets those that a client has removed, which were empty. It says whether any was done with.
func (m *Migration) listAll(ctx context.Context, group []tree.Handle) (did bool, err error) {
	c := m.journal.Change()
	noRoom := false
	for i, err := range each(ctx, len(group), func(i int) error {
		if err := m.ask(ctx, listBytes); err != nil {
			return err
		}
		return m.List(ctx, group[i])
	}) {
		if errors.Is(err, tree.ErrGone) {
			c.DropFolder(group[i])
			m.count(func(s *Stats) { s.Waiting.Folders-- })
			err = nil
		}
		did, noRoom = did || err == nil, noRoom || NoRoom(err)
		m.tried(ctx, group[i], err, func() string {
			rec, _, _ := m.journal.Folder(group[i]) // it was there a moment ago
			return rec.Path
		})
	}
	if err := c.Apply(); err != nil || !noRoom {
		return did, err
	}
	return did, errFull
}

// fillAll finishes files, and forgets those that are gone. It says whether any was done with.
func (m *Migration) fillAll(ctx context.Context, group []tree.Handle) (did bool, err error) {
	files := make([]*File, 0, len(group))
	defer func() {
		for _, f := range files {
			f.Release()
		}
	}()
	for _, h := range group {
		f, err := m.Use(h)
		if err != nil {
			return did, err
		}
		if f != nil {
			files = append(files, f)
		}
	}
	var gone []tree.Handle
	var done []*File
	noRoom := false
	for i, err := range m.endure(ctx, files) {
		f := files[i]
		switch {
		case err == nil:
			done = append(done, f)
		case errors.Is(err, tree.ErrGone):
			gone, err = append(gone, f.handle), nil
		}
		noRoom = noRoom || NoRoom(err)
		m.tried(ctx, f.handle, err, f.path)
	}
	if err := m.forget(done, gone); err != nil || !noRoom {
		return len(done)+len(gone) > 0, err
	}
	return len(done)+len(gone) > 0, errFull
}
