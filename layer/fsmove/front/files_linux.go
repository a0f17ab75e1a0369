package front

import (
	"context"
	"errors"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"usui/layer/fsmove/migration"
)

// access are the flags with which a file is opened at the destination for a client. Where an append goes is the kernel's business; what is cached is, too.
func access(flags uint32) int {
	return int(flags) & (unix.O_ACCMODE | unix.O_SYNC | unix.O_DSYNC)
}

// Open implements [fuse.RawFileSystem].
func (s *fileSystem) Open(cancel <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	return s.openFile(until(cancel), &in.InHeader, in.NodeId, in.Flags, out)
}

func (s *fileSystem) openFile(ctx context.Context, in *fuse.InHeader, id uint64, flags uint32, out *fuse.OpenOut) fuse.Status {
	if flags&(unix.O_ACCMODE|unix.O_TRUNC) != unix.O_RDONLY {
		if err := s.m.Touch(); err != nil {
			return s.status(err)
		}
	}
	h, err := s.handleOf(id)
	if err != nil {
		return s.status(err)
	}
	file, err := s.m.Use(h)
	if err != nil {
		return s.status(err)
	}
	if file != nil && !file.Full() {
		s.fetches(in.Unique)
	}
	o := &opened{id: id, file: file, fd: -1, flags: access(flags), asked: asked(in)}
	if err = prepare(ctx, file, flags); err == nil {
		o.fd, err = s.dst.Open(h, o.flags)
	}
	if err != nil {
		o.close()
		return s.status(err)
	}
	return s.enter(o, out)
}

// prepare has what a client is going to need at once. file is nil for one that is complete.
func prepare(ctx context.Context, file *migration.File, flags uint32) error {
	if file == nil {
		return nil
	}
	if flags&unix.O_ACCMODE != unix.O_RDONLY {
		if err := file.WillWrite(ctx); err != nil {
			return err
		}
	}
	if file.Size() > wholeBytes {
		return nil
	}
	if err := file.Fill(ctx); err != nil && !migration.NoRoom(err) { // without room it comes from the source each time
		return err
	}
	return nil
}

// Read implements [fuse.RawFileSystem].
func (s *fileSystem) Read(cancel <-chan struct{}, in *fuse.ReadIn, p []byte) (fuse.ReadResult, fuse.Status) {
	o, err := s.of(in.Fh)
	if err != nil {
		return nil, s.status(err)
	}
	s.count.carried.Add(1)
	n := 0
	if o.file == nil || o.file.Full() {
		n, err = unix.Pread(o.fd, p, int64(in.Offset))
	} else {
		s.fetches(in.Unique)
		n, err = o.file.Read(until(cancel), p, int64(in.Offset))
	}
	if err != nil {
		return nil, s.status(err)
	}
	return fuse.ReadResultData(p[:n]), fuse.OK
}

// Write implements [fuse.RawFileSystem].
func (s *fileSystem) Write(cancel <-chan struct{}, in *fuse.WriteIn, p []byte) (uint32, fuse.Status) {
	o, err := s.of(in.Fh)
	if err != nil {
		return 0, s.status(err)
	}
	s.count.carried.Add(1)
	n := 0
	if in.WriteFlags&fuse.WRITE_KILL_SUIDGID != 0 {
		if err := dropRights(o.fd); err != nil {
			return 0, s.status(err)
		}
	}
	if o.file == nil || o.file.Full() {
		n, err = unix.Pwrite(o.fd, p, int64(in.Offset))
	} else {
		s.fetches(in.Unique)
		n, err = o.file.Write(until(cancel), p, int64(in.Offset))
		if err == nil && o.flags&unix.O_DSYNC != 0 { // which went by another descriptor
			err = unix.Fdatasync(o.fd)
		}
	}
	return uint32(max(n, 0)), s.status(err)
}

// Lseek implements [fuse.RawFileSystem].
func (s *fileSystem) Lseek(cancel <-chan struct{}, in *fuse.LseekIn, out *fuse.LseekOut) fuse.Status {
	o, err := s.of(in.Fh)
	if err != nil {
		return s.status(err)
	}
	at := int64(0)
	if o.file == nil || o.file.Full() {
		at, err = unix.Seek(o.fd, int64(in.Offset), int(in.Whence))
	} else {
		s.fetches(in.Unique)
		at, err = o.file.Seek(until(cancel), int64(in.Offset), int(in.Whence))
	}
	out.Offset = uint64(at)
	return s.status(err)
}

// Fallocate implements [fuse.RawFileSystem]. It makes holes, or what a file system tells of as data and was never fetched: so it
// is for files that have no holes of the migration's.
func (s *fileSystem) Fallocate(cancel <-chan struct{}, in *fuse.FallocateIn) fuse.Status {
	o, err := s.of(in.Fh)
	if err != nil {
		return s.status(err)
	}
	if in.Uid != 0 { // of which the kernel does not say whether the caller may leave rights as they are
		if err := dropRights(o.fd); err != nil {
			return s.status(err)
		}
	}
	if o.file != nil {
		if err := o.file.Settle(until(cancel)); err != nil {
			return s.status(err)
		}
	}
	return s.status(unix.Fallocate(o.fd, in.Mode, int64(in.Offset), int64(in.Length)))
}

// Flush implements [fuse.RawFileSystem]. Nothing is held back, and the kernel asks but once.
func (s *fileSystem) Flush(<-chan struct{}, *fuse.FlushIn) fuse.Status { return fuse.ENOSYS }

// Fsync implements [fuse.RawFileSystem].
func (s *fileSystem) Fsync(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status { return s.sync(in) }

// fsyncData is FUSE_FSYNC_FDATASYNC of linux/fuse.h.
const fsyncData = 1

func (s *fileSystem) sync(in *fuse.FsyncIn) fuse.Status {
	o, err := s.of(in.Fh)
	if err != nil {
		return s.status(err)
	}
	sync := unix.Fsync
	if in.FsyncFlags&fsyncData != 0 {
		sync = unix.Fdatasync
	}
	if err = sync(o.fd); err != nil && o.file != nil { // Linux tells of it once
		err = errors.Join(err, o.file.Distrust(context.Background(), err))
	}
	return s.status(err)
}

// Release implements [fuse.RawFileSystem].
func (s *fileSystem) Release(_ <-chan struct{}, in *fuse.ReleaseIn) { s.remove(in.Fh) }
