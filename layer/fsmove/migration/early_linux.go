package migration

import (
	"context"
	"errors"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"usui/layer/fsmove/tree"
)

// To make all entries of a folder with a thousand takes tens of milliseconds, and seconds if clients look into a hundred such folders at once, as they do when a move begins. So a client has the
// one that it looks up, and the others come next. Each is a sync of its own: a folder with few entries is listed at once, and so is one that clients go on looking into.
const (
	DefaultEarly = 200 // entries
	earlyMost    = 16  // of one folder
)

// early is how often clients have looked into folders that are not listed yet.
type early struct {
	least int // a folder with fewer has none

	mu sync.Mutex
	n  map[tree.Handle]int // guarded by mu
}

// more says whether a folder may be looked into once more. It is counted.
func (e *early) more(h tree.Handle) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.n[h] == earlyMost {
		return false
	}
	e.n[h]++
	return true
}

// first says whether one was looked up so far.
func (e *early) first(h tree.Handle) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.n[h] == 1
}

// forget is told of folders that are listed.
func (e *early) forget(h tree.Handle) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.n, h)
}

// listEarly makes an entry of a folder of which no other is to come now. It says false if the folder is to be listed: it has few entries, or the one is out of the ordinary. The source's folder
// is as it was then, and may be open.
//
// The entry is durable before the journal says that it is there, and from then on a listing leaves it alone: what a client does to it stays. What a crash leaves of it before, the
// listing wipes. Who changes a name of the folder has it listed before.
func (m *Migration) listEarly(ctx context.Context, h tree.Handle, name string, src *folder) (alone bool, err error) {
	rec, ok, err := m.journal.Folder(h)
	if err != nil || !ok || m.journal.Short() {
		return false, err
	}
	m.hot.waits(ctx)
	src.rec = rec
	if err := m.call(ctx, src, src.begin); err != nil {
		return true, err
	}
	all := src.names
	switch {
	case len(all) < m.early.least:
		return false, nil
	case !slices.Contains(all, name): // a source may find it in another spelling
		src.close()
		return true, nil
	}
	src.names = []string{name}
	if err := m.call(ctx, src, src.next); err != nil {
		return true, err
	}
	src.names = all
	e := &src.batch[0]
	if e.err != nil || e.meta.Mode == 0 || e.meta.Links > 1 && e.meta.Type() != unix.S_IFDIR {
		return false, nil
	}
	dst, err := m.dst.Open(h, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		src.close()
		return true, err
	}
	defer unix.Close(dst)
	if err := tree.Remove(dst, name); err != nil && !errors.Is(err, unix.ENOENT) { // what a crash has left
		src.close()
		return true, err
	}
	w := m.maker(src, dst)
	if err := w.entry(ctx, e); err != nil || w.lost > 0 { // the listing tells
		w.change.Drop()
		return false, nil
	}
	src.close()
	m.step("early entry made")
	if err := w.sync(); err != nil {
		w.change.Drop()
		return true, err
	}
	w.change.SetEarly(h, name)
	m.step("early entry durable")
	if err := w.change.Apply(); err != nil {
		return true, err
	}
	m.step("early entry listed")
	m.count(func(s *Stats) { s.EntriesMade += w.made; s.Waiting.add(w.waits) })
	return true, nil
}

// call calls the source for a folder, which is closed if that fails.
func (m *Migration) call(ctx context.Context, src *folder, f func(r *root) error) error {
	done, err := m.src.do(ctx, f, src.close)
	if done && err != nil {
		src.close()
	}
	return err
}
