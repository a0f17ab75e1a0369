package front

import (
	"slices"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"usui/layer/fsmove/tree"
)

// What gives a file's rights to who executes it goes when somebody without CAP_FSETID changes the file. The kernel leaves that to its server (FUSE_HANDLE_KILLPRIV_V2 in
// linux/fuse.h), which it would otherwise ask before each write whether there is any. Capabilities are removed by the destination's file system, with any change.

// capabilities is the attribute that has them. To remove it is for root: what the kernel sends for other users is about to be followed by a change that does so, or comes of
// chown(2) to nobody, which is for the file's owner.
const capabilities = "security.capability"

// keepRights says that a change of attributes takes no rights away. One that changes nothing is what comes of a write that the kernel does itself (__remove_privs in
// fs/inode.c), also by root if there are capabilities, and of chown(2) to nobody.
func (s *fileSystem) keepRights(in *fuse.SetAttrInCommon) bool {
	const changes = fuse.FATTR_MODE | fuse.FATTR_UID | fuse.FATTR_GID | fuse.FATTR_SIZE | fuse.FATTR_ATIME | fuse.FATTR_MTIME | fuse.FATTR_CTIME
	if in.Valid&changes == 0 {
		return in.InHeader.Uid == 0
	}
	return in.Valid&fuse.FATTR_KILL_SUIDGID == 0 || in.Valid&fuse.FATTR_SIZE == 0 // a new owner takes them at the destination, too
}

// takeRights takes rights away from the file of a descriptor, which is that of a node, for a change of attributes.
func (s *fileSystem) takeRights(in *fuse.SetAttrInCommon, fd int) error {
	m, err := tree.Stat(fd, "")
	if err != nil {
		return err
	}
	if in.Valid&fuse.FATTR_SIZE == 0 && in.InHeader.Uid != m.UID && withoutRights(&m) != m.Mode && !s.written(in.NodeId) {
		return unix.EPERM
	}
	return dropRights(fd)
}

// written says that somebody has a file open to write.
func (s *fileSystem) written(id uint64) bool {
	s.mu.Lock()
	n := s.nodes[id]
	s.mu.Unlock()
	if n == nil {
		return false
	}
	n.io.Lock()
	defer n.io.Unlock()
	return slices.ContainsFunc(n.opened, func(o *opened) bool { return o.flags&unix.O_ACCMODE != unix.O_RDONLY })
}

// withoutRights is the mode without set-user-ID, and without set-group-ID where the group may execute the file: elsewhere it is no right.
func withoutRights(m *tree.Meta) uint32 {
	mode := m.Mode
	if m.Type() == unix.S_IFREG {
		if mode &^= unix.S_ISUID; mode&unix.S_IXGRP != 0 {
			mode &^= unix.S_ISGID
		}
	}
	return mode
}

func dropRights(fd int) error {
	m, err := tree.Stat(fd, "")
	if err != nil {
		return err
	}
	if mode := withoutRights(&m); mode != m.Mode {
		return unix.Chmod(tree.Through(fd), mode&0o7777)
	}
	return nil
}

// dropGroup takes set-group-ID away, as an ACL does that is set by somebody outside the group.
func dropGroup(fd int) error {
	m, err := tree.Stat(fd, "")
	if err != nil || m.Mode&unix.S_ISGID == 0 {
		return err
	}
	return unix.Chmod(tree.Through(fd), m.Mode&0o7777&^unix.S_ISGID)
}
