package front

import (
	"context"
	"hash/fnv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"usui/layer/fsmove/live"
	"usui/layer/fsmove/migration"
	"usui/layer/fsmove/tree"
)

// node is an inode that the kernel knows.
type node struct {
	handle  tree.Handle    // guarded by fileSystem.mu
	lookups *atomic.Uint64 // likewise; in the table
	slot    live.Slot      // likewise
	listed  bool           // likewise; a folder that need not be listed any more

	// An inode has one way of input and output at a time: a handle of another is refused by the kernel (fuse_file_io_open).
	io      sync.Mutex
	opened  []*opened // guarded by io; handles of the file
	passed  bool      // guarded by io; the kernel reads and writes for them
	backing int32     // guarded by io; its number for the file, if passed
	passing live.Slot // guarded by io; says so

	wrote atomic.Bool // the kernel writes itself, or has, and may go on by a mapping when all handles are closed
}

// opened is an open file or folder.
type opened struct {
	id    uint64          // of the node
	node  *node           // nil for a folder
	fd    int             // -1 if a process before this one opened it, and it cannot be opened again
	file  *migration.File // nil for one that was complete
	flags int             // it was opened with
	asked uint64          // by which request of the kernel
	fh    uint64          // its number, once it is known
	slot  live.Slot       // of its record, likewise
	kept  bool            // guarded by node.io; the keeper has a copy of the descriptor
}

// handleOf is the handle of a node.
func (s *fileSystem) handleOf(id uint64) (tree.Handle, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.nodes[id]
	if n == nil {
		return "", unix.ESTALE
	}
	return n.handle, nil
}

// open opens a node.
func (s *fileSystem) open(id uint64, flags int) (int, error) {
	h, err := s.handleOf(id)
	if err != nil {
		return -1, err
	}
	return s.dst.Open(h, flags)
}

// folder opens a folder whose names are to be used, which is listed before.
func (s *fileSystem) folder(ctx context.Context, id uint64, flags int) (int, error) {
	return s.listed(id, flags, func(h tree.Handle) (bool, error) { return true, s.m.List(ctx, h) })
}

// folderWith opens a folder in which a name is to be looked up, and has what has it come before.
func (s *fileSystem) folderWith(ctx context.Context, id uint64, name string) (int, error) {
	return s.listed(id, unix.O_PATH, func(h tree.Handle) (bool, error) { return s.m.Look(ctx, h, name) })
}

// listed opens a folder. If that is not known to be listed, list is called before, which says whether it is then.
func (s *fileSystem) listed(id uint64, flags int, list func(h tree.Handle) (bool, error)) (int, error) {
	s.mu.Lock()
	n := s.nodes[id]
	if n == nil {
		s.mu.Unlock()
		return -1, unix.ESTALE
	}
	h, all := n.handle, n.listed
	s.mu.Unlock()
	if !all {
		all, err := list(h)
		if err != nil {
			return -1, err
		}
		s.mu.Lock()
		if n.handle == h {
			n.listed = n.listed || all
		}
		s.mu.Unlock()
	}
	return s.dst.Open(h, flags|unix.O_DIRECTORY)
}

// know tells the kernel of an entry of a folder.
func (s *fileSystem) know(dir int, name string, out *fuse.EntryOut) error {
	fd, err := unix.Openat(dir, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0) // once: the name may lead elsewhere in the next moment
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return s.knowAs(fd, out)
}

// knowAs tells the kernel of what a descriptor is of.
func (s *fileSystem) knowAs(fd int, out *fuse.EntryOut) error {
	h, err := tree.HandleOf(fd, "")
	if err != nil {
		return err
	}
	m, whole, err := s.stat(h, fd)
	if err != nil {
		return err
	}
	id := m.Ino
	if id == s.top {
		return unix.ELOOP // the top is nobody's entry
	}
	n, err := s.lookedUp(id, h)
	if err != nil {
		return err
	}
	*out = fuse.EntryOut{NodeId: id, Generation: generation(h)}
	out.SetEntryTimeout(forever)
	out.SetAttrTimeout(s.stays(&m, n, whole))
	fill(&out.Attr, &m)
	return nil
}

// lookedUp counts that the kernel is told of a node.
func (s *fileSystem) lookedUp(id uint64, h tree.Handle) (*node, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.nodes[id]
	if n == nil || n.handle != h { // in the second case the number has been taken over
		before := uint64(0)
		if n != nil {
			before = n.lookups.Load()
		}
		slot, err := s.seat.Table.Put(live.Record{Kind: nodeRecord, Key: id, Count: before, Data: []byte(h)})
		if err != nil {
			return nil, err
		}
		if n == nil {
			n = &node{}
			s.nodes[id] = n
		} else {
			s.seat.Table.Drop(n.slot)
		}
		n.wrote.Store(false)
		n.handle, n.listed, n.slot, n.lookups = h, false, slot, s.seat.Table.Count(slot)
	}
	n.lookups.Add(1)
	return n, nil
}

// stat says what is known of an inode. As long as a file is being fetched, that changes nothing that clients see.
func (s *fileSystem) stat(h tree.Handle, fd int) (m tree.Meta, whole bool, err error) {
	f, err := s.m.Use(h) // before: it may arrive in between
	if err != nil {
		return m, true, err
	}
	if f != nil {
		defer f.Release()
	}
	m, err = tree.Stat(fd, "")
	if err != nil || f == nil {
		return m, true, err
	}
	f.Correct(&m)
	return m, false, nil
}

// generation tells inodes apart that have the same number one after the other.
func generation(h tree.Handle) uint64 {
	f := fnv.New64a()
	_, _ = f.Write([]byte(h)) // never fails
	return f.Sum64()
}

func fill(a *fuse.Attr, m *tree.Meta) {
	*a = fuse.Attr{
		Ino: m.Ino, Size: uint64(m.Size), Blocks: uint64(m.Blocks), Mode: m.Mode, Nlink: m.Links, Blksize: 4096,
		Owner: fuse.Owner{Uid: m.UID, Gid: m.GID}, Rdev: uint32(unix.Mkdev(m.Rdev.Major, m.Rdev.Minor)),
		Atime: uint64(m.Atime.Unix()), Atimensec: uint32(m.Atime.Nanosecond()),
		Mtime: uint64(m.Mtime.Unix()), Mtimensec: uint32(m.Mtime.Nanosecond()),
		Ctime: uint64(m.Ctime.Unix()), Ctimensec: uint32(m.Ctime.Nanosecond()),
	}
}

// stays is how long the kernel may believe what it was told of an inode, beside what it changes itself. A listing, or a client's look into a folder, brings the folder's subfolders and
// an inode's further names; a file that has arrived has another time of change; and who writes by a mapping of a file that passes is not seen here.
func (s *fileSystem) stays(m *tree.Meta, n *node, whole bool) time.Duration {
	switch {
	case n == nil, m.Type() != unix.S_IFDIR && m.Links > 1:
		return 0
	case m.Type() == unix.S_IFREG && m.Mode&(unix.S_ISUID|unix.S_ISGID) != 0: // a write takes them away
		return 0
	case m.Type() == unix.S_IFDIR:
		s.mu.Lock()
		defer s.mu.Unlock()
		if !n.listed {
			return 0
		}
	case !whole, n.wrote.Load():
		return time.Second
	}
	return forever
}

// attributes tells what is known of the inode of a node and of a descriptor.
func (s *fileSystem) attributes(id uint64, fd int, out *fuse.AttrOut) error {
	h, err := s.handleOf(id)
	if err != nil {
		return err
	}
	m, whole, err := s.stat(h, fd)
	if err != nil {
		return err
	}
	s.mu.Lock()
	n := s.nodes[id]
	s.mu.Unlock()
	out.SetTimeout(s.stays(&m, n, whole))
	fill(&out.Attr, &m)
	return nil
}

// Forget implements [fuse.RawFileSystem].
func (s *fileSystem) Forget(id, lookups uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.nodes[id]
	if n == nil || id == fuse.FUSE_ROOT_ID {
		return
	}
	if left := n.lookups.Load(); left > lookups {
		n.lookups.Store(left - lookups)
		return
	}
	delete(s.nodes, id)
	s.seat.Table.Drop(n.slot)
}

// add makes an open file known by a number, which a successor finds.
func (s *fileSystem) add(o *opened) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lastOpen++
	var err error
	if o.slot, err = s.seat.Table.Put(o.record(s.lastOpen)); err != nil {
		return err
	}
	o.fh = s.lastOpen
	s.opened[o.fh] = o
	return nil
}

// of is an open file, by its number.
func (s *fileSystem) of(fh uint64) (*opened, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o := s.opened[fh]; o != nil {
		return o, nil
	}
	return nil, unix.EBADF
}

// remove closes an open file. The kernel does that once nothing uses it.
func (s *fileSystem) remove(fh uint64) {
	s.mu.Lock()
	o := s.opened[fh]
	delete(s.opened, fh)
	if o != nil {
		s.seat.Table.Drop(o.slot)
	}
	s.mu.Unlock()
	if o == nil {
		return
	}
	if o.node != nil {
		s.leave(o)
	}
	o.close()
}

// close closes the descriptors of what is not known any more.
func (o *opened) close() {
	if o.fd >= 0 {
		_ = unix.Close(o.fd) // what was written is looked after by fsync
	}
	if o.file != nil {
		o.file.Release()
	}
}

// closeAll closes what is open when nobody asks any more.
func (s *fileSystem) closeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.opened {
		o.close()
	}
	clear(s.opened)
}
