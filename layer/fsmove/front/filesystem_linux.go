package front

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"usui/layer/fsmove/keeper"
	"usui/layer/fsmove/migration"
	"usui/layer/fsmove/tree"
)

// forever is how long the kernel may believe what it was told: nobody else changes the destination.
const forever = 24 * time.Hour

// wholeBytes is up to which size a file is fetched as a whole when it is opened.
const wholeBytes = 1 << 20

// fileSystem answers requests.
type fileSystem struct {
	fuse.RawFileSystem // says ENOSYS to what is not here
	m                  *migration.Migration
	dst                *tree.Root
	logger             *slog.Logger
	top                uint64 // the number of the top's inode; its node's is fuse.FUSE_ROOT_ID
	seat               *keeper.Seat
	refused            atomic.Bool // by the kernel, to pass anything
	count              counters
	fetching           sync.Map // numbers of requests that may have to wait for the source

	mu        sync.Mutex
	nodes     map[uint64]*node   // guarded by mu
	opened    map[uint64]*opened // guarded by mu
	lastOpen  uint64             // guarded by mu
	exchanges sync.Map           // of live.Slot; by the request, until it is answered
	asked     map[uint64]uint64  // guarded by mu; files that a process before this one opened, by the request
}

func newFileSystem(m *migration.Migration, seat *keeper.Seat, logger *slog.Logger) (*fileSystem, error) {
	s := &fileSystem{
		RawFileSystem: fuse.NewDefaultRawFileSystem(), m: m, dst: m.Destination(), logger: logger, seat: seat,
		nodes: map[uint64]*node{}, opened: map[uint64]*opened{}, asked: map[uint64]uint64{},
	}
	top, err1 := tree.Stat(s.dst.Fd(), "")
	h, err2 := tree.HandleOf(s.dst.Fd(), "")
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	s.top = top.Ino
	s.nodes[fuse.FUSE_ROOT_ID] = &node{handle: h}
	m.OnArrival(s.arrived)
	return s, s.restore()
}

func (s *fileSystem) String() string { return "usui-fsmove" }

// status is what the kernel is told of an error.
func (s *fileSystem) status(err error) fuse.Status {
	var errno unix.Errno
	switch {
	case err == nil:
		return fuse.OK
	case errors.Is(err, tree.ErrGone):
		return fuse.Status(unix.ESTALE)
	case errors.Is(err, context.Canceled):
		return fuse.EINTR
	case errors.As(err, new(*migration.SourceError)) && !migration.NoRoom(err):
		s.logger.Error("a client got an error", "err", err)
		return fuse.EIO
	case errors.As(err, &errno):
		return fuse.Status(errno)
	}
	s.logger.Error("a client got an error", "err", err)
	return fuse.EIO
}

// until is a context that ends when the kernel says that nobody waits for a request any more.
func until(cancel <-chan struct{}) context.Context { return request{context.Background(), cancel} }

// request is the context of one: a goroutine for each would be the price of the ordinary ones.
type request struct {
	context.Context
	cancel <-chan struct{}
}

func (r request) Done() <-chan struct{} { return r.cancel }

func (r request) Err() error {
	select {
	case <-r.cancel:
		return context.Canceled
	default:
		return nil
	}
}

// in calls f with a folder.
func (s *fileSystem) in(ctx context.Context, id uint64, f func(dir int) error) fuse.Status {
	dir, err := s.folder(ctx, id, unix.O_PATH)
	if err != nil {
		return s.status(err)
	}
	defer unix.Close(dir)
	return s.status(f(dir))
}

// change calls f with a folder whose names it changes.
func (s *fileSystem) change(ctx context.Context, id uint64, f func(dir int) error) fuse.Status {
	if err := s.m.Touch(); err != nil {
		return s.status(err)
	}
	return s.in(ctx, id, f)
}

// changeAt calls f with a node that it changes.
func (s *fileSystem) changeAt(id uint64, f func(fd int) error) fuse.Status {
	if err := s.m.Touch(); err != nil {
		return s.status(err)
	}
	return s.at(id, f)
}

// at calls f with a node.
func (s *fileSystem) at(id uint64, f func(fd int) error) fuse.Status {
	fd, err := s.open(id, unix.O_PATH)
	if err != nil {
		return s.status(err)
	}
	defer unix.Close(fd)
	return s.status(f(fd))
}

// secret says that a name is the migration's own.
func secret(id uint64, name string) bool {
	return id == fuse.FUSE_ROOT_ID && migration.Reserved(name)
}

// Lookup implements [fuse.RawFileSystem].
func (s *fileSystem) Lookup(cancel <-chan struct{}, in *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	if secret(in.NodeId, name) {
		return fuse.ENOENT
	}
	switch name { // which the kernel asks of a node that it has forgotten (FUSE_EXPORT_SUPPORT in linux/fuse.h)
	case ".":
		return s.status(s.again(in.NodeId, out))
	case "..":
		return s.status(s.above(in.NodeId, out))
	}
	dir, err := s.folderWith(until(cancel), in.NodeId, name)
	if err != nil {
		return s.status(err)
	}
	defer unix.Close(dir)
	return s.status(s.know(dir, name, out))
}

// GetAttr implements [fuse.RawFileSystem].
func (s *fileSystem) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	return s.at(in.NodeId, func(fd int) error { return s.attributes(in.NodeId, fd, out) })
}

// SetAttr implements [fuse.RawFileSystem].
func (s *fileSystem) SetAttr(cancel <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	h, err := s.handleOf(in.NodeId)
	if err != nil {
		return s.status(err)
	}
	ctx := until(cancel)
	if err := s.m.List(ctx, h); err != nil { // which sets a folder's times
		return s.status(err)
	}
	return s.changeAt(in.NodeId, func(fd int) error {
		if err := s.setAttr(ctx, h, fd, &in.SetAttrInCommon); err != nil {
			return err
		}
		return s.attributes(in.NodeId, fd, out)
	})
}

// setAttr does what [fuse.SetAttrIn] says, in the order in which one part changes others: a new owner or size takes set-user-ID away, a new size changes times.
func (s *fileSystem) setAttr(ctx context.Context, h tree.Handle, fd int, in *fuse.SetAttrInCommon) error {
	uid, newUID := in.GetUID()
	gid, newGID := in.GetGID()
	if newUID || newGID || !s.keepRights(in) {
		if err := s.m.OwnCapability(ctx, h); err != nil {
			return err
		}
	}
	if newUID || newGID {
		if err := unix.Fchownat(fd, "", owner(uid, newUID), owner(gid, newGID), unix.AT_EMPTY_PATH); err != nil {
			return err
		}
	}
	if !s.keepRights(in) {
		if err := s.takeRights(in, fd); err != nil {
			return err
		}
	}
	file, err := s.m.Use(h)
	if err != nil {
		return err
	}
	if file != nil {
		defer file.Release()
	}
	if size, ok := in.GetSize(); ok {
		if err := s.truncate(ctx, h, file, int64(size)); err != nil {
			return err
		}
	}
	if mode, ok := in.GetMode(); ok {
		if err := unix.Chmod(tree.Through(fd), mode&0o7777); err != nil {
			return err
		}
	}
	if in.Valid&(fuse.FATTR_ATIME|fuse.FATTR_MTIME) == 0 {
		return nil
	}
	times := [2]unix.Timespec{
		timespec(in, fuse.FATTR_ATIME, fuse.FATTR_ATIME_NOW, in.Atime, in.Atimensec),
		timespec(in, fuse.FATTR_MTIME, fuse.FATTR_MTIME_NOW, in.Mtime, in.Mtimensec),
	}
	set := func() error {
		return unix.UtimesNanoAt(fd, "", times[:], unix.AT_EMPTY_PATH|unix.AT_SYMLINK_NOFOLLOW)
	}
	if file != nil {
		return file.SetTimes(ctx, set)
	}
	return set()
}

func owner(id uint32, ok bool) int {
	if !ok {
		return -1
	}
	return int(id)
}

func timespec(in *fuse.SetAttrInCommon, bit, now uint32, sec uint64, nsec uint32) unix.Timespec {
	switch {
	case in.Valid&bit == 0:
		return unix.Timespec{Nsec: unix.UTIME_OMIT}
	case in.Valid&now != 0:
		return unix.Timespec{Nsec: unix.UTIME_NOW}
	}
	return unix.Timespec{Sec: int64(sec), Nsec: int64(nsec)}
}

// truncate gives a file another size. file is nil for one that is complete.
func (s *fileSystem) truncate(ctx context.Context, h tree.Handle, file *migration.File, size int64) error {
	if file != nil {
		return file.Truncate(ctx, size)
	}
	fd, err := s.dst.Open(h, unix.O_WRONLY)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Ftruncate(fd, size)
}

// Readlink implements [fuse.RawFileSystem].
func (s *fileSystem) Readlink(_ <-chan struct{}, in *fuse.InHeader) (target []byte, status fuse.Status) {
	status = s.at(in.NodeId, func(fd int) error {
		t, err := tree.ReadLink(fd, "")
		target = []byte(t)
		return err
	})
	return target, status
}

// StatFs implements [fuse.RawFileSystem].
func (s *fileSystem) StatFs(_ <-chan struct{}, _ *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	var st unix.Statfs_t
	if err := unix.Fstatfs(s.dst.Fd(), &st); err != nil {
		return s.status(err)
	}
	*out = fuse.StatfsOut{
		Blocks: st.Blocks, Bfree: st.Bfree, Bavail: st.Bavail, Files: st.Files, Ffree: st.Ffree,
		Bsize: uint32(st.Bsize), NameLen: uint32(st.Namelen), Frsize: uint32(st.Frsize),
	}
	return fuse.OK
}
