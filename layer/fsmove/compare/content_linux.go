package compare

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"usui/layer/fsmove/tree"
)

// content is a file of which that is to be compared.
type content struct {
	path     string
	src, dst *tree.Meta
	said     string // of its metadata
}

// bufferBytes is how much is read at a time.
const bufferBytes = 1 << 20

// read compares contents until there are no more.
func (c *comparison) read(ctx context.Context) {
	b := buffers{make([]byte, bufferBytes), make([]byte, bufferBytes)}
	for f := range c.contents {
		if ctx.Err() == nil {
			c.content(ctx, &f, &b)
		}
	}
}

// buffers are for what is read of the source and of the destination.
type buffers struct{ src, dst []byte }

// content compares that of a file, which is the one that was looked at before.
func (c *comparison) content(ctx context.Context, f *content, b *buffers) {
	p, err := c.both(f.path, unix.O_RDONLY|unix.O_NONBLOCK)
	defer p.close()
	if err != nil {
		c.lost(f.path, err)
		return
	}
	err = unix.Fadvise(p.dst, 0, 0, unix.FADV_DONTNEED)
	at := int64(-1)
	if err == nil {
		at, err = c.differAt(ctx, p, f.src.Size, b)
	}
	s, err1 := tree.Stat(p.src, "")
	d, err2 := tree.Stat(p.dst, "")
	_ = unix.Fadvise(p.dst, 0, 0, unix.FADV_DONTNEED) // clients have a better use for the room
	switch {
	case ctx.Err() != nil:
	case err1 != nil, err2 != nil:
		c.found(&c.report.Failed, f.path, errors.Join(err1, err2).Error())
	case moved(f.src, &s, p.src) || !f.src.Ctime.Equal(s.Ctime):
		c.found(&c.report.SourceChanged, f.path, "the source was changed while it was compared")
	case moved(f.dst, &d, p.dst):
		c.found(&c.report.Changed, f.path, "modified while it was compared")
	case err != nil:
		c.found(&c.report.Failed, f.path, err.Error())
	case at >= 0:
		c.found(&c.report.Damaged, f.path, fmt.Sprintf("content differs from byte %d on", at))
	default:
		c.fine(f.path, f.said)
	}
}

// moved says that a file is another than it was, or has been modified. fd is of what it is now.
func moved(before, now *tree.Meta, fd int) bool {
	return before.Ino != now.Ino && tree.KeepsNumbers(fd) || before.Dev != now.Dev || before.Size != now.Size || !before.Mtime.Equal(now.Mtime)
}

// differAt is the first byte that differs, -1 for none.
func (c *comparison) differAt(ctx context.Context, p pair, size int64, b *buffers) (int64, error) {
	for off := int64(0); off < size; {
		if err := ctx.Err(); err != nil {
			return -1, err
		}
		src, err1 := dataFrom(p.src, off, size)
		dst, err2 := dataFrom(p.dst, off, size)
		if err := errors.Join(err1, err2); err != nil {
			return -1, err
		}
		if off = min(src, dst); off >= size {
			break // the rest is a hole on both sides
		}
		n := min(bufferBytes, size-off)
		if err := c.Pace(ctx, n); err != nil {
			return -1, err
		}
		if err := readFull(p.src, b.src[:n], off); err != nil {
			return -1, &sideError{"source", err}
		}
		if err := readFull(p.dst, b.dst[:n], off); err != nil {
			return -1, &sideError{"destination", err}
		}
		if !bytes.Equal(b.src[:n], b.dst[:n]) {
			for i := range n {
				if b.src[i] != b.dst[i] {
					return off + i, nil
				}
			}
		}
		off += n
		c.mu.Lock()
		c.report.Bytes += uint64(n)
		c.mu.Unlock()
	}
	return -1, nil
}

// dataFrom is where data is at or behind an offset, size if there is none. A file system that does not tell of holes has data everywhere.
func dataFrom(fd int, off, size int64) (int64, error) {
	at, err := unix.Seek(fd, off, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO):
		return size, nil
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOTSUP):
		return off, nil
	}
	return at, os.NewSyscallError("lseek", err)
}

// readFull fills p. An end before that is an error: the file was longer.
func readFull(fd int, p []byte, off int64) error {
	for len(p) > 0 {
		n, err := unix.Pread(fd, p, off)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return fmt.Errorf("read at %d: %w", off, err)
		case n == 0:
			return fmt.Errorf("read at %d: %w", off, io.ErrUnexpectedEOF)
		}
		p, off = p[n:], off+int64(n)
	}
	return nil
}
