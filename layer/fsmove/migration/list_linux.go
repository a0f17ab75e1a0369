package migration

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"usui/layer/fsmove/journal"
	"usui/layer/fsmove/tree"
)

// listing is one that is under way.
type listing struct {
	done chan struct{} // closed at its end
	err  error         // valid then
}

// List has all entries of a folder of the destination, before anybody looks for one. It is quick for a folder that has been listed, and for one that never had
// to be. The subfolders of what is listed for a client are the next that is.
func (m *Migration) List(h tree.Handle) error { return m.listFor(h, true) }

// listFor lists a folder for a client, or beside clients.
func (m *Migration) listFor(h tree.Handle, client bool) error {
	m.gate.RLock()
	defer m.gate.RUnlock()
	if m.finished {
		return nil
	}
	m.mu.Lock()
	if l := m.listings[h]; l != nil {
		m.mu.Unlock()
		if client {
			m.hot.asks.Add(1)
		}
		<-l.done
		return l.err
	}
	l := &listing{done: make(chan struct{}), err: errors.New("BUG: the listing panicked")}
	m.listings[h] = l
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		delete(m.listings, h)
		m.mu.Unlock()
		close(l.done)
	}()
	l.err = m.list(h, client)
	return l.err
}

func (m *Migration) list(h tree.Handle, client bool) error {
	rec, ok, err := m.journal.Folder(h)
	if err != nil || !ok {
		return err
	}
	if client {
		m.hot.asks.Add(1)
	}
	src, err := m.src.At(rec.Path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOATIME)
	if err != nil {
		return &SourceError{rec.Path, err}
	}
	defer unix.Close(src)
	dst, err := m.dst.Open(h, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer unix.Close(dst)
	if err := wipe(dst, rec.Path == ""); err != nil {
		return err
	}
	times, err := tree.Stat(src, "")
	if err != nil {
		return &SourceError{rec.Path, err}
	}
	w := &maker{m: m, src: src, dst: dst, path: rec.Path, change: m.journal.Change(), met: map[inode]*journal.Link{}}
	defer w.unlock()
	if err := w.make(times.Atime, times.Mtime); err != nil {
		w.change.Drop()
		return err
	}
	w.change.DropFolder(h)
	if err := w.change.Apply(); err != nil {
		return err
	}
	m.count(func(s *Stats) { s.FoldersListed++; s.EntriesMade += w.made })
	if client {
		m.hot.addFolders(w.folders)
	} else {
		m.pacer.Spend(int64(w.made) * entryBytes)
	}
	return w.forgetLinks()
}

// wipe removes what a listing left that was cut short: nobody has seen it, and folders in it are empty.
func wipe(dir int, top bool) error {
	all, err := names(dir)
	for _, name := range all {
		if err == nil && !(top && spared(name)) {
			err = tree.Remove(dir, name)
		}
	}
	return err
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

// inode is one of the source.
type inode struct {
	dev tree.Device
	ino uint64
}

// name is that of the inode in the linksFolder.
func (i inode) name() string { return fmt.Sprintf("%d:%d:%d", i.dev.Major, i.dev.Minor, i.ino) }

// maker makes the entries of a folder.
type maker struct {
	m        *Migration
	src, dst int
	path     string
	change   *journal.Change
	met      map[inode]*journal.Link // with several names
	complete []inode                 // all of whose names have been met
	folders  []tree.Handle
	made     uint64
	alone    bool // holds Migration.linking
}

// lock has other listings wait that meet inodes with several names, until this one's change is applied.
func (w *maker) lock() {
	if !w.alone {
		w.alone = true
		w.m.linking.Lock()
	}
}

func (w *maker) unlock() {
	if w.alone {
		w.m.linking.Unlock()
	}
}

// make makes all entries, durably: the folder's times are the last change to it, so that its fsync covers all before it. The logs of ext4 and xfs are in order.
func (w *maker) make(atime, mtime time.Time) error {
	if err := w.all(); err != nil {
		return &SourceError{w.path, fmt.Errorf("list: %w", err)}
	}
	if err := tree.SetTimes(w.dst, "", atime, mtime); err != nil {
		return err
	}
	return os.NewSyscallError("fsync", unix.Fsync(w.dst))
}

func (w *maker) all() error {
	all, err := names(w.src)
	if err != nil {
		return err
	}
	top := w.path == ""
	for _, name := range all {
		if top && spared(name) {
			w.m.logger.Warn("left out at the top of the source", "name", name)
			continue
		}
		if err := w.entry(name); err != nil {
			return err
		}
		w.made++
	}
	for i, l := range w.met {
		if l.Left == 0 {
			w.complete = append(w.complete, i)
			w.change.DropLink(i.dev, i.ino)
		} else {
			w.change.SetLink(i.dev, i.ino, *l)
		}
	}
	return nil
}

func (w *maker) entry(name string) error {
	meta, err := tree.Read(w.src, name)
	if err != nil {
		return err
	}
	several := meta.Links > 1 && meta.Type() != unix.S_IFDIR
	if several {
		w.lock()
		if linked, err := w.link(name, &meta); err != nil || linked {
			return err
		}
	}
	if err := tree.Make(w.dst, name, &meta); err != nil {
		return err
	}
	h, err := tree.HandleOf(w.dst, name)
	if err != nil {
		return err
	}
	path := name
	if w.path != "" {
		path = w.path + "/" + name
	}
	switch {
	case meta.Type() == unix.S_IFDIR:
		w.change.SetFolder(h, journal.Folder{Path: path})
		w.folders = append(w.folders, h)
	case meta.Type() == unix.S_IFREG && meta.Size > 0:
		w.change.SetFile(h, journal.File{Path: path, Limit: meta.Size, Ino: meta.Ino, Size: meta.Size, Mtime: meta.Mtime, Ctime: meta.Ctime})
	}
	if several {
		return w.keep(name, &meta)
	}
	return nil
}

// link gives an inode that was made before one more name, and says false if there is none.
func (w *maker) link(name string, meta *tree.Meta) (bool, error) {
	i := inode{meta.Dev, meta.Ino}
	l := w.met[i]
	if l == nil {
		rec, ok, err := w.m.journal.Link(i.dev, i.ino)
		if err != nil || !ok {
			return false, err
		}
		l = &rec
		w.met[i] = l
	}
	if l.Left == 0 {
		return false, nil // the source has more names than it said
	}
	l.Left--
	if err := unix.Linkat(w.m.links, i.name(), w.dst, name, 0); err != nil {
		return false, &os.LinkError{Op: "link", Old: i.name(), New: name, Err: err}
	}
	return true, nil
}

// keep gives an inode a name that stays until all others have been met: clients may remove the first one before.
func (w *maker) keep(name string, meta *tree.Meta) error {
	i := inode{meta.Dev, meta.Ino}
	err := unix.Linkat(w.dst, name, w.m.links, i.name(), 0)
	if errors.Is(err, unix.EEXIST) { // of a listing that was cut short
		if err = unix.Unlinkat(w.m.links, i.name(), 0); err == nil {
			err = unix.Linkat(w.dst, name, w.m.links, i.name(), 0)
		}
	}
	if err != nil {
		return &os.LinkError{Op: "link", Old: name, New: i.name(), Err: err}
	}
	w.met[i] = &journal.Link{Left: meta.Links - 1}
	return nil
}

// forgetLinks removes the names that are of no use any more.
func (w *maker) forgetLinks() error {
	for _, i := range w.complete {
		if err := unix.Unlinkat(w.m.links, i.name(), 0); err != nil && !errors.Is(err, unix.ENOENT) {
			return &os.PathError{Op: "remove", Path: i.name(), Err: err}
		}
	}
	return nil
}
