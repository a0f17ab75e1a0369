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

	"usui/layer/fsmove/keeper"
	"usui/layer/fsmove/migration"
)

// Mount is a mounted tree.
type Mount struct {
	fs       *fileSystem
	protocol *fuse.ProtocolServer
	seat     *keeper.Seat
	dev      int            // the seat's
	answered *atomic.Uint64 // the seat's
	path     string
	large    largeBuffers
	placing  sync.Mutex     // held while it is mounted, and taken away
	released bool           // guarded by placing; Serve has ended, and nothing is mounted
	running  sync.WaitGroup // readers
	idle     atomic.Int32   // readers that wait for a request
	failed   atomic.Value   // of error; why a reader ended that should not have
}

// New mounts the destination of a migration on a directory, for all users, or goes on with the mount of a process that sat on the seat before. Nobody is answered before Serve. The
// seat is the mount's from then on.
func New(m *migration.Migration, seat *keeper.Seat, path string, logger *slog.Logger) (*Mount, error) {
	var err error
	d := &Mount{seat: seat, dev: seat.Device, answered: seat.Table.Work(), path: path}
	if d.fs, err = newFileSystem(m, seat, logger); err != nil {
		return nil, errors.Join(err, d.release())
	}
	d.protocol = fuse.NewProtocolServer(d.fs, &fuse.MountOptions{
		MaxWrite: maxWrite, MaxBackground: 64, EnableAcl: true, EnableSymlinkCaching: true,
		ExplicitDataCacheControl: true, // nobody else changes files
		ExtraCapabilities:        fuse.CAP_DONT_MASK | fuse.CAP_SETXATTR_EXT | fuse.CAP_HANDLE_KILLPRIV_V2 | fuse.CAP_EXPORT_SUPPORT,
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
	if err := d.note(); err != nil {
		return errors.Join(err, d.Close())
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
	if d.fs != nil {
		d.fs.closeAll()
	}
	return d.seat.Close()
}

// Serve answers until the mount is gone and nobody has a file of it open, or Abort is called.
func (d *Mount) Serve() error {
	d.read()
	d.running.Wait()
	failed, _ := d.failed.Load().(error)
	return errors.Join(failed, d.release())
}

// maxIdle is how many readers wait for requests at most. The kernel wakes one for each.
const maxIdle = 4

// read has one more thread read requests and answer them, each at its own: to hand a request over takes longer than most take to answer. There is always one that waits for the
// next, however long an answer takes. Go's poller is not asked: it may itself wait for a file of a mount, for which the kernel asks here whether it is ready.
func (d *Mount) read() {
	d.idle.Add(1)
	d.running.Go(func() { // until the connection ends, or there are too many
		small, reply := present(smallBytes), present(smallBytes)
		for {
			request := d.large.take()
			n, err := unix.Read(d.dev, request)
			if err != nil {
				d.large.give(request)
			}
			switch {
			case errors.Is(err, unix.ENODEV), errors.Is(err, unix.ECONNABORTED): // the latter if it ends while a request is handed over (fuse_dev_do_read)
				d.fs.m.Interrupt() // who asked has gone
				return
			case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EINTR): // a request was interrupted before it was read
				continue
			case err != nil:
				d.failed.Store(error(&os.PathError{Op: "read", Path: "/dev/fuse", Err: err}))
				return
			}
			if d.idle.Add(-1) == 0 {
				d.read()
			}
			if n > len(small) {
				d.answer(request[:n], reply)
				d.large.give(request)
			} else {
				copy(small, request[:n])
				d.large.give(request)
				d.answer(small[:n], reply)
			}
			if d.idle.Add(1) > maxIdle {
				d.idle.Add(-1)
				return
			}
		}
	})
}

// answer does what a request asks for. reply is room for what is said to most.
func (d *Mount) answer(request, reply []byte) {
	if err := d.remember(request); err != nil {
		d.fs.logger.Error("BUG: how the connection began is not kept", "err", err)
	}
	defer d.fs.tell(request)()
	if hasLargeReply(request) {
		reply = d.large.take()
		defer d.large.give(reply)
	}
	n, status := d.protocol.HandleRequest([][]byte{request}, [][]byte{reply})
	if !status.Ok() {
		d.fs.logger.Error("a request of the kernel was not understood", "err", status)
		return
	}
	if n > 0 { // else it wants no reply
		d.reply(reply[:n])
	}
	d.fs.answered(request)
}

func (d *Mount) reply(p []byte) {
	switch _, err := unix.Write(d.dev, p); {
	case err == nil:
		d.answered.Add(1)
	case !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENODEV): // else whoever waited has gone
		d.fs.logger.Error("reply to the kernel", "err", err)
	}
}
