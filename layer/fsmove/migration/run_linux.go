package migration

import (
	"context"
	"errors"

	"usui/layer/fsmove/tree"
)

// Run lists all folders and fills all files, one at a time. It returns nil once everything is at the destination, and before that when ctx ends.
func (m *Migration) Run(ctx context.Context) error {
	for {
		more, err := m.pass(ctx)
		if err != nil || !more {
			return err
		}
	}
}

// pass does what there is to do when it begins, and says whether there was anything.
func (m *Migration) pass(ctx context.Context) (more bool, err error) {
	for h, err := range m.journal.Folders("") {
		if err := errors.Join(err, ctx.Err()); err != nil {
			return false, err
		}
		more = true
		if err := m.List(h); errors.Is(err, tree.ErrGone) { // a client has removed it, which is empty then
			c := m.journal.Change()
			c.DropFolder(h)
			err = c.Apply()
			if err != nil {
				return false, err
			}
		} else if err != nil {
			return false, err
		}
	}
	if more {
		return true, nil // what was listed has folders, perhaps
	}
	for h, err := range m.journal.Files("") {
		if err := errors.Join(err, ctx.Err()); err != nil {
			return false, err
		}
		more = true
		if err := m.settle(h); err != nil {
			return false, err
		}
	}
	return more, nil
}

// settle finishes a file, or forgets one that is gone.
func (m *Migration) settle(h tree.Handle) error {
	f, err := m.Use(h)
	if err != nil || f == nil {
		return err
	}
	defer f.Release()
	if err := f.Settle(); !errors.Is(err, tree.ErrGone) {
		return err
	}
	c := m.journal.Change()
	c.DropFile(h)
	return c.Apply()
}
