package front

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

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
	path     string
	replies  sync.Pool
	running  sync.WaitGroup // requests
}

// New mounts the destination of a migration on a directory, for all users. Nobody is answered before Serve.
func New(m *migration.Migration, path string, logger *slog.Logger) (*Mount, error) {
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: "/dev/fuse", Err: err}
	}
	d := &Mount{fs: newFileSystem(m, logger), dev: fd, path: path}
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
		return nil, errors.Join(&os.PathError{Op: "mount", Path: path, Err: err}, os.NewSyscallError("close", unix.Close(fd)))
	}
	return d, nil
}

// Serve answers until the mount is gone and nobody has a file of it open: somebody unmounted it, or Close did. It holds a thread, and not Go's poller: that may itself
// wait for a file of a mount, for which the kernel asks here whether it is ready.
func (d *Mount) Serve() error {
	defer unix.Close(d.dev)
	defer d.running.Wait()
	p := make([]byte, bufferBytes)
	for {
		n, err := unix.Read(d.dev, p)
		switch {
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

// answer does what a request asks for.
func (d *Mount) answer(request []byte) {
	p := d.replies.Get().(*[]byte)
	defer d.replies.Put(p)
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

// Close unmounts what is mounted; files that are open stay usable until they are closed.
func (d *Mount) Close() error {
	err := unix.Unmount(d.path, unix.MNT_DETACH)
	if errors.Is(err, unix.EINVAL) { // somebody else has unmounted it
		err = nil
	}
	return os.NewSyscallError("umount2", err)
}
