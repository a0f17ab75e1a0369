package front

import (
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"usui/host/fusedev"
	"usui/layer/fsmove/tree"
)

// enter makes an open file known. The first handle of a file that is complete has the kernel read and write for all of its handles, until the last is closed; so does the first of one that
// is not have them carried. Where the kernel cannot, all are carried.
func (s *fileSystem) enter(o *opened, out *fuse.OpenOut) {
	s.mu.Lock()
	n := s.nodes[o.id]
	s.mu.Unlock()
	*out = fuse.OpenOut{OpenFlags: fuse.FOPEN_KEEP_CACHE}
	if n != nil { // else it was forgotten in the same moment, and is carried
		o.node = n
		n.io.Lock()
		defer n.io.Unlock()
		if n.handles == 0 && s.mayPass(o) {
			n.passed = s.pass(n, o.fd)
		}
		n.handles++
		if n.passed {
			s.count.passed.Add(1)
			// Without FOPEN_KEEP_CACHE the kernel drops what it cached of the file before it passed.
			out.OpenFlags, out.BackingID = fuse.FOPEN_PASSTHROUGH, n.backing
		}
	}
	out.Fh = s.add(o)
}

// mayPass says whether the kernel may read and write a file without asking. A write to one with set-user-ID or capabilities takes them away, which is for the kernel
// to see here.
func (s *fileSystem) mayPass(o *opened) bool {
	if s.refused.Load() || o.file != nil && !o.file.Full() {
		return false
	}
	m, err := tree.Stat(o.fd, "")
	if err != nil || m.Type() != unix.S_IFREG || m.Mode&(unix.S_ISUID|unix.S_ISGID) != 0 {
		return false
	}
	_, err = tree.GetXattr(o.fd, "", "security.capability", nil)
	return err != nil
}

// pass makes a file known to the kernel. n.io is held.
func (s *fileSystem) pass(n *node, fd int) bool {
	id, err := fusedev.Open(s.dev, fd)
	if err != nil {
		if !s.refused.Swap(true) {
			s.logger.Warn("the kernel cannot read and write complete files for its users: each access is carried, at several times the cost (Linux 6.9 can)", "err", err)
		}
		return false
	}
	n.backing = id
	return true
}

// leave ends a handle.
func (s *fileSystem) leave(n *node) {
	n.io.Lock()
	defer n.io.Unlock()
	if n.handles--; n.handles > 0 || !n.passed {
		return
	}
	n.passed = false
	if err := fusedev.Close(s.dev, n.backing); err != nil {
		s.logger.Error("BUG: a file that the kernel knows", "err", err)
	}
}
