package migration

import (
	"context"
	"slices"
	"strings"
	"time"

	"usui/layer/fsmove/tree"
)

// Failure is something that Run could not have, and tries again. A file of the source that has changed is one for good ([ErrChanged]): a user removes it at the mount,
// and copies it by hand.
type Failure struct {
	Path  string // at the source, below its root
	Err   error  // of the last time
	Count int    // how often
	Since time.Time
}

// maxFailures is how many are remembered.
const maxFailures = 1000

// Failures are what could not be had so far and is still to come, by path; no more than 1000.
func (m *Migration) Failures() []Failure {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make([]Failure, 0, len(m.failures))
	for _, f := range m.failures {
		all = append(all, *f)
	}
	slices.SortFunc(all, func(a, b Failure) int { return strings.Compare(a.Path, b.Path) })
	return all
}

// succeeded says that something has come, by whomever.
func (m *Migration) succeeded(h tree.Handle) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.failures, h)
}

// tried says what came of a try. That ctx has ended is no failure. One too many to be remembered is not told of.
func (m *Migration) tried(ctx context.Context, h tree.Handle, err error, path func() string) {
	m.mu.Lock()
	f := m.failures[h]
	if err == nil {
		delete(m.failures, h)
	}
	known := f != nil
	if !known && err != nil && ctx.Err() == nil && len(m.failures) < maxFailures {
		f = &Failure{Since: time.Now()}
		m.failures[h] = f
	}
	if err != nil && ctx.Err() == nil && f != nil {
		f.Err = err
		f.Count++
	}
	m.mu.Unlock()
	if err != nil {
		m.step("failed")
	}
	if known || err == nil || f == nil {
		return
	}
	at := path() // reads the journal, perhaps
	m.logger.Error("could not be moved, and is tried again", "path", at, "err", err)
	m.mu.Lock()
	f.Path = at
	m.mu.Unlock()
}
