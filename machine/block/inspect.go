package block

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// sector is the unit of every disk interface, and the smallest block.
const sector = 512

// inspect finds out what was opened and fills in the geometry.
func (f *File) inspect(readOnly bool) error {
	var st unix.Stat_t
	if _, err := retry(func() (int, error) { return 0, unix.Fstat(f.fd, &st) }); err != nil {
		return &os.PathError{Op: "stat", Path: f.path, Err: err}
	}
	f.geometry = Geometry{BlockSize: sector, ReadOnly: readOnly, Depth: depth}
	var err error
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		err = f.inspectFile(st.Size)
	case unix.S_IFBLK:
		f.device = true
		f.number = st.Rdev
		err = f.inspectDevice()
	case unix.S_IFDIR:
		err = fmt.Errorf("%s: is a directory, want a disk image or a block device", f.path)
	default:
		err = fmt.Errorf("%s: neither a regular file nor a block device", f.path)
	}
	if err != nil {
		return err
	}
	if f.geometry.Size == 0 {
		return fmt.Errorf("%s: is empty, a disk needs at least one sector (make one with truncate -s 1G)", f.path)
	}
	f.geometry.Zero = !readOnly
	return nil
}

func (f *File) inspectFile(size int64) error {
	f.geometry.Size = (size + sector - 1) &^ (sector - 1)
	if f.geometry.Size < size {
		return fmt.Errorf("%s: %d bytes are too many for a disk", f.path, size)
	}
	var s unix.Statfs_t
	_, err := retry(func() (int, error) { return 0, unix.Fstatfs(f.fd, &s) })
	f.inMemory = err == nil && (s.Type == unix.TMPFS_MAGIC || s.Type == unix.RAMFS_MAGIC)
	return nil
}

func (f *File) inspectDevice() error {
	size, err := unix.Seek(f.fd, 0, unix.SEEK_END)
	if err != nil {
		return fmt.Errorf("%s: find the size: %w", f.path, err)
	}
	block, err := unix.IoctlGetInt(f.fd, unix.BLKSSZGET)
	if err != nil {
		return fmt.Errorf("%s: find the logical block size: %w", f.path, err)
	}
	f.geometry.BlockSize = block
	f.geometry.Size = size &^ int64(block-1)
	return nil
}

// probeHoles finds out whether Discard can work. A hole behind the end of a file changes nothing. fallocate punches a
// hole into a device by a write-zeroes command that may unmap, and never by writing.
func (f *File) probeHoles() {
	switch {
	case f.geometry.ReadOnly:
	case f.device:
		f.geometry.Discard = writesZeroes(f.number)
	default:
		_, err := retry(func() (int, error) { return 0, unix.Fallocate(f.fd, punchHole, f.geometry.Size, 1<<20) })
		f.geometry.Discard = err == nil
	}
}

// writesZeroes says whether a block device has a command that zeroes (Documentation/ABI/stable/sysfs-block).
// A partition has no queue of its own; its parent's is one level up.
func writesZeroes(rdev uint64) bool {
	dir := fmt.Sprintf("/sys/dev/block/%d:%d/", unix.Major(rdev), unix.Minor(rdev))
	for _, queue := range []string{"queue/", "../queue/"} {
		b, err := os.ReadFile(dir + queue + "write_zeroes_max_bytes")
		if err != nil {
			continue
		}
		n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
		return err == nil && n > 0
	}
	return false
}
