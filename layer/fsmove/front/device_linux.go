package front

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"usui/host/eventfd"
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
	dev      int
	wake     *eventfd.FD // ends Serve
	path     string
	gone     bool // is not mounted at path any more
	replies  sync.Pool
	running  sync.WaitGroup // requests
}

// New mounts the destination of a migration on a directory, for all users. Nobody is answered before Serve.
func New(m *migration.Migration, path string, logger *slog.Logger) (*Mount, error) {
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: "/dev/fuse", Err: err}
	}
	wake, err := eventfd.New()
	if err != nil {
		return nil, errors.Join(err, os.NewSyscallError("close", unix.Close(fd)))
	}
	d := &Mount{wake: wake, fs: newFileSystem(m, logger), dev: fd, path: path}
	d.fs.dev = fd
	d.replies.New = func() any {
		p := make([]byte, bufferBytes)
		return &p
	}
	d.protocol = fuse.NewProtocolServer(d.fs, &fuse.MountOptions{
		MaxWrite: maxWrite, MaxBackground: 64, EnableAcl: true, EnableSymlinkCaching: true,
		ExplicitDataCacheControl: true, // nobody else changes files
		ExtraCapabilities:        fuse.CAP_DONT_MASK,
		Logger:                   slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
		PanicHandler: func(r any) fuse.Status {
			logger.Error("BUG: a request panicked", "err", r)
			return fuse.EIO
		},
	})
	options := fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0,default_permissions,allow_other,max_read=%d", fd, maxWrite)
	if err := unix.Mount("usui", path, "fuse.usui-fsmove", 0, options); err != nil {
		return nil, errors.Join(&os.PathError{Op: "mount", Path: path, Err: err}, d.release())
	}
	return d, nil
}

// release gives the descriptors back. The kernel ends the connection with the last one.
func (d *Mount) release() error {
	return errors.Join(os.NewSyscallError("close", unix.Close(d.dev)), d.wake.Close())
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
	defer d.fs.tell(request)()
	n, status := d.protocol.HandleRequest([][]byte{request}, [][]byte{*p})
	if !status.Ok() {
		d.fs.logger.Error("a request of the kernel was not understood", "err", status)
		return
	}
	if n == 0 {
		return // it wants no reply
	}
	if _, err := unix.Write(d.dev, (*p)[:n]); err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENODEV) { // whoever waited has gone
		d.fs.logger.Error("reply to the kernel", "err", err)
	}
}

// Exchange puts the destination itself in the mount's place, with no moment between (MOVE_MOUNT_BENEATH in move_mount(2), Linux 6.5; before that with a moment without a
// mount). Files that are open stay with the mount that was, and Serve goes on for them.
func (d *Mount) Exchange() error {
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

// moveMountBeneath is MOVE_MOUNT_BENEATH of linux/mount.h.
const moveMountBeneath = 0x200

// Close unmounts what is mounted; files that are open stay usable until they are closed.
func (d *Mount) Close() error {
	if d.gone {
		return nil
	}
	d.gone = true
	err := unix.Unmount(d.path, unix.MNT_DETACH)
	if errors.Is(err, unix.EINVAL) { // somebody else has unmounted it
		err = nil
	}
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
