package front

import (
	"encoding/binary"
	"errors"
	"math"
	"slices"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"usui/host/fusedev"
	"usui/layer/fsmove/live"
	"usui/layer/fsmove/tree"
)

// enter makes an open file known. The first handle of a file that is complete has the kernel read and write for all of its handles, until the last is closed; so does the first of one that
// is not have them carried. Where the kernel cannot, all are carried. What cannot be made known is closed.
func (s *fileSystem) enter(o *opened, out *fuse.OpenOut) fuse.Status {
	s.forgetAsked(o.asked)
	s.mu.Lock()
	n := s.nodes[o.id]
	s.mu.Unlock()
	*out = fuse.OpenOut{OpenFlags: fuse.FOPEN_KEEP_CACHE}
	if n == nil { // it was forgotten in the same moment, and is carried
		return s.admit(o, out)
	}
	n.io.Lock()
	defer n.io.Unlock()
	m, err := tree.Stat(o.fd, "")
	if err != nil {
		o.close()
		return s.status(err)
	}
	if status := s.admit(o, out); !status.Ok() {
		return status
	}
	o.node = n
	if len(n.opened) == 0 && s.mayPass(o, &m) {
		s.pass(o.id, n, o.fd)
	}
	n.opened = append(n.opened, o)
	if m.Links == 0 {
		s.keep(o)
	}
	if n.passed {
		s.count.passed.Add(1)
		// Without FOPEN_KEEP_CACHE the kernel drops what it cached of the file before it passed.
		out.OpenFlags, out.BackingID = fuse.FOPEN_PASSTHROUGH, n.backing
		if o.writes() {
			n.wrote.Store(true)
			s.unbelieve(o.id)
		}
	}
	return fuse.OK
}

func (s *fileSystem) admit(o *opened, out *fuse.OpenOut) fuse.Status {
	if err := s.add(o); err != nil {
		o.close()
		return s.status(err)
	}
	out.Fh = o.fh
	return fuse.OK
}

// mayPass says whether the kernel may read and write a file without asking. A write to one with set-user-ID or capabilities takes them away, which is for the kernel
// to see here.
func (s *fileSystem) mayPass(o *opened, m *tree.Meta) bool {
	if s.refused.Load() || o.file != nil && !o.file.Full() {
		return false
	}
	if m.Type() != unix.S_IFREG || m.Mode&(unix.S_ISUID|unix.S_ISGID) != 0 {
		return false
	}
	_, err := tree.GetXattr(o.fd, "", capabilities, nil)
	return err != nil
}

// pass makes a file known to the kernel, if it can. n.io is held.
func (s *fileSystem) pass(id uint64, n *node, fd int) {
	backing, err := fusedev.Open(s.seat.Device, fd)
	if err != nil {
		if !s.refused.Swap(true) {
			s.logger.Warn("the kernel cannot read and write complete files for its users: each access is carried, at several times the cost (Linux 6.9 can)", "err", err)
		}
		return
	}
	n.backing = backing
	if n.passing, err = s.seat.Table.Put(live.Record{Kind: passRecord, Key: id, Count: uint64(backing)}); err != nil {
		s.logger.Error("a file is carried that the kernel could read and write itself", "err", err)
		s.unpass(n)
		return
	}
	n.passed = true
}

// unpass takes a file back from the kernel. Handles that were opened with it go on. n.io is held.
func (s *fileSystem) unpass(n *node) {
	n.passed = false
	if err := fusedev.Close(s.seat.Device, n.backing); err != nil {
		s.logger.Error("BUG: a file that the kernel knows", "err", err)
	}
}

// writes says that a file was opened to be written to.
func (o *opened) writes() bool { return o.flags&unix.O_ACCMODE != unix.O_RDONLY }

// unbelieve has the kernel ask anew what it was told of an inode (FUSE_NOTIFY_INVAL_INODE of linux/fuse.h).
func (s *fileSystem) unbelieve(id uint64) {
	const headBytes, bodyBytes, notifyInvalInode = 16, 24, 2
	p := binary.NativeEndian.AppendUint32(nil, headBytes+bodyBytes)
	p = binary.NativeEndian.AppendUint32(p, notifyInvalInode)
	p = binary.NativeEndian.AppendUint64(p, 0)
	p = binary.NativeEndian.AppendUint64(p, id)
	p = binary.NativeEndian.AppendUint64(p, math.MaxUint64) // an offset of -1: what is cached of its content stays
	p = binary.NativeEndian.AppendUint64(p, 0)
	if _, err := unix.Write(s.seat.Device, p); err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENODEV) { // the kernel does not know it any more
		s.logger.Error("BUG: the kernel does not take a notice", "node", id, "err", err)
	}
}

// arrived has the kernel ask anew for a file that has arrived, if it knows it.
func (s *fileSystem) arrived(id uint64) {
	s.mu.Lock()
	known := s.nodes[id] != nil
	s.mu.Unlock()
	if known {
		s.unbelieve(id)
	}
}

// leave ends a handle.
func (s *fileSystem) leave(o *opened) {
	n := o.node
	n.io.Lock()
	defer n.io.Unlock()
	n.opened = slices.DeleteFunc(n.opened, func(other *opened) bool { return other == o })
	if o.kept {
		if err := s.seat.Drop(o.fh); err != nil {
			s.logger.Error("an open file", "err", err)
		}
	}
	if n.passed && o.writes() {
		s.unbelieve(o.id)
	}
	if len(n.opened) == 0 && n.passed {
		s.seat.Table.Drop(n.passing) // first: a file that the kernel knows in vain does no harm
		s.unpass(n)
	}
}
