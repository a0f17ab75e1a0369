package migration

import (
	"errors"
	"fmt"
	"log/slog"
	"os"

	"golang.org/x/sys/unix"

	"usui/layer/fsmove/journal"
	"usui/layer/fsmove/pace"
	"usui/layer/fsmove/tree"
)

// ErrClientsChanged says that a client has changed something: the destination has what the source has not.
var ErrClientsChanged = errors.New("clients have changed something since the move began")

// errGivenUp is what a client gets that would change something while the migration is given up.
var errGivenUp = fmt.Errorf("the move is given up: %w", unix.EROFS)

// Settings are what the migration was told, and what became of it.
func (m *Migration) Settings() journal.Settings {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.settings
}

// Touch says that a client is about to change something, which is remembered before it does.
func (m *Migration) Touch() error {
	if m.touched.Load() {
		return nil
	}
	m.gate.RLock()
	defer m.gate.RUnlock()
	if m.finished {
		return nil
	}
	return m.set(func(s *journal.Settings) error {
		if s.GivenUp {
			return errGivenUp
		}
		s.Changed = true
		return nil
	})
}

// SetMountPoint remembers where clients find the tree.
func (m *Migration) SetMountPoint(path string) error {
	return m.set(func(s *journal.Settings) error { s.MountPoint = path; return nil })
}

// SetPaused has nothing fetched that no client waits for, or everything again, also after a restart.
func (m *Migration) SetPaused(paused bool) error {
	m.gate.RLock()
	defer m.gate.RUnlock()
	if m.finished {
		return errors.New("everything has arrived")
	}
	return m.set(func(s *journal.Settings) error { s.Paused = paused; return nil })
}

// remember knows the settings, and paces what they say. m.mu is held, or nobody else knows the migration.
func (m *Migration) remember(s journal.Settings) {
	if m.settings = s; s.Paused {
		m.pacer.Pause()
	} else {
		m.pacer.Resume()
	}
}

// set changes the settings, durably if that changes anything.
func (m *Migration) set(f func(*journal.Settings) error) error {
	m.setting.Lock()
	defer m.setting.Unlock()
	s := m.Settings()
	before := s
	if err := f(&s); err != nil {
		return err
	}
	if s != before {
		c := m.journal.Change()
		c.SetSettings(s)
		if err := c.Apply(); err != nil {
			return err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.remember(s)
	m.touched.Store(s.Changed)
	return nil
}

// ErrGivenUp is the error of New for a destination whose migration was given up by a process that was killed before all was removed. It is removed now.
var ErrGivenUp = errors.New("the move was given up, and what was left of it is removed now")

// GiveUp has clients change nothing from now on, durably: Wipe is what follows. The error is ErrClientsChanged if one has before.
func (m *Migration) GiveUp() error {
	return m.set(func(s *journal.Settings) error {
		if s.Changed {
			return ErrClientsChanged
		}
		s.GivenUp = true
		return nil
	})
}

// Wipe removes all that has arrived, and the migration's state. Nobody uses it any more; what is left is to Close it.
func (m *Migration) Wipe() error {
	m.gate.Lock()
	defer m.gate.Unlock()
	m.finished = true
	fd, err := m.dst.At("", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	all, err := names(fd)
	if err != nil {
		return err
	}
	for _, name := range all { // the state goes last: before that, to start again wipes and begins again
		if !spared(name) {
			if err := removeAll(fd, name); err != nil {
				return err
			}
		}
	}
	if err := m.closeState(); err != nil {
		return err
	}
	if err := unix.Renameat(m.dst.Fd(), StateFolder, m.dst.Fd(), endedFolder); err != nil {
		return &os.LinkError{Op: "rename", Old: StateFolder, New: endedFolder, Err: err}
	}
	return m.removeEnded()
}

// Ended is the migration of a destination in which everything had arrived before this process: for clients that have files open from before. The root is its own from then on.
func Ended(destination *tree.Root, logger *slog.Logger) *Migration {
	return &Migration{dst: destination, logger: logger, state: -1, links: -1, pacer: pace.New(), finished: true, failures: map[tree.Handle]*Failure{}, files: map[tree.Handle]*File{}, listings: map[tree.Handle]*listing{}}
}

// removeAll removes an entry of a folder with all that is in it, and refuses what is mounted there: that is somebody else's.
func removeAll(dir int, name string) error {
	begins, may, err := tree.Mounted(dir, name)
	if err != nil {
		return err
	}
	if begins || may {
		return fmt.Errorf("%q of the destination has a mount that is not the move's: take that away and try again", name)
	}
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil { // it is no folder, perhaps
		return tree.Remove(dir, name)
	}
	defer unix.Close(fd)
	all, err := names(fd)
	for _, n := range all {
		if err == nil {
			err = removeAll(fd, n)
		}
	}
	if err != nil {
		return err
	}
	return tree.Remove(dir, name)
}

// RemoveEnded removes what is left of the state of a migration that has ended, or was given up.
func RemoveEnded(destination *tree.Root) error {
	_, err := tree.Stat(destination.Fd(), endedFolder)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	return (&Migration{dst: destination}).removeEnded()
}

// Begun says whether a folder is the destination of a migration that has not ended.
func Begun(destination *tree.Root) (bool, error) {
	_, err := tree.Stat(destination.Fd(), StateFolder)
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	return err == nil, err
}

// Where says what the migration in a destination is of, and where clients find it. No process is at it.
func Where(destination string, logger *slog.Logger) (source, mountPoint string, err error) {
	m := &Migration{logger: logger, state: -1, links: -1}
	defer func() { err = errors.Join(err, m.Close()) }()
	if m.dst, err = tree.Open(destination); err != nil {
		return "", "", err
	}
	begun, err := Begun(m.dst)
	if err != nil {
		return "", "", err
	}
	if !begun {
		return "", "", fmt.Errorf("%s is not the destination of a move that can go on: it has no %s", destination, StateFolder)
	}
	if err := m.openState(); err != nil {
		return "", "", err
	}
	h, ok, err := m.journal.Header()
	if err != nil {
		return "", "", err
	}
	s, err := m.journal.Settings()
	if err == nil && (!ok || s.MountPoint == "") {
		err = fmt.Errorf("%s: the move had not begun: use usui fsmove start", destination)
	}
	return h.Source, s.MountPoint, err
}
