package front

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"usui/layer/fsmove/keeper"
	"usui/layer/fsmove/tree"
)

// Exchange puts the destination itself in the mount's place, with no moment between (MOVE_MOUNT_BENEATH in move_mount(2), Linux 6.5; before that with a moment without a
// mount). Files that are open stay with the mount that was, and Serve goes on for them. It can be called again after a crash in its middle.
func (d *Mount) Exchange() error {
	d.placing.Lock()
	defer d.placing.Unlock()
	if d.released {
		return ErrGone
	}
	before := d.seat.Table.State().Swap(keeper.Exchanging)
	err := d.exchange(before == keeper.Exchanging)
	if err != nil && d.seat.Table.State().Load() == keeper.Exchanging && d.onTop() == nil { // it is as it was
		d.seat.Table.State().Store(before)
	}
	return err
}

// exchange is Exchange. again says that a process before this one was killed in its middle. d.placing is held.
func (d *Mount) exchange(again bool) error {
	if d.path == d.fs.dst.Path() { // what the mount hides is what takes its place
		return d.leave()
	}
	all, err := mountinfo()
	if err != nil {
		return err
	}
	m, err := tree.Stat(d.fs.dst.Fd(), "")
	if err != nil {
		return err
	}
	device := fmt.Sprintf("%d:%d", m.Dev.Major, m.Dev.Minor)
	fd, err := unix.OpenTree(d.fs.dst.Fd(), "", unix.AT_EMPTY_PATH|unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	if err != nil {
		return os.NewSyscallError("open_tree", err)
	}
	defer unix.Close(fd)
	switch err := d.onTop(); {
	case err == nil && again && under(all, d.path, device): // all but the last step is done
		return d.leave()
	case err == nil:
		return d.beneath(fd)
	case again && top(all, d.path).device == device: // the last step, too
		return d.leave()
	case again && top(all, d.path).kind == "": // on a kernel that cannot put it beneath
		return d.instead(fd)
	default:
		return err
	}
}

// beneath has a mount take the place of ours, which is on top. d.placing is held.
func (d *Mount) beneath(fd int) error {
	err := unix.MoveMount(fd, "", unix.AT_FDCWD, d.path, unix.MOVE_MOUNT_F_EMPTY_PATH|moveMountBeneath)
	if err == nil {
		return d.leave()
	}
	if !errors.Is(err, unix.EINVAL) {
		return os.NewSyscallError("move_mount", err)
	}
	d.fs.logger.Warn("the kernel cannot put a mount beneath another: for a moment there is none", "path", d.path)
	if err := unix.Unmount(d.path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
		return os.NewSyscallError("umount2", err)
	}
	return d.instead(fd)
}

// instead has a mount take the place where ours was. d.placing is held.
func (d *Mount) instead(fd int) error {
	if err := unix.MoveMount(fd, "", unix.AT_FDCWD, d.path, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return os.NewSyscallError("move_mount", err)
	}
	d.seat.Table.State().Store(keeper.Gone)
	return nil
}

// moveMountBeneath is MOVE_MOUNT_BENEATH of linux/mount.h.
const moveMountBeneath = 0x200

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

// ErrGone says that somebody else has taken the mount away, or has mounted something on it.
var ErrGone = errors.New("the mount is not there any more, or something else is mounted on it")

// onTop says ErrGone if what is mounted at the path is not ours. d.placing is held.
func (d *Mount) onTop() error {
	all, err := mountinfo()
	if err != nil {
		return err
	}
	connection, err := d.number()
	if err != nil {
		return err
	}
	if m := top(all, d.path); m.kind != FileSystem || m.device != fmt.Sprintf("0:%d", connection) {
		return fmt.Errorf("%s: %w", d.path, ErrGone)
	}
	return nil
}

// Close unmounts what is mounted; files that are open stay usable until they are closed. What others have mounted in its place, or on it, stays.
func (d *Mount) Close() error {
	d.placing.Lock()
	defer d.placing.Unlock()
	if d.released || d.seat.Table.State().Load() == keeper.Gone {
		return nil
	}
	return d.leave()
}

// leave is Close. d.placing is held.
func (d *Mount) leave() error {
	err := d.onTop()
	if err == nil {
		err = os.NewSyscallError("umount2", unix.Unmount(d.path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW))
	}
	if errors.Is(err, ErrGone) {
		err = nil
	}
	if err == nil {
		d.seat.Table.State().Store(keeper.Gone)
	}
	return err
}

// Abort unmounts what is mounted and ends Serve: who has a file open gets ENOTCONN.
func (d *Mount) Abort() error {
	if err := d.Close(); err != nil {
		return err
	}
	return d.Sever()
}

// Sever ends Serve, and leaves the mount: whoever uses it gets ENOTCONN.
func (d *Mount) Sever() error {
	d.placing.Lock()
	defer d.placing.Unlock()
	if d.released {
		return nil
	}
	connection, err := d.number()
	if err != nil {
		return err
	}
	d.fs.m.Interrupt() // who waits for the source has gone then
	return abort(connection)
}
