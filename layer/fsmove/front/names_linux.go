package front

import (
	"context"
	"errors"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"usui/layer/fsmove/tree"
)

// newborn is what is about to be made.
type newborn struct {
	caller fuse.Caller
	mode   uint32 // its permissions, as its maker wants them
	umask  uint32 // does not count where a folder has an ACL for what is made in it
}

// permissions are those that it is made with.
func (b newborn) permissions(dir int) uint32 {
	if n, err := tree.GetXattr(dir, "", "system.posix_acl_default", nil); err == nil && n > 0 {
		return b.mode & 0o7777
	}
	return b.mode &^ b.umask & 0o7777
}

// adopt gives what was made to who made it. The kernel has given it the folder's group where that is the rule. A new owner takes set-user-ID away.
func (b newborn) adopt(dir int, name string) error {
	folder, err := tree.Stat(dir, "")
	if err != nil {
		return err
	}
	m, err := tree.Stat(dir, name)
	if err != nil {
		return err
	}
	gid := int(b.caller.Gid)
	if folder.Mode&unix.S_ISGID != 0 {
		gid = -1
	}
	if err := unix.Fchownat(dir, name, int(b.caller.Uid), gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if m.Type() == unix.S_IFREG && m.Mode&(unix.S_ISUID|unix.S_ISGID) != 0 {
		return unix.Fchmodat(dir, name, m.Mode&0o7777, 0)
	}
	return nil
}

// born makes an entry of a folder and tells the kernel of it. What cannot be given to its maker is removed.
func (s *fileSystem) born(ctx context.Context, in *fuse.InHeader, name string, b newborn, out *fuse.EntryOut, create func(dir int, mode uint32) error) fuse.Status {
	if secret(in.NodeId, name) {
		return fuse.EACCES
	}
	return s.change(ctx, in.NodeId, func(dir int) error {
		if err := create(dir, b.permissions(dir)); err != nil && !done(in, err, unix.EEXIST) {
			return err
		}
		err := b.adopt(dir, name)
		if err == nil {
			err = s.know(dir, name, out)
		}
		if err == nil {
			return nil
		}
		return errors.Join(err, tree.Remove(dir, name))
	})
}

// Mknod implements [fuse.RawFileSystem].
func (s *fileSystem) Mknod(cancel <-chan struct{}, in *fuse.MknodIn, name string, out *fuse.EntryOut) fuse.Status {
	return s.born(until(cancel), &in.InHeader, name, newborn{in.Caller, in.Mode, in.Umask}, out, func(dir int, mode uint32) error {
		return unix.Mknodat(dir, name, in.Mode&unix.S_IFMT|mode, int(in.Rdev))
	})
}

// Mkdir implements [fuse.RawFileSystem].
func (s *fileSystem) Mkdir(cancel <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	return s.born(until(cancel), &in.InHeader, name, newborn{in.Caller, in.Mode, in.Umask}, out, func(dir int, mode uint32) error {
		return unix.Mkdirat(dir, name, mode)
	})
}

// Symlink implements [fuse.RawFileSystem].
func (s *fileSystem) Symlink(cancel <-chan struct{}, in *fuse.InHeader, target, name string, out *fuse.EntryOut) fuse.Status {
	return s.born(until(cancel), in, name, newborn{caller: in.Caller}, out, func(dir int, _ uint32) error {
		return unix.Symlinkat(target, dir, name)
	})
}

// Create implements [fuse.RawFileSystem].
func (s *fileSystem) Create(cancel <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	o := &opened{fd: -1, flags: access(in.Flags), asked: asked(&in.InHeader)}
	status := s.born(until(cancel), &in.InHeader, name, newborn{in.Caller, in.Mode, in.Umask}, &out.EntryOut, func(dir int, mode uint32) (err error) {
		o.fd, err = unix.Openat(dir, name, o.flags|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, mode)
		if err != nil && done(&in.InHeader, err, unix.EEXIST) {
			o.fd, err = unix.Openat(dir, name, o.flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		}
		return err
	})
	switch {
	case status.Ok():
		o.id = out.NodeId
		return s.enter(o, &out.OpenOut)
	case o.fd >= 0:
		o.close()
	case status == fuse.Status(unix.EEXIST) && in.Flags&unix.O_EXCL == 0: // somebody else was faster
		status = s.in(until(cancel), in.NodeId, func(dir int) error { return s.found(until(cancel), dir, name, in, &out.EntryOut) })
		if status.Ok() {
			status = s.openFile(until(cancel), &in.InHeader, out.NodeId, in.Flags, &out.OpenOut)
		}
	}
	return status
}

// found is an entry that was to be made and is there. The kernel takes it for a new one, and leaves it to us to make it empty.
func (s *fileSystem) found(ctx context.Context, dir int, name string, in *fuse.CreateIn, out *fuse.EntryOut) error {
	if err := s.know(dir, name, out); err != nil || in.Flags&unix.O_TRUNC == 0 {
		return err
	}
	h, err := s.handleOf(out.NodeId)
	if err != nil {
		return err
	}
	file, err := s.m.Use(h)
	if err != nil {
		return err
	}
	if file != nil {
		defer file.Release()
	}
	if err := s.truncate(ctx, h, file, 0); err != nil {
		return err
	}
	if in.OpenFlags&fuse.OPEN_KILL_SUIDGID != 0 {
		fd, err := s.dst.Open(h, unix.O_PATH)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if err := dropRights(fd); err != nil {
			return err
		}
	}
	out.Size, out.Blocks = 0, 0
	return nil
}

// Link implements [fuse.RawFileSystem].
func (s *fileSystem) Link(cancel <-chan struct{}, in *fuse.LinkIn, name string, out *fuse.EntryOut) fuse.Status {
	if secret(in.NodeId, name) {
		return fuse.EACCES
	}
	return s.change(until(cancel), in.NodeId, func(dir int) error {
		fd, err := s.open(in.Oldnodeid, unix.O_PATH)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if err := unix.Linkat(fd, "", dir, name, unix.AT_EMPTY_PATH); err != nil && !done(&in.InHeader, err, unix.EEXIST) {
			return err
		}
		return s.know(dir, name, out)
	})
}

// Unlink implements [fuse.RawFileSystem].
func (s *fileSystem) Unlink(cancel <-chan struct{}, in *fuse.InHeader, name string) fuse.Status {
	if secret(in.NodeId, name) {
		return fuse.ENOENT
	}
	return s.change(until(cancel), in.NodeId, func(dir int) error {
		defer s.last(dir, name)()
		if err := unix.Unlinkat(dir, name, 0); err != nil && !done(in, err, unix.ENOENT) {
			return err
		}
		return nil
	})
}

// Rmdir implements [fuse.RawFileSystem].
func (s *fileSystem) Rmdir(cancel <-chan struct{}, in *fuse.InHeader, name string) fuse.Status {
	if secret(in.NodeId, name) {
		return fuse.ENOENT
	}
	return s.change(until(cancel), in.NodeId, func(dir int) error {
		err := s.listIn(until(cancel), dir, name)
		if err == nil {
			err = unix.Unlinkat(dir, name, unix.AT_REMOVEDIR)
		}
		if err != nil && done(in, err, unix.ENOENT) {
			return nil
		}
		return err
	})
}

// listIn lists an entry of a folder if it is one, so that it is only empty if it is.
func (s *fileSystem) listIn(ctx context.Context, dir int, name string) error {
	h, err := tree.HandleOf(dir, name)
	if err != nil {
		return err
	}
	return s.m.List(ctx, h)
}

// Rename implements [fuse.RawFileSystem].
func (s *fileSystem) Rename(cancel <-chan struct{}, in *fuse.RenameIn, from, to string) fuse.Status {
	if secret(in.NodeId, from) || secret(in.Newdir, to) {
		return fuse.EACCES
	}
	return s.change(until(cancel), in.NodeId, func(old int) error {
		dir, err := s.folder(until(cancel), in.Newdir, unix.O_PATH)
		if err != nil {
			return err
		}
		defer unix.Close(dir)
		if err := s.listIn(until(cancel), dir, to); err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
		if in.Flags&^unix.RENAME_NOREPLACE != 0 {
			return s.exchange(in, old, from, dir, to)
		}
		defer s.last(dir, to)()
		if err := unix.Renameat2(old, from, dir, to, uint(in.Flags)); err != nil && !done(&in.InHeader, err, unix.ENOENT) {
			return err
		}
		return nil
	})
}

// OpenDir implements [fuse.RawFileSystem].
func (s *fileSystem) OpenDir(cancel <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	fd, err := s.folder(until(cancel), in.NodeId, unix.O_RDONLY)
	if err != nil {
		return s.status(err)
	}
	*out = fuse.OpenOut{OpenFlags: fuse.FOPEN_KEEP_CACHE | fuse.FOPEN_CACHE_DIR}
	o := &opened{id: in.NodeId, fd: fd, flags: unix.O_RDONLY | unix.O_DIRECTORY, asked: asked(&in.InHeader)}
	s.forgetAsked(o.asked)
	return s.admit(o, out)
}

// entries calls f with the entries of a folder that clients see.
func (s *fileSystem) entries(in *fuse.ReadIn, f func(fd int, n tree.Name) bool) fuse.Status {
	o, err := s.of(in.Fh)
	if err != nil {
		return s.status(err)
	}
	fd, err := unix.Openat(o.fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0) // one reader does not move another
	if err != nil {
		return s.status(err)
	}
	defer unix.Close(fd)
	return s.status(tree.List(fd, in.Offset, func(n tree.Name) bool {
		return secret(o.id, n.Name) || f(fd, n)
	}))
}

// ReadDir implements [fuse.RawFileSystem].
func (s *fileSystem) ReadDir(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return s.entries(in, func(_ int, n tree.Name) bool {
		return out.AddDirEntry(fuse.DirEntry{Mode: n.Type, Name: n.Name, Ino: n.Ino, Off: n.Next})
	})
}

// ReadDirPlus implements [fuse.RawFileSystem]. An entry of which nothing can be said is one without a node: who wants to know more looks it up, and gets the error.
func (s *fileSystem) ReadDirPlus(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return s.entries(in, func(dir int, n tree.Name) bool {
		e := out.AddDirLookupEntry(fuse.DirEntry{Mode: n.Type, Name: n.Name, Ino: n.Ino, Off: n.Next})
		if e == nil {
			return false
		}
		if n.Dots() || s.know(dir, n.Name, e) != nil { // the kernel knows those better
			*e = fuse.EntryOut{}
		}
		return true
	})
}

// ReleaseDir implements [fuse.RawFileSystem].
func (s *fileSystem) ReleaseDir(in *fuse.ReleaseIn) { s.remove(in.Fh) }

// FsyncDir implements [fuse.RawFileSystem].
func (s *fileSystem) FsyncDir(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status { return s.sync(in) }
