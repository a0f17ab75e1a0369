package migration

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"usui/layer/fsmove/journal"
	"usui/layer/fsmove/tree"
)

// listing is one that is under way.
type listing struct {
	one         bool          // it may be of one entry
	done        chan struct{} // closed at its end
	err         error         // valid then
	interrupted bool          // likewise; whoever waits for it has to list the folder itself
}

// List has all entries of a folder of the destination, before anybody looks for one. It is quick for a folder that has been listed, and for one that never had
// to be. The subfolders of what is listed for a client are the next that is.
func (m *Migration) List(ctx context.Context, h tree.Handle) error {
	return m.src.insist(ctx, func() error {
		_, err := m.listOnce(ctx, h, "")
		return err
	})
}

// Look has an entry of a folder, if the source has it, before anybody looks it up. In a folder with many entries it comes alone, and the others next. It says whether all are there.
func (m *Migration) Look(ctx context.Context, h tree.Handle, name string) (listed bool, err error) {
	err = m.src.insist(ctx, func() (err error) {
		listed, err = m.listOnce(ctx, h, name)
		return err
	})
	return listed, err
}

// listOnce lists a folder, or has only one entry of it, if a name is given.
func (m *Migration) listOnce(ctx context.Context, h tree.Handle, name string) (listed bool, err error) {
	m.gate.RLock()
	defer m.gate.RUnlock()
	if m.finished {
		return true, nil
	}
	l, listed, err := m.startListing(ctx, h, name)
	if l == nil || err != nil {
		return listed, err
	}
	defer func() {
		m.mu.Lock()
		delete(m.listings, h)
		m.mu.Unlock()
		close(l.done)
	}()
	src := &folder{fd: -1}
	if name != "" && m.early.more(h) {
		var alone bool
		if alone, l.err = m.listEarly(ctx, h, name, src); alone {
			l.interrupted = true
			if m.early.first(h) {
				m.hot.addFolders([]tree.Handle{h})
			}
			return false, l.err
		}
	}
	l.err = m.list(ctx, h, src)
	l.interrupted = l.err != nil && ctx.Err() != nil
	return true, l.err
}

// startListing says that a folder is being listed, or that it need not be: it has been, or has the entry with the name. If somebody else was at it, the error is that of the other.
//
// What the journal says of a folder is asked when nobody is at it: changes are visible before they are durable.
func (m *Migration) startListing(ctx context.Context, h tree.Handle, name string) (_ *listing, listed bool, err error) {
	for {
		m.mu.Lock()
		other := m.listings[h]
		there, listed, err := false, false, error(nil)
		switch {
		case other == nil:
			there, listed, err = m.isThere(h, name)
		case name != "" && !other.one: // nobody makes early entries meanwhile
			there, err = m.journal.IsEarly(h, name)
		}
		if there || err != nil {
			m.mu.Unlock()
			return nil, listed, err
		}
		if other == nil {
			l := &listing{one: name != "", done: make(chan struct{}), err: errors.New("BUG: the listing panicked")}
			m.listings[h] = l
			m.mu.Unlock()
			return l, false, nil
		}
		m.mu.Unlock()
		m.hot.waits(ctx)
		select {
		case <-other.done:
		case <-ctx.Done():
			return nil, false, context.Cause(ctx)
		}
		if !other.interrupted {
			return nil, other.err == nil, other.err
		}
	}
}

// isThere says whether a folder is listed, or has the entry with the name, if one is given.
func (m *Migration) isThere(h tree.Handle, name string) (there, listed bool, err error) {
	_, unlisted, err := m.journal.Folder(h)
	if err != nil || !unlisted {
		return err == nil, err == nil, err
	}
	if name != "" {
		there, err = m.journal.IsEarly(h, name)
	}
	return there, false, err
}

// list lists a folder. src is the source's, which may be open.
func (m *Migration) list(ctx context.Context, h tree.Handle, src *folder) error {
	unused := true
	defer func() {
		if unused {
			src.close()
		}
	}()
	rec, ok, err := m.journal.Folder(h)
	if err != nil || !ok {
		return err
	}
	m.hot.waits(ctx)
	if m.journal.Short() { // what would be made has records
		return fmt.Errorf("list %q: no room for the journal: %w", rec.Path, unix.ENOSPC)
	}
	dst, err := m.dst.Open(h, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer unix.Close(dst)
	early, err := m.journal.Early(h)
	if err != nil {
		return err
	}
	src.rec = rec
	w := m.maker(src, dst)
	defer w.unlock()
	if w.early, err = wipe(dst, rec.Path == "", early); err != nil {
		w.change.Drop()
		return err
	}
	unused = false
	if err := w.make(ctx); err != nil {
		w.change.Drop()
		if NoRoom(err) { // which is better left to others
			_, wiped := wipe(dst, rec.Path == "", early)
			err = errors.Join(err, wiped)
		}
		return err
	}
	w.change.DropFolder(h)
	for name := range early {
		w.change.DropEarly(h, name)
	}
	m.step("entries durable")
	if err := w.change.Apply(); err != nil {
		return err
	}
	m.step("listed")
	w.waits.Folders-- // itself
	m.count(func(s *Stats) { s.FoldersListed++; s.EntriesMade += w.made; s.Lost += w.lost; s.Waiting.add(w.waits) })
	if isBackground(ctx) {
		m.pacer.Spend(int64(w.made) * entryBytes)
	} else {
		m.hot.addFolders(w.folders)
	}
	m.succeeded(h)
	m.early.forget(h)
	return w.forgetLinks()
}

// wipe removes what a listing left that was cut short: nobody has seen it, and folders in it are empty. It leaves the early entries that there are.
func wipe(dir int, top bool, early map[string]bool) (left map[string]bool, err error) {
	left = map[string]bool{}
	all, err := names(dir)
	for _, name := range all {
		switch {
		case err != nil, top && spared(name):
		case early[name]:
			left[name] = true
		default:
			err = tree.Remove(dir, name)
		}
	}
	return left, err
}

// spared says that a name at the top is no part of the tree: the migration's own, and what a file system has for itself.
func spared(name string) bool { return Reserved(name) || name == "lost+found" }

// names are all names in a folder.
func names(dir int) (all []string, err error) {
	err = tree.List(dir, 0, func(n tree.Name) bool {
		if !n.Dots() {
			all = append(all, n.Name)
		}
		return true
	})
	return all, err
}

// maker makes the entries of a folder.
type maker struct {
	m        *Migration
	src      *folder
	dst      int
	early    map[string]bool // entries that are there, and are the destination's own
	change   *journal.Change
	met      map[journal.Inode]*journal.Link // with several names
	complete []journal.Inode                 // all of whose names have been met
	folders  []tree.Handle
	made     uint64
	lost     uint64
	waits    Waiting
	alone    bool // holds Migration.linking
}

func (m *Migration) maker(src *folder, dst int) *maker {
	return &maker{m: m, src: src, dst: dst, change: m.journal.Change(), met: map[journal.Inode]*journal.Link{}}
}

// make makes all entries, durably.
func (w *maker) make(ctx context.Context) error {
	if err := w.all(ctx); err != nil {
		return err
	}
	return w.sync()
}

// sync makes entries durable: the folder's times are the last change to it, so that its fsync covers all before it. The logs of ext4 and xfs are in order.
func (w *maker) sync() error {
	if err := tree.SetTimes(w.dst, "", w.src.meta.Atime, w.src.meta.Mtime); err != nil {
		return err
	}
	w.m.step("entries made")
	return os.NewSyscallError("fsync", unix.Fsync(w.dst))
}

func (w *maker) all(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	next := w.read(ctx)
	for {
		r := <-next
		if r.err != nil || len(r.batch) == 0 {
			w.left(r)
			if r.err != nil {
				return r.err
			}
			break
		}
		next = w.read(ctx) // while these are made
		for i := range r.batch {
			if err := w.entry(ctx, &r.batch[i]); err != nil {
				stop()
				w.left(<-next)
				return err
			}
		}
		w.m.step("entries")
	}
	for i, l := range w.met {
		if l.Left == 0 {
			w.complete = append(w.complete, i)
			w.change.DropLink(i)
		} else {
			w.change.SetLink(i, *l)
		}
	}
	return nil
}

// reading is what came of a call for more entries.
type reading struct {
	done  bool // it has returned
	err   error
	batch []found
}

// read asks for more entries.
func (w *maker) read(ctx context.Context) <-chan reading {
	c := make(chan reading, 1)
	go func() { // until they are there, or ctx ends
		r := reading{}
		if r.done, r.err = w.m.src.do(ctx, w.src.next, w.src.close); r.err == nil {
			r.batch = w.src.batch
		}
		c <- r
	}()
	return c
}

// left ends the use of the source's folder after the last call. One that has not returned ends it itself.
func (w *maker) left(r reading) {
	if r.done {
		w.src.close()
	}
}

// entry makes an entry. What cannot be had of it alone is in the report.
func (w *maker) entry(ctx context.Context, e *found) error {
	if w.early[e.name] {
		return nil
	}
	if e.err != nil {
		w.lose(e.path, e.err)
	}
	if e.meta.Mode == 0 {
		return nil
	}
	several := e.meta.Links > 1 && e.meta.Type() != unix.S_IFDIR
	i := journal.Inode{Top: e.top, Ino: e.ino}
	met := false
	if several {
		err := w.lock(ctx)
		if err != nil {
			return err
		}
		linked := false
		if met, linked, err = w.link(i, e); linked || err != nil {
			return err
		}
	}
	err := tree.MakeMost(w.dst, e.name, &e.meta, func(_ string, err error) error { return w.forgo(e.path, err) })
	if excused(err) {
		w.lose(e.path, err)
		return nil
	}
	if err == nil {
		err = w.record(e)
	}
	if err != nil {
		return err
	}
	w.made++
	if several && !met {
		return w.keep(i, e)
	}
	return nil
}

// record has the journal say what is to be done for an entry that was made.
func (w *maker) record(e *found) error {
	h, err := tree.HandleOf(w.dst, e.name)
	if err != nil {
		return err
	}
	switch m := &e.meta; {
	case m.Type() == unix.S_IFDIR:
		w.change.SetFolder(h, journal.Folder{Path: e.path, Top: e.top, Ino: e.ino})
		w.folders = append(w.folders, h)
		w.waits.Folders++
	case m.Type() == unix.S_IFREG && m.Size > 0:
		w.change.SetFile(h, journal.File{Path: e.path, Limit: m.Size, Ino: m.Ino, Size: m.Size, Blocks: m.Blocks, Mtime: m.Mtime, Ctime: m.Ctime, Capability: capabilityOf(m)})
		w.waits.Files++
		w.waits.Bytes += uint64(m.Size)
	}
	return nil
}
