package front

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"usui/host/eventfd"
	"usui/layer/fsmove/keeper"
	"usui/layer/fsmove/migration"
)

const (
	maxWrite = 256 << 10
	// A request is at most a write, its head (struct fuse_in_header and struct fuse_write_in) and what the kernel wants to have beside it; so is a reply.
	bufferBytes = maxWrite + 4096
)

// Mount is a mounted tree.
type Mount struct {
	fs       *fileSystem
	protocol *fuse.ProtocolServer
	seat     *keeper.Seat
	dev      int            // the seat's
	answered *atomic.Uint64 // the seat's
	wake     *eventfd.FD    // ends Serve
	path     string
	placing  sync.Mutex // held while it is mounted, and taken away
	released bool       // guarded by placing; Serve has ended, and nothing is mounted
	replies  sync.Pool
	running  sync.WaitGroup // requests
}

// New mounts the destination of a migration on a directory, for all users, or goes on with the mount of a process that sat on the seat before. Nobody is answered before Serve. The
// seat is the mount's from then on.
func New(m *migration.Migration, seat *keeper.Seat, path string, logger *slog.Logger) (*Mount, error) {
	wake, err := eventfd.New()
	if err != nil {
		return nil, errors.Join(err, seat.Close())
	}
	d := &Mount{wake: wake, seat: seat, dev: seat.Device, answered: seat.Table.Work(), path: path}
	if d.fs, err = newFileSystem(m, seat, logger); err != nil {
		return nil, errors.Join(err, d.release())
	}
	d.replies.New = func() any {
		p := make([]byte, bufferBytes)
		return &p
	}
	d.protocol = fuse.NewProtocolServer(d.fs, &fuse.MountOptions{
		MaxWrite: maxWrite, MaxBackground: 64, EnableAcl: true, EnableSymlinkCaching: true,
		ExplicitDataCacheControl: true, // nobody else changes files
		ExtraCapabilities:        fuse.CAP_DONT_MASK | fuse.CAP_HANDLE_KILLPRIV_V2,
		Logger:                   slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
		PanicHandler: func(r any) fuse.Status {
			logger.Error("BUG: a request panicked", "err", r)
			return fuse.EIO
		},
	})
	if seat.Table.State().Load() == keeper.Fresh {
		err = d.mount()
	} else {
		err = d.succeed()
	}
	if err != nil {
		return nil, errors.Join(err, d.release())
	}
	return d, nil
}

func (d *Mount) mount() error {
	options := fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0,default_permissions,allow_other,max_read=%d", d.dev, maxWrite)
	if err := unix.Mount("usui", d.path, FileSystem, 0, options); err != nil {
		return &os.PathError{Op: "mount", Path: d.path, Err: err}
	}
	d.seat.Table.State().Store(keeper.Mounted)
	return nil
}

// FileSystem is the type of the mount.
const FileSystem = "fuse.usui-fsmove"

// release gives the descriptors back. The kernel ends the connection with the last one of its device.
func (d *Mount) release() error {
	d.placing.Lock()
	defer d.placing.Unlock()
	d.released = true
	err := d.wake.Close()
	if d.fs != nil {
		d.fs.closeAll()
	}
	return errors.Join(d.seat.Close(), err)
}

// Serve answers until the mount is gone and nobody has a file of it open, or Abort is called. It holds a thread, and not Go's poller: that may itself wait for a file of a mount, for
// which the kernel asks here whether it is ready.
func (d *Mount) Serve() (err error) {
	defer func() {
		d.running.Wait()
		err = errors.Join(err, d.release())
	}()
	p := make([]byte, bufferBytes)
	for {
		n, err := unix.Read(d.dev, p)
		switch {
		case errors.Is(err, unix.EAGAIN):
			if aborted, err := d.await(); err != nil || aborted {
				return err
			}
			continue
		case errors.Is(err, unix.ENODEV):
			return nil
		case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EINTR): // a request was interrupted before it was read
			continue
		case err != nil:
			return &os.PathError{Op: "read", Path: "/dev/fuse", Err: err}
		}
		request := append([]byte(nil), p[:n]...)
		d.running.Go(func() { d.answer(request) }) // ends with the request
	}
}

// await waits for a request, and says whether Abort was called.
func (d *Mount) await() (aborted bool, err error) {
	both := []unix.PollFd{{Fd: int32(d.dev), Events: unix.POLLIN}, {Fd: int32(d.wake.Fd()), Events: unix.POLLIN}}
	if _, err := unix.Poll(both, -1); err != nil && !errors.Is(err, unix.EINTR) {
		return false, os.NewSyscallError("poll", err)
	}
	return both[1].Revents != 0, nil
}

// answer does what a request asks for.
func (d *Mount) answer(request []byte) {
	p := d.replies.Get().(*[]byte)
	defer d.replies.Put(p)
	if err := d.remember(request); err != nil {
		d.fs.logger.Error("BUG: how the connection began is not kept", "err", err)
	}
	n, status := d.protocol.HandleRequest([][]byte{request}, [][]byte{*p})
	if !status.Ok() {
		d.fs.logger.Error("a request of the kernel was not understood", "err", status)
		return
	}
	if n > 0 { // else it wants no reply
		d.reply((*p)[:n])
	}
}

func (d *Mount) reply(p []byte) {
	d.answered.Add(1)
	if _, err := unix.Write(d.dev, p); err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENODEV) { // whoever waited has gone
		d.fs.logger.Error("reply to the kernel", "err", err)
	}
}

// Exchange puts the destination itself in the mount's place, with no moment between (MOVE_MOUNT_BENEATH in move_mount(2), Linux 6.5; before that with a moment without a
// mount). Files that are open stay with the mount that was, and Serve goes on for them. It can be called again after a crash in its middle.
func (d *Mount) Exchange() error {
	before, ok := d.enterState(keeper.Exchanging)
	if !ok {
		return ErrGone
	}
	if d.path == d.fs.dst.Path() { // what the mount hides is what takes its place
		return d.Close()
	}
	if before == keeper.Exchanging { // of a process that was killed: it is done, or was not begun
		done, err := beneath(d.path, d.fs.dst.Fd())
		if err != nil {
			return err
		}
		if done {
			return d.Close()
		}
	}
	fd, err := unix.OpenTree(d.fs.dst.Fd(), "", unix.AT_EMPTY_PATH|unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	if err != nil {
		return os.NewSyscallError("open_tree", err)
	}
	defer unix.Close(fd)
	err = unix.MoveMount(fd, "", unix.AT_FDCWD, d.path, unix.MOVE_MOUNT_F_EMPTY_PATH|moveMountBeneath)
	if err == nil {
		return d.Close()
	}
	if !errors.Is(err, unix.EINVAL) {
		return os.NewSyscallError("move_mount", err)
	}
	d.fs.logger.Warn("the kernel cannot put a mount beneath another: for a moment there is none", "path", d.path)
	if err := d.Close(); err != nil {
		return err
	}
	return os.NewSyscallError("move_mount", unix.MoveMount(fd, "", unix.AT_FDCWD, d.path, unix.MOVE_MOUNT_F_EMPTY_PATH))
}

// Gone says that the mount has no place any more.
func (d *Mount) Gone() bool { return d.state() == keeper.Gone }

// Exchanging says that a process before this one was killed when the destination was about to take the mount's place.
func (d *Mount) Exchanging() bool { return d.state() == keeper.Exchanging }

func (d *Mount) state() uint64 {
	d.placing.Lock()
	defer d.placing.Unlock()
	if d.released {
		return keeper.Gone
	}
	return d.seat.Table.State().Load()
}

// ErrGone says that somebody else has taken the mount away.
var ErrGone = errors.New("the mount is not there any more")

// enterState changes the state, and says false if nothing is mounted any more.
func (d *Mount) enterState(to uint64) (before uint64, ok bool) {
	d.placing.Lock()
	defer d.placing.Unlock()
	if d.released {
		return 0, false
	}
	return d.seat.Table.State().Swap(to), true
}

// moveMountBeneath is MOVE_MOUNT_BENEATH of linux/mount.h.
const moveMountBeneath = 0x200

// Close unmounts what is mounted; files that are open stay usable until they are closed.
func (d *Mount) Close() error {
	d.placing.Lock()
	defer d.placing.Unlock()
	if d.released || d.seat.Table.State().Load() == keeper.Gone {
		return nil
	}
	err := unix.Unmount(d.path, unix.MNT_DETACH)
	if errors.Is(err, unix.EINVAL) { // somebody else has unmounted it
		err = nil
	}
	d.seat.Table.State().Store(keeper.Gone)
	return os.NewSyscallError("umount2", err)
}

// Abort unmounts what is mounted and ends Serve: who has a file open gets ENOTCONN.
func (d *Mount) Abort() error {
	err := d.Close()
	if woken := d.wake.Signal(); !errors.Is(woken, os.ErrClosed) { // else Serve has ended with the mount
		err = errors.Join(err, woken)
	}
	return err
}
