package migration

import (
	"cmp"
	"errors"
	"iter"
	"os"

	"golang.org/x/sys/unix"

	"usui/layer/fsmove/tree"
)

// ErrUnfinished says that something has not arrived.
var ErrUnfinished = errors.New("not everything has arrived")

// ended says that Finish has succeeded, perhaps in another process.
func (m *Migration) ended() bool {
	m.gate.RLock()
	defer m.gate.RUnlock()
	return m.finished
}

// Finish ends a migration of which everything has arrived: Run has returned. The StateFolder goes, and the destination is an ordinary tree.
func (m *Migration) Finish() error {
	if m.ended() {
		return nil
	}
	if err := m.arrived(); err != nil { // before the gate, which has clients wait
		return err
	}
	m.gate.Lock()
	defer m.gate.Unlock()
	if err := m.arrived(); err != nil {
		return err
	}
	m.finished = true
	if err := m.closeState(); err != nil {
		return err
	}
	return m.end()
}

// arrived says ErrUnfinished if not everything has.
func (m *Migration) arrived() error {
	for _, all := range []iter.Seq2[tree.Handle, error]{m.journal.Folders(), m.journal.Files()} {
		for _, err := range all {
			return cmp.Or(err, ErrUnfinished)
		}
	}
	return nil
}

// end removes the state, such that a crash leaves all of it or a name that says that everything had arrived.
func (m *Migration) end() error {
	top, err := tree.Stat(m.dst.Fd(), "")
	if err != nil {
		return err
	}
	if err := unix.Renameat(m.dst.Fd(), StateFolder, m.dst.Fd(), endedFolder); err != nil {
		return &os.LinkError{Op: "rename", Old: StateFolder, New: endedFolder, Err: err}
	}
	if err := tree.SetTimes(m.dst.Fd(), "", top.Atime, top.Mtime); err != nil {
		return err
	}
	m.step("end begun")
	if err := unix.Fsync(m.dst.Fd()); err != nil {
		return os.NewSyscallError("fsync", err)
	}
	m.step("end durable")
	err = m.removeEnded()
	m.step("ended")
	return err
}

// removeEnded removes the state of a migration that has ended. The last of it is the only change of the top.
func (m *Migration) removeEnded() error {
	fd, err := m.dst.At(endedFolder, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	all, err := names(fd)
	for _, name := range all {
		if err == nil {
			err = os.RemoveAll(tree.Through(fd) + "/" + name)
		}
	}
	if err != nil {
		return err
	}
	m.step("state removed")
	top, err := tree.Stat(m.dst.Fd(), "")
	if err != nil {
		return err
	}
	if err := unix.Unlinkat(m.dst.Fd(), endedFolder, unix.AT_REMOVEDIR); err != nil {
		return &os.PathError{Op: "remove", Path: endedFolder, Err: err}
	}
	if err := tree.SetTimes(m.dst.Fd(), "", top.Atime, top.Mtime); err != nil {
		return err
	}
	return os.NewSyscallError("fsync", unix.Fsync(m.dst.Fd()))
}
