package tree

import "golang.org/x/sys/unix"

// KeepsNumbers says whether the file system of a descriptor gives an inode the same number for as long as it lives. Those that invent numbers, as many of FUSE do, and SMB where the server has none,
// invent others when the kernel has forgotten an inode, or when they are mounted anew. An error counts as yes.
func KeepsNumbers(fd int) bool {
	switch TypeOf(fd) {
	case unix.FUSE_SUPER_MAGIC, unix.SMB_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC, unix.MSDOS_SUPER_MAGIC, unix.EXFAT_SUPER_MAGIC:
		return false
	}
	return true
}

// TypeOf is the type of a descriptor's file system, as statfs(2) lists them, 0 if that does not say.
func TypeOf(fd int) int64 {
	var fs unix.Statfs_t
	if err := again(func() error { return unix.Fstatfs(fd, &fs) }); err != nil {
		return 0
	}
	return int64(fs.Type)
}
