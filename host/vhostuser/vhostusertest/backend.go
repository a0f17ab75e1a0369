package vhostusertest

import (
	"encoding/binary"
	"errors"
	"net"
	"os"
	"slices"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"usui/host/vhostuser"
)

// Backend is the other end of a vhost-user connection. Its fields are set before Start.
type Backend struct {
	Features         uint64 // of GET_FEATURES
	ProtocolFeatures uint64
	Queues           uint64 // of GET_QUEUE_NUM
	RingBase         uint32 // of GET_VRING_BASE

	// Mistakes change a whole reply, header and all; nil for none at all. A function may block, or call Die.
	Mistakes map[vhostuser.Request]func(reply []byte) []byte

	// Started and Stopped, if not nil, hear of rings, on the goroutine that answers: a reply waits for them.
	Started func(r Ring)
	Stopped func(index int)

	t    testing.TB
	conn *net.UnixConn
	done sync.WaitGroup

	mu       sync.Mutex
	requests []vhostuser.Request // guarded by mu, as all below
	accepted uint64
	regions  []vhostuser.Region
	files    []*os.File // of regions
	rings    map[int]*Ring
	ack      bool
}

// Ring is a queue as the back end knows it. Its files are closed when the ring is stopped or the back end ends.
type Ring struct {
	vhostuser.Ring
	KickFile, CallFile *os.File
	Enabled            bool
}

// Usual are the features of a good back end: version 1, indirect descriptors, event indices, and those of the protocol.
const Usual = 1<<32 | 1<<28 | 1<<29 | vhostuser.FeatureProtocol

// Start lets the back end run and returns the front end's socket. The test's end ends it.
func (b *Backend) Start(t testing.TB) *net.UnixConn {
	t.Helper()
	front, back := Pair(t)
	b.t, b.conn, b.rings = t, back, map[int]*Ring{}
	b.done.Go(b.serve) // ended by Die
	t.Cleanup(func() {
		b.Die()
		b.done.Wait()
	})
	return front
}

// Pair is a connected pair of sockets. The test's end closes the second one.
func Pair(t testing.TB) (front, back *net.UnixConn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var conns [2]*net.UnixConn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "socket")
		c, err := net.FileConn(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		conns[i] = c.(*net.UnixConn)
	}
	t.Cleanup(func() { conns[1].Close() })
	return conns[0], conns[1]
}

// Die ends the back end as the end of its process would.
func (b *Backend) Die() { b.conn.Close() }

// Say sends bytes that nobody asked for, with a descriptor.
func (b *Backend) Say(p []byte) {
	_, _, err := b.conn.WriteMsgUnix(p, unix.UnixRights(0), nil)
	if err != nil && !errors.Is(err, unix.EPIPE) && !errors.Is(err, net.ErrClosed) {
		b.t.Errorf("back end: %v", err)
	}
}

// Requests are the messages so far.
func (b *Backend) Requests() []vhostuser.Request {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.requests)
}

// Accepted are the features of the last SET_FEATURES, and Regions those of the last SET_MEM_TABLE.
func (b *Backend) Accepted() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.accepted
}

// Regions are those of the last SET_MEM_TABLE.
func (b *Backend) Regions() []vhostuser.Region {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.regions)
}

// Guest translates an address of the front end to one of the guest.
func (b *Backend) Guest(user uint64) (uint64, bool) {
	for _, r := range b.Regions() {
		if user-r.User < r.Size {
			return r.Guest + user - r.User, true
		}
	}
	return 0, false
}

// serve runs until the connection ends.
func (b *Backend) serve() {
	defer b.closeAll()
	for {
		header, rights := make([]byte, vhostuser.HeaderSize), make([]byte, 256)
		n, rn, _, _, err := b.conn.ReadMsgUnix(header, rights)
		if err != nil || n != len(header) {
			return // the front end has gone
		}
		payload := make([]byte, binary.LittleEndian.Uint32(header[8:]))
		if _, err := readFull(b.conn, payload); err != nil {
			b.t.Errorf("back end: read a payload of %d bytes: %v", len(payload), err)
			return
		}
		m := message{vhostuser.Request(binary.LittleEndian.Uint32(header)), binary.LittleEndian.Uint32(header[4:]), payload, received(rights[:rn])}
		reply, ok := b.handle(m)
		for _, f := range m.files { // those that were not kept
			if f != nil {
				f.Close()
			}
		}
		if !ok {
			continue
		}
		if mistake := b.Mistakes[m.request]; mistake != nil {
			reply = mistake(reply)
		}
		if _, err := b.conn.Write(reply); err != nil {
			return
		}
	}
}

func readFull(c *net.UnixConn, p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		var m int
		m, err = c.Read(p[n:])
		n += m
	}
	return n, err
}

func (b *Backend) closeAll() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range b.rings {
		b.closeRing(i)
	}
	b.closeFiles()
}

func (b *Backend) closeFiles() {
	for _, f := range b.files {
		f.Close()
	}
	b.files = nil
}

// closeRing forgets a ring. The caller holds mu.
func (b *Backend) closeRing(i int) {
	r := b.rings[i]
	if r == nil {
		return
	}
	for _, f := range []*os.File{r.KickFile, r.CallFile} {
		if f != nil {
			f.Close()
		}
	}
	delete(b.rings, i)
}

// received makes files of the descriptors of a message.
func received(rights []byte) (files []*os.File) {
	messages, err := unix.ParseSocketControlMessage(rights)
	if err != nil {
		return nil
	}
	for _, m := range messages {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			continue
		}
		for _, fd := range fds {
			unix.CloseOnExec(fd)
			files = append(files, os.NewFile(uintptr(fd), "received"))
		}
	}
	return files
}
