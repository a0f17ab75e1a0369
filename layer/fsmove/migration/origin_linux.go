package migration

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"usui/layer/fsmove/journal"
	"usui/layer/fsmove/tree"
)

// fetchBytes is how much is fetched at a time.
const fetchBytes = 256 << 10

// origin is a file at the source. During a call to the source it is the call's alone.
type origin struct {
	rec   journal.File // what it has to be
	block int64
	root  *root // that it was opened in
	fd    int   // -1 if it is not open
	buf   []byte
	p     []byte // in buf; what was read, and where it belongs
	at    int64
	end   int64 // of the data there, if nothing was read
}

func (o *origin) close() {
	if o.fd >= 0 {
		_ = unix.Close(o.fd) // nothing was written
		o.fd = -1
	}
}

// atSource calls the source for the file. f.io is held. What was found is the origin's, for a call may return when nobody waits for it any more.
func (f *File) atSource(ctx context.Context, call func(o *origin, r *root) error) (*origin, error) {
	o := f.origin
	if o == nil {
		o = &origin{rec: f.rec, block: f.m.block, fd: -1}
	}
	f.origin = nil
	done, err := f.m.src.do(ctx, func(r *root) error { return call(o, r) }, o.close)
	if done {
		f.origin = o
	}
	return o, err
}

// fetch calls f with what is at the source between two offsets, piece by piece, but for its holes. f.io is held.
func (f *File) fetch(ctx context.Context, off, end int64, use func(p []byte, at int64) error) error {
	for off < end {
		o, err := f.atSource(ctx, func(o *origin, r *root) error { return o.read(r, off, end) })
		if err != nil {
			return err
		}
		if len(o.p) > 0 {
			if err := use(o.p, o.at); err != nil {
				return err
			}
		}
		off = o.at + int64(len(o.p))
	}
	return nil
}

// read reads the first piece between two offsets, and nothing that was changed meanwhile. The piece is empty and at the end if there is none.
func (o *origin) read(r *root, off, end int64) error {
	return o.twice(func() error { return o.tryRead(r, off, end) })
}

// twice calls the source, and once more with the file opened anew if that may help.
func (o *origin) twice(call func() error) error {
	err := call()
	if errors.Is(err, unix.ESTALE) || errors.Is(err, unix.EIO) { // a server that began anew may know it by another handle, or may have lost that it is open
		o.close()
		err = call()
	}
	if err != nil {
		o.close() // what is tried again begins anew
		return &SourceError{o.rec.Path, err}
	}
	return nil
}

func (o *origin) tryRead(r *root, off, end int64) error {
	if err := o.open(r); err != nil {
		return err
	}
	from, to, err := o.data(off, end)
	if err != nil {
		return err
	}
	if n := min(fetchBytes, to-from); int64(len(o.buf)) < n {
		o.buf = make([]byte, n)
	}
	o.p, o.at = o.buf[:min(int64(len(o.buf)), to-from)], from
	for n := 0; n < len(o.p); {
		k, err := unix.Pread(o.fd, o.p[n:], from+int64(n))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("read at %d: %w", from+int64(n), err)
		}
		if k == 0 {
			return fmt.Errorf("it ends at %d: %w", from+int64(n), ErrChanged)
		}
		n += k
	}
	return o.same()
}

// nextData is the next data of the source from an offset on, at the file's limit if there is none. f.io is held.
func (f *File) nextData(ctx context.Context, off int64) (from, to int64, err error) {
	end := f.rec.Limit
	o, err := f.atSource(ctx, func(o *origin, r *root) error { return o.skip(r, off, end) })
	if err != nil {
		return off, off, err
	}
	return o.at, o.end, nil
}

// skip finds the next data, and is there with nothing read.
func (o *origin) skip(r *root, off, end int64) error {
	return o.twice(func() error {
		err := o.open(r)
		if err == nil {
			o.p = nil
			o.at, o.end, err = o.data(off, end)
		}
		if err == nil {
			err = o.same()
		}
		return err
	})
}

// open opens the file. If the source was opened anew, so is the file.
func (o *origin) open(r *root) error {
	if o.root != r {
		o.close()
	}
	if o.fd >= 0 {
		return nil
	}
	fd, err := r.At(o.rec.Path, unix.O_RDONLY|unix.O_NOATIME|unix.O_NONBLOCK)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return fmt.Errorf("%w: %w", ErrChanged, err)
	}
	if err != nil {
		return err
	}
	o.fd, o.root = fd, r
	return o.same()
}

// same makes sure that the file is the one that was listed.
func (o *origin) same() error {
	s, err := tree.Stat(o.fd, "")
	if err != nil {
		return err
	}
	if s.Size != o.rec.Size || !s.Mtime.Equal(o.rec.Mtime) || !s.Ctime.Equal(o.rec.Ctime) || s.Ino != o.rec.Ino && tree.KeepsNumbers(o.fd) {
		return ErrChanged
	}
	return nil
}

// data finds the first data between two offsets. It is told in whole blocks of the destination, at end both if there is none. A source that does not tell of holes,
// or tells what cannot be, has data everywhere.
func (o *origin) data(off, end int64) (from, to int64, err error) {
	data, err := unix.Seek(o.fd, off, unix.SEEK_DATA)
	if errors.Is(err, unix.ENXIO) || err == nil && data >= end {
		return end, end, nil
	}
	hole := int64(0)
	if err == nil {
		hole, err = unix.Seek(o.fd, data, unix.SEEK_HOLE)
	}
	switch {
	case errors.Is(err, unix.EINVAL), err == nil && (data < off || hole <= data):
		return off, end, nil
	case err == nil:
		return max(off, data&^(o.block-1)), min(end, (hole+o.block-1)&^(o.block-1)), nil
	}
	return 0, 0, os.NewSyscallError("lseek", err)
}
