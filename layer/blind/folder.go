package blind

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/tetratelabs/wazero"
	wazerosys "github.com/tetratelabs/wazero/experimental/sys"
	"github.com/tetratelabs/wazero/experimental/sysfs"
	"github.com/tetratelabs/wazero/sys"
)

// folders are those of one program.
type folders struct {
	config wazero.FSConfig
	roots  []*os.Root
}

// openFolders opens those that a program is given.
func openFolders(dirs []Dir) (folders, error) {
	f := folders{config: wazero.NewFSConfig()}
	for _, d := range dirs {
		root, err := os.OpenRoot(d.Host)
		if err != nil {
			return folders{}, errors.Join(fmt.Errorf("name a folder that is there, not %q: %w", d.Host, errors.Unwrap(err)), f.close())
		}
		f.roots = append(f.roots, root)
		var mount wazerosys.FS = &folder{root: root}
		if d.ReadOnly {
			mount = &readOnlyFolder{sysfs.ReadFS{FS: mount}}
		}
		f.config = f.config.(sysfs.FSConfig).WithSysFSMount(mount, d.Guest)
	}
	return f, nil
}

func (f folders) close() error {
	var failed []error
	for _, root := range f.roots {
		failed = append(failed, root.Close())
	}
	return errors.Join(failed...)
}

// folder is a folder of the host for a program that must not leave it: not by "..", not by a symbolic link, and not by renaming what it has
// open. os.Root walks each path, and wazero's own file system then works on what was found, by its descriptor.
type folder struct {
	wazerosys.UnimplementedFS
	root *os.Root
}

// OpenFile implements [wazerosys.FS].
func (d *folder) OpenFile(name string, flag wazerosys.Oflag, perm fs.FileMode) (wazerosys.File, wazerosys.Errno) {
	name = inside(name)
	if flag&wazerosys.O_NOFOLLOW != 0 {
		if info, err := d.root.Lstat(name); err == nil && info.Mode()&fs.ModeSymlink != 0 {
			return nil, wazerosys.ELOOP
		}
	}
	found, err := d.root.OpenFile(name, openFlags(flag), perm)
	if err != nil {
		return nil, errnoOf(err)
	}
	const done = wazerosys.O_CREAT | wazerosys.O_EXCL | wazerosys.O_TRUNC | wazerosys.O_NOFOLLOW
	f, errno := descriptors.OpenFile(strconv.Itoa(int(found.Fd())), flag&^done, perm)
	if errno != 0 {
		found.Close() // the first error tells more
		return nil, errno
	}
	return openFile{f.(wazerosys.PollableFile), found}, 0
}

// readOnlyFolder is a folder in which nothing can be changed.
type readOnlyFolder struct{ sysfs.ReadFS }

// OpenFile implements [wazerosys.FS]. wazero's own has "not implemented" for an answer, and forgets that opening for reading may truncate or make a file.
func (d *readOnlyFolder) OpenFile(name string, flag wazerosys.Oflag, perm fs.FileMode) (wazerosys.File, wazerosys.Errno) {
	if flag&(wazerosys.O_WRONLY|wazerosys.O_RDWR|wazerosys.O_TRUNC) != 0 {
		return nil, wazerosys.EROFS
	}
	return d.ReadFS.OpenFile(name, flag&^(wazerosys.O_CREAT|wazerosys.O_EXCL), perm)
}

// descriptors is this process's descriptors as files: opening one opens what it refers to, wherever that is by now (proc_pid_fd(5)).
var descriptors = sysfs.DirFS("/proc/self/fd")

// openFile is a file of wazero's that was opened, and is opened again to read a folder from its beginning, by the descriptor of found.
type openFile struct {
	wazerosys.PollableFile
	found *os.File
}

// Close implements [wazerosys.File].
func (f openFile) Close() wazerosys.Errno {
	if errno := f.PollableFile.Close(); errno != 0 {
		return errno
	}
	return errnoOf(f.found.Close())
}

// Lstat implements [wazerosys.FS].
func (d *folder) Lstat(name string) (sys.Stat_t, wazerosys.Errno) {
	return statOf(d.root.Lstat(inside(name)))
}

// Stat implements [wazerosys.FS].
func (d *folder) Stat(name string) (sys.Stat_t, wazerosys.Errno) {
	return statOf(d.root.Stat(inside(name)))
}

func statOf(info fs.FileInfo, err error) (sys.Stat_t, wazerosys.Errno) {
	if err != nil {
		return sys.Stat_t{}, errnoOf(err)
	}
	return sys.NewStat_t(info), 0
}

// Mkdir implements [wazerosys.FS].
func (d *folder) Mkdir(name string, perm fs.FileMode) wazerosys.Errno {
	errno := errnoOf(d.root.Mkdir(inside(name), perm))
	if errno == wazerosys.ENOTDIR {
		return wazerosys.ENOENT // as wazero has it
	}
	return errno
}

// Link implements [wazerosys.FS].
func (d *folder) Link(from, to string) wazerosys.Errno {
	return errnoOf(d.root.Link(inside(from), inside(to)))
}

// Symlink implements [wazerosys.FS]. What the link says is not looked at before somebody follows it; an absolute path leads nowhere.
func (d *folder) Symlink(text, name string) wazerosys.Errno {
	if path.IsAbs(text) {
		return wazerosys.EPERM
	}
	return errnoOf(d.root.Symlink(text, inside(name)))
}

// Readlink implements [wazerosys.FS].
func (d *folder) Readlink(name string) (string, wazerosys.Errno) {
	text, err := d.root.Readlink(inside(name))
	return text, errnoOf(err)
}

// Utimens implements [wazerosys.FS].
func (d *folder) Utimens(name string, atim, mtim int64) wazerosys.Errno {
	return errnoOf(d.root.Chtimes(inside(name), timeOf(atim), timeOf(mtim)))
}

// timeOf returns a time, or none if it is to stay.
func timeOf(nanoseconds int64) time.Time {
	if nanoseconds == wazerosys.UTIME_OMIT {
		return time.Time{}
	}
	return time.Unix(0, nanoseconds)
}

// Unlink implements [wazerosys.FS]. os.Root removes and renames by rules of its own, so it finds but the parent here and in the next two.
func (d *folder) Unlink(name string) wazerosys.Errno {
	return d.inParent(name, descriptors.Unlink)
}

// Rmdir implements [wazerosys.FS].
func (d *folder) Rmdir(name string) wazerosys.Errno {
	return d.inParent(name, descriptors.Rmdir)
}

// Rename implements [wazerosys.FS].
func (d *folder) Rename(from, to string) wazerosys.Errno {
	return d.inParent(from, func(from string) wazerosys.Errno {
		return d.inParent(to, func(to string) wazerosys.Errno { return descriptors.Rename(from, to) })
	})
}

// inParent calls do with the path of name in descriptors, by way of its parent: calls that do not follow a link at the end of a path do not leave that.
func (d *folder) inParent(name string, do func(string) wazerosys.Errno) wazerosys.Errno {
	trimmed := strings.TrimRight(inside(name), "/")
	dir, base := path.Split(trimmed)
	if base == "." || base == ".." {
		return wazerosys.EINVAL
	}
	parent, err := d.root.OpenFile(inside(dir), os.O_RDONLY|syscall.O_DIRECTORY, 0)
	if err != nil {
		return errnoOf(err)
	}
	defer parent.Close()
	if strings.HasSuffix(name, "/") {
		base += "/" // which says that it is a folder
	}
	return do(fmt.Sprintf("%d/%s", parent.Fd(), base))
}

// errnoOf turns an error of os into a number. What no system call refused, os.Root did, because the path leads out.
func errnoOf(err error) wazerosys.Errno {
	var system syscall.Errno
	errno := wazerosys.UnwrapOSError(err)
	if errno == wazerosys.EIO && !errors.As(err, &system) {
		return wazerosys.EPERM
	}
	return errno
}

// openFlags are the system's names of wazero's flags.
func openFlags(flag wazerosys.Oflag) (system int) {
	for _, f := range [...]struct {
		flag   wazerosys.Oflag
		system int
	}{
		{wazerosys.O_RDWR, os.O_RDWR}, {wazerosys.O_WRONLY, os.O_WRONLY}, {wazerosys.O_APPEND, os.O_APPEND}, {wazerosys.O_CREAT, os.O_CREATE},
		{wazerosys.O_DIRECTORY, syscall.O_DIRECTORY}, {wazerosys.O_DSYNC, syscall.O_DSYNC}, {wazerosys.O_EXCL, os.O_EXCL},
		{wazerosys.O_NONBLOCK, syscall.O_NONBLOCK}, {wazerosys.O_RSYNC, syscall.O_RSYNC}, {wazerosys.O_SYNC, os.O_SYNC}, {wazerosys.O_TRUNC, os.O_TRUNC},
	} {
		if flag&f.flag != 0 {
			system |= f.system
		}
	}
	return system
}

// inside is a path of wazero's as os.Root wants it: it begins with a slash below a folder that was opened as ".".
func inside(name string) string {
	if name = strings.TrimLeft(name, "/"); name == "" {
		return "."
	}
	return name
}
