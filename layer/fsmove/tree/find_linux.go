package tree

import (
	"encoding/binary"
	"errors"

	"golang.org/x/sys/unix"

	"usui/host/xfs"
)

// Find opens the inode of the file system that has a number now, whatever its generation is, with O_PATH. The error is [ErrGone] if there is none, if it is a directory that is not below the root, or
// if the file system does not tell. Whoever makes numbers up has to guess the generation of a file, but could know that of the directory with which the file system begins.
func (r *Root) Find(ino uint64) (int, error) {
	top, err := HandleOf(r.fd, "")
	if err != nil {
		return -1, err
	}
	var fs unix.Statfs_t
	if err := again(func() error { return unix.Fstatfs(r.fd, &fs) }); err != nil {
		return -1, named("fstatfs", "", err)
	}
	h, ok := withNumber(top, ino)
	switch {
	case !ok:
		return -1, ErrGone
	case fs.Type == unix.EXT4_SUPER_MAGIC: // where a generation of 0 is any (ext4_nfs_get_inode)
	case fs.Type == unix.XFS_SUPER_MAGIC:
		generation, err := xfs.Generation(r.fd, ino)
		if errors.Is(err, xfs.ErrNone) {
			return -1, ErrGone
		}
		if err != nil {
			return -1, err
		}
		h = h[:len(h)-4] + Handle(binary.NativeEndian.AppendUint32(nil, generation))
	default:
		return -1, ErrGone
	}
	fd, err := r.Open(h, unix.O_PATH)
	if err != nil {
		return -1, err
	}
	m, err := Stat(fd, "")
	fine := err == nil && m.Ino == ino
	if fine && m.Type() == unix.S_IFDIR {
		fine, err = isBelow(fd, top)
	}
	if !fine {
		_ = unix.Close(fd) // nothing was written
		return -1, errors.Join(ErrGone, err)
	}
	return fd, nil
}

// isBelow says whether a directory is one that has a handle, or is below that.
func isBelow(dir int, top Handle) (bool, error) {
	below, at := Handle(""), dir
	for {
		h, err := HandleOf(at, "")
		up := -1
		if err == nil && h != top && h != below {
			up, err = openAt(at, "..", unix.O_PATH|unix.O_DIRECTORY)
		}
		if at != dir {
			_ = unix.Close(at) // nothing was written
		}
		if up < 0 {
			return h == top, err
		}
		below, at = h, up
	}
}

// withNumber is the handle of the inode with a number and no generation, like one of the same file system. Both forms are of linux/exportfs.h and xfs_export.h: the number, in 4 or 8 bytes, and the
// generation.
func withNumber(like Handle, ino uint64) (Handle, bool) {
	const (
		short = 1        // FILEID_INO32_GEN
		long  = 1 | 0x80 // with XFS_FILEID_TYPE_64FLAG
	)
	if len(like) < 4 {
		return "", false
	}
	var p []byte
	switch kind := binary.LittleEndian.Uint32([]byte(like[:4])); {
	case kind == short && len(like) == 4+8 && ino <= 1<<32-1:
		p = binary.NativeEndian.AppendUint32([]byte(like[:4]), uint32(ino))
	case kind == long && len(like) == 4+12:
		p = binary.NativeEndian.AppendUint64([]byte(like[:4]), ino)
	default:
		return "", false
	}
	return Handle(append(p, 0, 0, 0, 0)), true
}
