package disk

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrInUse is returned by [Open] when another process has the folder.
var ErrInUse = errors.New("in use by another process")

// lockName is the file whose lock says that the folder is taken.
const lockName = "lock"

// folder implements [Folder].
type folder struct {
	path       string
	lock       *os.File
	persistent bool // files are mapped as persistent memory
}

// Open makes the folder if it is not there and takes it. It returns an error that wraps [ErrInUse] if it is taken. A folder that holds
// something else than a store is refused, and nothing in it is changed; so is one without persistent memory for [FSDAX]. What was written
// through one medium is read through any.
func Open(path string, ours func(name string) bool, medium Medium) (Folder, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, err
	}
	if err := SyncFolder(filepath.Dir(filepath.Clean(path))); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if name := e.Name(); name != lockName && name != "lost+found" && !ours(strings.TrimSuffix(name, unfinished)) {
			return nil, fmt.Errorf("%s holds %q, which is no file of a store; choose a folder of its own", path, name)
		}
	}
	lock, err := os.OpenFile(filepath.Join(path, lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("%s: %w", path, ErrInUse)
		}
		return nil, fmt.Errorf("lock %s: %v", path, err)
	}
	persistent, err := medium.persistent(lock)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return &folder{path, lock, persistent}, nil
}

// Immediate implements [Folder].
func (f *folder) Immediate() bool { return f.persistent }

// Names implements [Folder]. Files that nobody finished are removed.
func (f *folder) Names() ([]string, error) {
	entries, err := os.ReadDir(f.path)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		switch name := e.Name(); {
		case strings.HasSuffix(name, unfinished):
			if err := os.Remove(filepath.Join(f.path, name)); err != nil {
				return nil, err
			}
		case name != lockName && name != "lost+found":
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// unfinished ends the name of a file while Create or its writer fills it.
const unfinished = ".new"

// Create implements [Folder].
func (f *folder) Create(name string, head []byte, size int64) (_ File, err error) {
	path := filepath.Join(f.path, name)
	file, err := os.OpenFile(path+unfinished, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	renamed := false
	defer func() {
		if err != nil {
			file.Close()
			os.Remove(path + unfinished) // what is left is removed by Names
			if renamed {
				os.Remove(path)
			}
		}
	}()
	if err := fill(file, head, size); err != nil {
		return nil, err
	}
	if err := os.Rename(path+unfinished, path); err != nil {
		return nil, err
	}
	renamed = true
	if err := SyncFolder(f.path); err != nil {
		return nil, err
	}
	return f.view(file)
}

// fill writes zeros: blocks that are merely reserved (fallocate) would be converted at the first write into them, a change of
// metadata in the middle of a sync. The reservation comes first, so that a full disk is noticed at once.
func fill(file *os.File, head []byte, size int64) error {
	if err := unix.Fallocate(int(file.Fd()), 0, 0, size); err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
		return &os.PathError{Op: "fallocate", Path: file.Name(), Err: err}
	}
	zeros := make([]byte, 1<<20)
	for off := int64(0); off < size; off += int64(len(zeros)) {
		if _, err := file.WriteAt(zeros[:min(int64(len(zeros)), size-off)], off); err != nil {
			return err
		}
	}
	if _, err := file.WriteAt(head, 0); err != nil {
		return err
	}
	return file.Sync()
}

// Open implements [Folder].
func (f *folder) Open(name string) (File, error) {
	file, err := os.OpenFile(filepath.Join(f.path, name), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	return f.view(file)
}

// SyncFolder makes the names in a folder durable.
func SyncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// Close implements [Folder].
func (f *folder) Close() error { return f.lock.Close() }

// mapped implements [File].
type mapped struct {
	*os.File
	fd     int
	memory []byte
}

// view maps a file, which it owns from now on.
func (f *folder) view(file *os.File) (File, error) {
	info, err := file.Stat()
	if err != nil {
		file.Close()
		return nil, err
	}
	if f.persistent {
		return mapPersistent(file, int(info.Size()))
	}
	m := &mapped{File: file, fd: int(file.Fd())}
	if info.Size() > 0 {
		if m.memory, err = unix.Mmap(m.fd, 0, int(info.Size()), unix.PROT_READ, unix.MAP_SHARED); err != nil {
			file.Close()
			return nil, &os.PathError{Op: "mmap", Path: file.Name(), Err: err}
		}
	}
	return m, nil
}

// Sync implements [File]. fdatasync makes the size durable, too, where that has changed.
func (m *mapped) Sync() error {
	for {
		if err := unix.Fdatasync(m.fd); !errors.Is(err, unix.EINTR) {
			return os.NewSyscallError("fdatasync", err)
		}
	}
}

// View implements [File].
func (m *mapped) View() []byte { return m.memory }

// Prepare implements [File]. Kernels before 5.14 cannot; then there are faults.
func (m *mapped) Prepare(off, n int) {
	from := off &^ (os.Getpagesize() - 1)
	if to := min(off+n, len(m.memory)); from < to {
		_ = unix.Madvise(m.memory[from:to], unix.MADV_POPULATE_READ)
	}
}

// Close implements [File].
func (m *mapped) Close() error {
	var err error
	if m.memory != nil {
		err = os.NewSyscallError("munmap", unix.Munmap(m.memory))
		m.memory = nil
	}
	return errors.Join(err, m.File.Close())
}

// replacement implements [Replacement].
type replacement struct {
	*mapped
	folder *folder
	name   string
}

// Replace implements [Folder].
func (f *folder) Replace(name string) (Replacement, error) {
	file, err := os.OpenFile(filepath.Join(f.path, name+unfinished), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	return &replacement{&mapped{File: file, fd: int(file.Fd())}, f, name}, nil
}

// Commit implements [Replacement].
func (r *replacement) Commit() error {
	if err := r.Sync(); err != nil {
		return errors.Join(err, r.Abandon())
	}
	path := filepath.Join(r.folder.path, r.name)
	if err := os.Rename(path+unfinished, path); err != nil {
		return errors.Join(err, r.Abandon())
	}
	return errors.Join(SyncFolder(r.folder.path), r.Close())
}

// Abandon implements [Replacement].
func (r *replacement) Abandon() error { return errors.Join(r.Close(), os.Remove(r.Name())) }
