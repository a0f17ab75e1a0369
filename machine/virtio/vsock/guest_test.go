package vsock

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"usui/machine/virtio"
	"usui/machine/virtio/virtiotest"
)

const guestCID = 42

// guest is the driver of a device and the sockets above it, as far as a test needs them. It belongs to one goroutine.
type guest struct {
	*virtiotest.Driver
	t       testing.TB
	dev     *Vsock
	rx, tx  *virtiotest.Queue
	room    map[uint16][]virtiotest.Buffer // what is in the receive queue, by head
	senders []virtiotest.Buffer            // for one packet each, not in the transmit queue
	sending map[uint16]virtiotest.Buffer
}

// sendSize is the size of a packet that guests send, as Linux's are at most.
const sendSize = 64 << 10

// newDevice makes a device with a socket in a folder of its own, which goes with the test.
func newDevice(t testing.TB) *Vsock {
	t.Helper()
	dir, err := os.MkdirTemp("", "vsock") // not t.TempDir, whose path may be too long
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	d, err := New(Config{CID: guestCID, Path: filepath.Join(dir, "v.sock")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// boot starts a guest with 64 buffers of 4 KiB, as Linux has them.
func boot(t testing.TB, d *Vsock, features uint64) *guest {
	t.Helper()
	g := &guest{Driver: virtiotest.Start(t, d, virtiotest.Config{Features: features, Size: 128}), t: t, dev: d}
	g.begin()
	for range 64 {
		g.offer(g.In(headerSize + 4096))
	}
	return g
}

// begin takes the queues after a start.
func (g *guest) begin() {
	g.rx, g.tx = g.Queues[0], g.Queues[1]
	g.room, g.sending, g.senders = map[uint16][]virtiotest.Buffer{}, map[uint16]virtiotest.Buffer{}, nil
	for range 16 {
		g.senders = append(g.senders, g.Out(make([]byte, headerSize+sendSize)))
	}
}

// offer gives the device a buffer to receive into.
func (g *guest) offer(bufs ...virtiotest.Buffer) { g.room[g.rx.Add(bufs...)] = bufs }

// send sends a packet.
func (g *guest) send(h header, data string) {
	g.t.Helper()
	for head, _, ok := g.tx.Take(); ok; head, _, ok = g.tx.Take() {
		g.sent(head)
	}
	if len(g.senders) == 0 {
		head, _, ok := g.tx.Wait()
		if !ok {
			g.t.Fatalf("the device broke: %v", g.Broken())
		}
		g.sent(head)
	}
	b := g.senders[len(g.senders)-1]
	g.senders = g.senders[:len(g.senders)-1]
	mem := g.Bytes(b)
	h.store([][]byte{mem})
	copy(mem[headerSize:], data)
	used := b
	used.Len = uint32(headerSize + len(data))
	g.sending[g.tx.Add(used)] = b
}

func (g *guest) sent(head uint16) {
	if b, ours := g.sending[head]; ours { // else a test sent it by hand
		g.senders = append(g.senders, b)
		delete(g.sending, head)
	}
}

// packet is what a guest received.
type packet struct {
	header
	data string
}

func (p packet) String() string {
	return fmt.Sprintf("op %d, %d:%d to %d:%d, type %d, flags %d, len %d", p.op, p.srcCID, p.srcPort, p.dstCID, p.dstPort, p.kind, p.flags, p.len)
}

// recv waits for the next packet and gives its buffer back.
func (g *guest) recv() packet {
	g.t.Helper()
	head, n, ok := g.rx.Wait()
	if !ok {
		g.t.Fatalf("the device broke: %v", g.Broken())
	}
	return g.unpack(head, n)
}

func (g *guest) unpack(head uint16, n uint32) (p packet) {
	g.t.Helper()
	var all []byte
	for _, b := range g.room[head] {
		all = append(all, g.Bytes(b)...)
	}
	all = all[:n]
	if !p.parse([][]byte{all}) || int(p.len) != len(all)-headerSize {
		g.t.Fatalf("a packet of %d bytes: %v", n, p)
	}
	p.data = string(all[headerSize:])
	bufs := g.room[head]
	delete(g.room, head)
	g.offer(bufs...)
	return p
}

// socket is a guest's end of a connection.
type socket struct {
	g         *guest
	key       key
	got, sent uint32
	alloc     uint32 // what this end has room for
	peer      header // the last of the other end
}

// header begins a packet of the socket.
func (s *socket) header(op uint16) header {
	return header{srcCID: guestCID, dstCID: hostCID, srcPort: s.key.guest, dstPort: s.key.host, kind: typeStream, op: op, bufAlloc: s.alloc, fwdCnt: s.got}
}

func (s *socket) control(op uint16, flags uint32) {
	s.g.t.Helper()
	h := s.header(op)
	h.flags = flags
	s.g.send(h, "")
}

func (s *socket) write(data string) {
	s.g.t.Helper()
	h := s.header(opData)
	h.len = uint32(len(data))
	s.sent += h.len
	s.g.send(h, data)
}

// credit is how much the socket may send.
func (s *socket) credit() int { return int(s.peer.bufAlloc - (s.sent - s.peer.fwdCnt)) }

// want waits for the next packet, which must be of this connection and of that operation. News of credit may come at any time.
func (s *socket) want(op uint16) packet {
	s.g.t.Helper()
	p := s.g.recv()
	for ; p.op == opCreditUpdate && op != opCreditUpdate; p = s.g.recv() {
		if p.dstPort == s.key.guest && p.srcPort == s.key.host {
			s.peer = p.header
		}
	}
	if p.op != op || p.srcCID != hostCID || p.dstCID != guestCID || p.kind != typeStream || p.srcPort != s.key.host || p.dstPort != s.key.guest {
		s.g.t.Fatalf("got %v; want op %d from port %d to %d", p, op, s.key.host, s.key.guest)
	}
	s.peer = p.header
	s.got += p.len
	return p
}

// listener is a program of the host that listens for the guest.
func listenHost(t testing.TB, d *Vsock, port uint32) *net.UnixListener {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: portPath(d.Path, port)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func accept(t testing.TB, l *net.UnixListener) *net.UnixConn {
	t.Helper()
	c, err := l.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// connectGuest connects the guest's port 1000 to a program of the host.
func (g *guest) connect(l *net.UnixListener, guestPort, hostPort uint32) (*socket, *net.UnixConn) {
	g.t.Helper()
	s := &socket{g: g, key: key{host: hostPort, guest: guestPort}, alloc: 256 << 10}
	s.control(opRequest, 0)
	s.want(opResponse)
	return s, accept(g.t, l)
}

// dial is a program of the host that connects to the device and says something.
func dial(t testing.TB, d *Vsock, text string) *net.UnixConn {
	t.Helper()
	c, err := net.DialUnix("unix", nil, &net.UnixAddr{Net: "unix", Name: d.Path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if text != "" {
		write(t, c, text)
	}
	return c
}

// accept takes the connection that the host asks for next.
func (g *guest) accept(port uint32) *socket {
	g.t.Helper()
	p := g.recv()
	if p.op != opRequest || p.dstPort != port || p.srcPort < firstPort {
		g.t.Fatalf("got %v; want a request for port %d", p, port)
	}
	s := &socket{g: g, key: key{host: p.srcPort, guest: port}, alloc: 256 << 10, peer: p.header}
	s.control(opResponse, 0)
	return s
}

func write(t testing.TB, w io.Writer, text string) {
	t.Helper()
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
}

// read wants exactly that text next.
func read(t testing.TB, r io.Reader, want string) {
	t.Helper()
	b := make([]byte, len(want))
	if _, err := io.ReadFull(r, b); err != nil || string(b) != want {
		t.Fatalf("read %.100q, %v; want %.100q", b, err, want)
	}
}

// readEnd wants the end of the stream.
func readEnd(t testing.TB, r io.Reader) {
	t.Helper()
	if n, err := io.Copy(io.Discard, r); err != nil || n != 0 {
		t.Fatalf("%d more bytes, %v; want the end", n, err)
	}
}

// line reads a line, and not a byte more.
func line(t testing.TB, r io.Reader) string {
	t.Helper()
	text, err := bufio.NewReaderSize(oneByte{r}, 16).ReadString('\n')
	if err != nil {
		t.Fatalf("line %q: %v", text, err)
	}
	return strings.TrimSuffix(text, "\n")
}

type oneByte struct{ r io.Reader }

func (o oneByte) Read(p []byte) (int, error) { return o.r.Read(p[:1]) }

var features = map[string]uint64{"plain": 0, "event idx": virtio.FeatureEventIdx | virtio.FeatureIndirectDesc}

const allFeatures = virtio.FeatureEventIdx | virtio.FeatureIndirectDesc | FeatureStream
