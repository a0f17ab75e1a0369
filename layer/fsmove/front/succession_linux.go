package front

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"usui/layer/fsmove/live"
	"usui/layer/fsmove/tree"
)

// Kinds of records in the seat's table.
const (
	nodeRecord       = 1 // a node: counts its look-ups, and has its handle
	fileRecord       = 2 // an open file: has its node, its flags, and the request that opened it
	folderRecord     = 3 // likewise, of a folder
	passRecord       = 4 // a file that the kernel reads and writes itself, by its node: counts nothing, but has the kernel's number there
	connectionRecord = 6 // the connection, by its number
	exchangeRecord   = 5 // a request to exchange two names: has the handle of what the first one was
)

// resent is FUSE_UNIQUE_RESEND of linux/fuse.h: the kernel has sent a request before, to a process that has not answered.
const resent = 1 << 63

// asked is the number of a request, however often it was sent.
func asked(in *fuse.InHeader) uint64 { return in.Unique &^ resent }

// done says that a request was sent before, and that the error is what doing it twice gives. The kernel holds the folder's lock (for attributes, the inode's) from before it looked for the name until the request is
// answered, so that nobody else has made or removed it since. What a client removes that was never there, an attribute, it may be told was there.
func done(in *fuse.InHeader, err error, twice unix.Errno) bool {
	return in.Unique&resent != 0 && errors.Is(err, twice)
}

// record is that of an open file.
func (o *opened) record(fh uint64) live.Record {
	p := binary.NativeEndian.AppendUint64(nil, o.id)
	p = binary.NativeEndian.AppendUint64(p, uint64(o.flags))
	p = binary.NativeEndian.AppendUint64(p, o.asked)
	kind := byte(fileRecord)
	if o.flags&unix.O_DIRECTORY != 0 {
		kind = folderRecord
	}
	return live.Record{Kind: kind, Key: fh, Data: p}
}

// restore goes on where a process before this one was: with the nodes that the kernel knows, and what it has open.
func (s *fileSystem) restore() error {
	// No number of an open file is ever used again: the kernel may send again that it is closed.
	s.lastOpen = s.seat.Table.Users().Add(1) << 40
	var files []*opened
	for slot, r := range s.seat.Table.All() {
		switch r.Kind {
		case nodeRecord:
			s.restoreNode(slot, r)
		case fileRecord, folderRecord:
			if len(r.Data) != 24 {
				return fmt.Errorf("the record of an open file has %d bytes", len(r.Data))
			}
			o := &opened{fd: -1, fh: r.Key, slot: slot, id: binary.NativeEndian.Uint64(r.Data), flags: int(binary.NativeEndian.Uint64(r.Data[8:])), asked: binary.NativeEndian.Uint64(r.Data[16:])}
			s.opened[o.fh], s.asked[o.asked] = o, o.fh
			files = append(files, o)
		}
	}
	for _, o := range files {
		if err := s.reopen(o); err != nil {
			s.logger.Error("a client's open file is lost", "node", o.id, "err", err)
		}
	}
	for slot, r := range s.seat.Table.All() {
		if r.Kind != passRecord {
			continue
		}
		n := s.nodes[r.Key]
		if n != nil && len(n.opened) > 0 {
			n.passed, n.backing, n.passing = true, int32(r.Count), slot
			continue
		}
		s.seat.Table.Drop(slot)
		s.unpass(&node{backing: int32(r.Count)}) // nobody was told of it
	}
	for fh, fd := range s.seat.Kept { // of files that were closed in the moment when the process ended
		delete(s.seat.Kept, fh)
		_ = unix.Close(fd) // what was written is looked after by fsync
		if err := s.seat.Drop(fh); err != nil {
			s.logger.Error("an open file", "err", err)
		}
	}
	return nil
}

// restoreNode has a node that the kernel knows. Of two with one number, which a process leaves that ends when the number is taken over, it is the one that is still there.
func (s *fileSystem) restoreNode(slot live.Slot, r live.Record) {
	n := &node{handle: tree.Handle(r.Data), slot: slot, lookups: s.seat.Table.Count(slot)}
	n.wrote.Store(true) // perhaps: what it had told of that is not kept
	if other := s.nodes[r.Key]; other != nil {
		fd, err := s.dst.Open(n.handle, unix.O_PATH)
		if err != nil {
			s.seat.Table.Drop(slot)
			return
		}
		_ = unix.Close(fd)
		s.seat.Table.Drop(other.slot)
	}
	s.nodes[r.Key] = n
}

// reopen opens what another process had open.
func (s *fileSystem) reopen(o *opened) (err error) {
	n := s.nodes[o.id]
	if n == nil {
		return unix.ESTALE
	}
	if o.flags&unix.O_DIRECTORY == 0 {
		o.node = n
		n.opened = append(n.opened, o)
		if o.file, err = s.m.Use(n.handle); err != nil {
			return err
		}
	}
	if fd, ok := s.seat.Kept[o.fh]; ok {
		delete(s.seat.Kept, o.fh)
		o.fd, o.kept = fd, true
		return nil
	}
	o.fd, err = s.dst.Open(n.handle, o.flags)
	return err
}

// forgetAsked ends an open file that a process before this one opened for the same request: its answer has never arrived.
func (s *fileSystem) forgetAsked(request uint64) {
	s.mu.Lock()
	fh, ok := s.asked[request]
	delete(s.asked, request)
	s.mu.Unlock()
	if ok {
		s.remove(fh)
	}
}

// keep has an open file without a name outlive this process. o.node.io is held.
func (s *fileSystem) keep(o *opened) {
	if o.kept || o.fd < 0 {
		return
	}
	o.kept = true
	if err := s.seat.Keep(o.fh, o.fd); err != nil {
		s.logger.Error("an open file without a name", "err", err)
	}
}

// last is called before a name goes: if it is the last one of a file that somebody has open, that is kept. The file's handles stay as they are until what it returns is called.
func (s *fileSystem) last(dir int, name string) (done func()) {
	m, err := tree.Stat(dir, name)
	if err != nil || m.Type() != unix.S_IFREG || m.Links > 1 {
		return func() {}
	}
	s.mu.Lock()
	n := s.nodes[m.Ino]
	s.mu.Unlock()
	if n == nil {
		return func() {}
	}
	n.io.Lock()
	for _, o := range n.opened {
		s.keep(o)
	}
	return n.io.Unlock
}

// exchange renames in a way that gives something else when it is done twice. Its record stays until it is answered.
func (s *fileSystem) exchange(in *fuse.RenameIn, old int, from string, dir int, to string) error {
	request := asked(&in.InHeader)
	if in.Unique&resent != 0 {
		for slot, r := range s.seat.Table.All() {
			if r.Kind != exchangeRecord || r.Key != request {
				continue
			}
			s.exchanges.Store(request, slot)
			if now, err := tree.HandleOf(dir, to); err == nil && now == tree.Handle(r.Data) {
				return nil
			}
			return unix.Renameat2(old, from, dir, to, uint(in.Flags))
		}
	}
	h, err := tree.HandleOf(old, from)
	if err != nil {
		return err
	}
	slot, err := s.seat.Table.Put(live.Record{Kind: exchangeRecord, Key: request, Data: []byte(h)})
	if err != nil {
		return err
	}
	s.exchanges.Store(request, slot)
	return unix.Renameat2(old, from, dir, to, uint(in.Flags))
}

// answered drops what was remembered of a request until it was answered.
func (s *fileSystem) answered(request []byte) {
	const rename2 = 45 // FUSE_RENAME2 of linux/fuse.h
	if opcode(request) != rename2 {
		return
	}
	if slot, ok := s.exchanges.LoadAndDelete(unique(request) &^ resent); ok {
		s.seat.Table.Drop(slot.(live.Slot))
	}
}

// remember keeps the request with which a connection begins.
func (d *Mount) remember(request []byte) error {
	const initOpcode = 26 // FUSE_INIT of linux/fuse.h
	if opcode(request) != initOpcode {
		return nil
	}
	return d.seat.Table.SetText(request)
}

// succeed goes on with a connection that another process began, and has the kernel send again what that has not answered.
func (d *Mount) succeed() error {
	begun := d.seat.Table.Text()
	if begun != nil { // else the kernel asks that of this one
		p := make([]byte, largeBytes)
		n, status := d.protocol.HandleRequest([][]byte{begun}, [][]byte{p})
		if !status.Ok() {
			return fmt.Errorf("to begin as the process before this one: %v", status)
		}
		_, _ = unix.Write(d.dev, p[:n]) // or that has done so, and it is not waited for
	}
	const headBytes, notifyResend = 16, 7 // struct fuse_out_header, FUSE_NOTIFY_RESEND
	notice := binary.NativeEndian.AppendUint32(nil, headBytes)
	notice = binary.NativeEndian.AppendUint32(notice, notifyResend)
	notice = binary.NativeEndian.AppendUint64(notice, 0)
	if _, err := unix.Write(d.dev, notice); err != nil {
		return fmt.Errorf("the kernel does not send again what was not answered (Linux 6.9 does): %w", err)
	}
	return nil
}
