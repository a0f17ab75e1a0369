package vsock

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"usui/machine/virtio/virtiotest"
)

func TestDescription(t *testing.T) {
	d := newDevice(t)
	p := bytes.Repeat([]byte{1}, 10)
	d.WriteConfig(p, 0)
	d.ReadConfig(p, 0)
	if want := []byte{guestCID, 0, 0, 0, 0, 0, 0, 0, 0, 0}; !bytes.Equal(p, want) {
		t.Errorf("config %v, want %v", p, want)
	}
	d.ReadConfig(p[:2], -1)
	d.ReadConfig(p[2:4], 8)
	if !bytes.Equal(p[:4], make([]byte, 4)) {
		t.Errorf("config beyond its ends is %v", p[:4])
	}
	if d.ID() != 19 || d.Features() != FeatureStream || len(d.QueueSizes()) != 3 {
		t.Errorf("ID %d, features %#x, %d queues", d.ID(), d.Features(), len(d.QueueSizes()))
	}
	if err := d.Start(0, nil); err == nil {
		t.Error("Start without queues succeeded")
	}
	virtiotest.Start(t, d, virtiotest.Config{Missing: []int{0}})
}

func TestGuestConnects(t *testing.T) {
	for name, f := range features {
		t.Run(name, func(t *testing.T) {
			g := boot(t, newDevice(t), f)
			s, c := g.connect(listenHost(t, g.dev, 1024), 1000, 1024)
			if s.peer.bufAlloc != window || s.peer.fwdCnt != 0 {
				t.Errorf("credit of the host: %d, %d forwarded; want %d, 0", s.peer.bufAlloc, s.peer.fwdCnt, window)
			}
			for i := range 20 {
				s.write(fmt.Sprint("to the host ", i))
				read(t, c, fmt.Sprint("to the host ", i))
				write(t, c, fmt.Sprint("to the guest ", i))
				if p := s.want(opData); p.data != fmt.Sprint("to the guest ", i) || p.fwdCnt != s.sent {
					t.Fatalf("the guest got %q, and %d bytes are on, of %d", p.data, p.fwdCnt, s.sent)
				}
			}
		})
	}
}

func TestHostConnects(t *testing.T) {
	g := boot(t, newDevice(t), allFeatures)
	for i, text := range []string{"CONNECT 52\n", "connect  52 \r\n", "CONNECT 52\nfirst", "CONNECT 00000000000000000000052\n"} {
		c := dial(t, g.dev, text)
		s := g.accept(52)
		if want := fmt.Sprint("OK ", s.key.host); line(t, c) != want || s.key.host != firstPort+uint32(i) {
			t.Errorf("%q: not answered by %q, or not the next port", text, want)
		}
		if i == 2 && s.want(opData).data != "first" {
			t.Error("what follows the line was lost")
		}
		s.write("hello")
		read(t, c, "hello")
		write(t, c, "world")
		if got := s.want(opData).data; got != "world" {
			t.Errorf("the guest got %q", got)
		}
	}
	if s := g.dev.Stats(); s.Opened != 4 || s.Open != 4 || s.BytesToGuest != 25 || s.BytesFromGuest != 20 {
		t.Errorf("Stats = %+v", s)
	}
}

// A client may say its line in pieces.
func TestHostConnectsInPieces(t *testing.T) {
	g := boot(t, newDevice(t), allFeatures)
	c := dial(t, g.dev, "")
	for _, b := range "CONNECT 4294967295\nx" {
		write(t, c, string(b))
		g.dev.TransportReset() // a wake-up that has nothing to do with it
	}
	s := g.accept(1<<32 - 1)
	line(t, c)
	if got := s.want(opData).data; got != "x" {
		t.Errorf("the guest got %q, want x", got)
	}
}

func TestClientsThatMakeNoSense(t *testing.T) {
	g := boot(t, newDevice(t), allFeatures)
	for _, text := range []string{
		"\n", "CONNECT\n", "CONNECT 52 53\n", "CONNECT -1\n", "CONNECT 4294967296\n", "HELLO 52\n", strings.Repeat("x", 100), "CONNECT                            ",
	} {
		readEnd(t, closeWritten{dial(t, g.dev, text)})
	}
	half := dial(t, g.dev, "CONNECT")
	half.CloseWrite()
	readEnd(t, half)
	if s := g.dev.Stats(); s.Open != 0 || s.PacketsToGuest != 0 {
		t.Errorf("Stats = %+v, want nothing open and nothing said", s)
	}
}

// closeWritten reads from a connection that its peer closes with bytes unread, which is a reset.
type closeWritten struct{ r io.Reader }

func (c closeWritten) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if err != nil {
		err = io.EOF
	}
	return n, err
}

func TestGuestRefuses(t *testing.T) {
	g := boot(t, newDevice(t), allFeatures)
	c := dial(t, g.dev, "CONNECT 52\n")
	p := g.recv()
	s := &socket{g: g, key: key{host: p.srcPort, guest: 52}}
	s.control(opReset, 0)
	readEnd(t, c)
	if s := g.dev.Stats(); s.Refused != 1 || s.Open != 0 || s.Opened != 0 {
		t.Errorf("Stats = %+v, want one refused", s)
	}
}

// Each packet is answered by a reset that goes back where it came from, or by nothing.
func TestRefusals(t *testing.T) {
	g := boot(t, newDevice(t), allFeatures)
	good := header{srcCID: guestCID, dstCID: hostCID, srcPort: 7, dstPort: 8, kind: typeStream, op: opRequest}
	for name, change := range map[string]func(h *header){
		"nobody listens":         func(h *header) {},
		"another machine":        func(h *header) { h.dstCID = 5 },
		"its own CID":            func(h *header) { h.dstCID = guestCID },
		"a CID of 64 bits":       func(h *header) { h.dstCID = hostCID | 1<<40 },
		"a seqpacket":            func(h *header) { h.kind = 2 },
		"no type":                func(h *header) { h.kind = 0 },
		"a response":             func(h *header) { h.op = opResponse },
		"data":                   func(h *header) { h.op, h.len = opData, 1<<31 },
		"credit":                 func(h *header) { h.op = opCreditUpdate },
		"a question":             func(h *header) { h.op = opCreditRequest },
		"a shutdown":             func(h *header) { h.op, h.flags = opShutdown, 3 },
		"no operation":           func(h *header) { h.op = 0 },
		"an unknown operation":   func(h *header) { h.op = 0xffff },
		"all bits in the counts": func(h *header) { h.bufAlloc, h.fwdCnt, h.flags = 1<<32-1, 1<<32-1, 1<<32-1 },
	} {
		h := good
		change(&h)
		g.send(h, "")
		p := g.recv()
		want := header{srcCID: h.dstCID, dstCID: guestCID, srcPort: 8, dstPort: 7, kind: h.kind, op: opReset}
		if p.header != want {
			t.Errorf("%s: got %v, want %v", name, p, packet{header: want})
		}
	}
	// These get no answer: what comes next is that to the last.
	reset := good
	reset.op = opReset
	g.send(reset, "")
	foreign := good
	foreign.srcCID = 43
	g.send(foreign, "")
	g.tx.Add(g.Out(make([]byte, headerSize-1)))
	g.tx.Add(g.In(headerSize))
	last := good
	last.srcPort = 99
	g.send(last, "")
	if p := g.recv(); p.dstPort != 99 {
		t.Errorf("got %v, want the answer to the last packet", p)
	}
	if s := g.dev.Stats(); s.Dropped != 3 || s.Open != 0 {
		t.Errorf("Stats = %+v, want 3 packets dropped", s)
	}
}

// stream is n bytes that are the same each time.
func stream(seed byte, n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

// TestStreamsKeepTheirBytes sends 16 MiB each way at the same time, with a guest that has little room and a reader that stalls.
func TestStreamsKeepTheirBytes(t *testing.T) {
	const size = 16 << 20
	for name, f := range features {
		t.Run(name, func(t *testing.T) {
			g := boot(t, newDevice(t), f)
			s, c := g.connect(listenHost(t, g.dev, 1), 2, 1)
			var host sync.WaitGroup
			defer host.Wait()
			host.Go(func() {
				if n, err := c.Write(stream(1, size)); n != size || err != nil {
					t.Errorf("the host wrote %d bytes, %v", n, err)
				}
				c.CloseWrite()
			})
			got := sha256.New()
			host.Go(func() {
				if n, err := io.Copy(got, c); n != size || err != nil {
					t.Errorf("the host read %d bytes, %v", n, err)
				}
			})
			theirs := sha256.New()
			mine := stream(2, size)
			ended := false
			for told := uint32(0); ; {
				for len(mine) > 0 && s.credit() > 0 {
					n := min(s.credit(), sendSize, len(mine))
					s.write(string(mine[:n]))
					if mine = mine[n:]; len(mine) == 0 {
						s.control(opShutdown, noSend)
					}
				}
				if ended && len(mine) == 0 {
					break
				}
				p := g.recv()
				ended = ended || p.op == opShutdown && p.flags&noSend != 0
				s.peer = p.header
				s.got += p.len
				io.WriteString(theirs, p.data)
				if p.op == opCreditRequest || s.got-told > s.alloc/2 {
					told = s.got
					s.control(opCreditUpdate, 0)
				}
			}
			host.Wait()
			if want := sha256.Sum256(stream(1, size)); !bytes.Equal(theirs.Sum(nil), want[:]) {
				t.Errorf("the guest got %d other bytes", s.got)
			}
			if want := sha256.Sum256(stream(2, size)); !bytes.Equal(got.Sum(nil), want[:]) {
				t.Error("the host got other bytes")
			}
			g.Stop()
			if st := g.dev.Stats(); st.BytesFromGuest != size || st.BytesToGuest != size || st.Violations != 0 || st.Take.Count() != st.PacketsFromGuest {
				t.Errorf("Stats = %+v", st)
			}
		})
	}
}

func TestGuestHalfCloses(t *testing.T) {
	g := boot(t, newDevice(t), allFeatures)
	s, c := g.connect(listenHost(t, g.dev, 1), 2, 1)
	s.write("last words")
	s.control(opShutdown, noSend)
	read(t, c, "last words")
	readEnd(t, c)
	write(t, c, "go on")
	if got := s.want(opData).data; got != "go on" {
		t.Errorf("the guest got %q", got)
	}
	c.CloseWrite()
	if p := s.want(opShutdown); p.flags&noSend == 0 {
		t.Errorf("flags %d, want %d", p.flags, noSend)
	}
	s.control(opShutdown, noMore)
	s.want(opReset)
}

func TestHostHalfCloses(t *testing.T) {
	g := boot(t, newDevice(t), allFeatures)
	s, c := g.connect(listenHost(t, g.dev, 1), 2, 1)
	write(t, c, "last words")
	c.CloseWrite()
	if got := s.want(opData).data; got != "last words" {
		t.Errorf("the guest got %q", got)
	}
	if p := s.want(opShutdown); p.flags != noSend {
		t.Errorf("flags %d, want %d", p.flags, noSend)
	}
	s.write("go on")
	read(t, c, "go on")
	s.control(opShutdown, noMore)
	s.want(opReset)
	readEnd(t, c)
}

func TestGuestReadsNoMore(t *testing.T) {
	g := boot(t, newDevice(t), allFeatures)
	s, c := g.connect(listenHost(t, g.dev, 1), 2, 1)
	s.control(opShutdown, noReceive)
	for {
		if _, err := c.Write(make([]byte, 1000)); err != nil {
			break // EPIPE, when the device has heard, even if it waited for room
		}
	}
	s.write("go on")
	read(t, c, "go on")
	c.Close()
	s.want(opReset)
}

func TestHostReadsNoMore(t *testing.T) {
	g := boot(t, newDevice(t), allFeatures)
	s, c := g.connect(listenHost(t, g.dev, 1), 2, 1)
	c.CloseRead()
	s.write("nobody hears")
	if p := s.want(opShutdown); p.flags != noReceive {
		t.Errorf("flags %d, want %d", p.flags, noReceive)
	}
	for range 10 { // more than the window: what is dropped is credit again
		s.write(strings.Repeat("x", sendSize))
		for s.credit() < sendSize {
			s.want(opCreditUpdate)
		}
	}
	write(t, c, "go on")
	if got := s.want(opData).data; got != "go on" {
		t.Errorf("the guest got %q", got)
	}
}

func TestHostCloses(t *testing.T) {
	g := boot(t, newDevice(t), allFeatures)
	l := listenHost(t, g.dev, 1)
	s, c := g.connect(l, 2, 1)
	c.Close()
	if p := s.want(opShutdown); p.flags != noMore {
		t.Errorf("flags %d, want %d", p.flags, noMore)
	}
	s.write("on its way")
	s.control(opReset, 0)
	again, _ := g.connect(l, 2, 1) // the ports are free
	again.control(opShutdown, noMore)
	again.want(opReset)
	if s := g.dev.Stats(); s.Open != 0 || s.Violations != 0 {
		t.Errorf("Stats = %+v, want nothing open", s)
	}
}

// A reader with bytes unread that closes is a reset, as in TCP.
func TestHostClosesWithoutReading(t *testing.T) {
	g := boot(t, newDevice(t), allFeatures)
	s, c := g.connect(listenHost(t, g.dev, 1), 2, 1)
	s.write("unread")
	s.control(opCreditRequest, 0)
	s.want(opCreditUpdate)
	c.Close()
	s.want(opReset)
}

// TestNoCredit has a guest without room: it is asked once, and gets nothing that it has no room for.
func TestNoCredit(t *testing.T) {
	g := boot(t, newDevice(t), allFeatures)
	l := listenHost(t, g.dev, 1)
	s := &socket{g: g, key: key{host: 1, guest: 2}}
	s.control(opRequest, 0)
	s.want(opResponse)
	c := accept(t, l)
	write(t, c, "0123456789")
	s.want(opCreditRequest)
	s.alloc = 4
	s.control(opCreditUpdate, 0)
	if got := s.want(opData).data; got != "0123" {
		t.Fatalf("the guest got %q and has room for 4 bytes", got)
	}
	s.want(opCreditRequest)
	s.alloc = 5
	s.control(opCreditUpdate, 0)
	if got := s.want(opData).data; got != "45678" {
		t.Fatalf("the guest got %q and has room for 5 bytes", got)
	}
	s.want(opCreditRequest)
	for _, nonsense := range []header{{bufAlloc: 100, fwdCnt: 1 << 31}, {bufAlloc: 0, fwdCnt: 9}, {bufAlloc: 100, fwdCnt: 10}} {
		h := s.header(opCreditUpdate)
		h.bufAlloc, h.fwdCnt = nonsense.bufAlloc, nonsense.fwdCnt
		g.send(h, "")
	}
	s.control(opCreditRequest, 0)
	s.want(opCreditUpdate) // and nothing before it
	s.alloc, s.got = 1<<32-1, 9
	s.control(opCreditUpdate, 0)
	if got := s.want(opData).data; got != "9" {
		t.Errorf("the guest got %q", got)
	}
}

// TestSlowReader has a program of the host that does not read: others go on, the guest is told when there is room, and all of it
// arrives, even when the guest is done before.
func TestSlowReader(t *testing.T) {
	g := boot(t, newDevice(t), allFeatures)
	slow, sleeper := g.connect(listenHost(t, g.dev, 1), 2, 1)
	total := 0
	for slow.credit() > 0 {
		n := min(slow.credit(), sendSize)
		slow.write(string(stream(3, total+n)[total:]))
		if total += n; slow.credit() == 0 {
			slow.control(opCreditRequest, 0) // is there more room by now?
			slow.want(opCreditUpdate)
		}
	}
	if s := g.dev.Stats(); s.Stalls == 0 || total < window {
		t.Fatalf("%d bytes sent, %d stalls: the reader is not slow", total, s.Stalls)
	}
	quick, c := g.connect(listenHost(t, g.dev, 5), 6, 5)
	for range 100 {
		quick.write("ping")
		read(t, c, "ping")
		write(t, c, "pong")
		if got := quick.want(opData).data; got != "pong" {
			t.Fatalf("the guest got %q", got)
		}
	}
	slow.control(opShutdown, noMore)
	slow.want(opReset)
	slow.control(opRequest, 0) // the guest has forgotten it, so the ports are free
	slow.want(opResponse)
	read(t, sleeper, string(stream(3, total)))
	readEnd(t, sleeper)
}

// A reader that goes on is told to the guest, which then goes on, too.
func TestSlowReaderGoesOn(t *testing.T) {
	g := boot(t, newDevice(t), allFeatures)
	s, c := g.connect(listenHost(t, g.dev, 1), 2, 1)
	for s.credit() > 0 {
		s.write(strings.Repeat("x", min(s.credit(), sendSize)))
		if s.credit() == 0 && s.peer.fwdCnt < window/2 {
			s.want(opCreditUpdate)
		}
	}
	read(t, c, strings.Repeat("x", int(s.sent)))
	for s.peer.fwdCnt+window/2 < s.sent {
		s.want(opCreditUpdate)
	}
	s.write("on")
	s.control(opShutdown, noSend)
	read(t, c, "on")
	readEnd(t, c)
}

func TestGuestIgnoresCredit(t *testing.T) {
	g := boot(t, newDevice(t), allFeatures)
	l := listenHost(t, g.dev, 1)
	other, oc := g.connect(l, 3, 1)
	s, _ := g.connect(l, 2, 1)
	for range 20 { // the window and the socket's buffer, and more
		s.write(strings.Repeat("x", sendSize))
	}
	for {
		if p := g.recv(); p.op == opReset && p.dstPort == 2 {
			break
		} else if p.op != opCreditUpdate {
			t.Fatalf("got %v, want a reset", p)
		}
	}
	if n := g.dev.Stats().Violations; n != 1 {
		t.Errorf("%d violations, want 1", n)
	}
	other.write("unharmed")
	read(t, oc, "unharmed")
}

// TestViolations wants a reset of the connection for each of these.
func TestViolations(t *testing.T) {
	g := boot(t, newDevice(t), allFeatures)
	l := listenHost(t, g.dev, 1)
	for name, do := range map[string]func(s *socket){
		"longer than its chain": func(s *socket) {
			h := s.header(opData)
			h.len = 5
			g.send(h, "four")
		},
		"much longer": func(s *socket) {
			h := s.header(opData)
			h.len = 1<<32 - 1
			g.send(h, "")
		},
		"a request":            func(s *socket) { s.control(opRequest, 0) },
		"a response":           func(s *socket) { s.control(opResponse, 0) },
		"no operation":         func(s *socket) { s.control(0, 0) },
		"an unknown operation": func(s *socket) { s.control(8, 0) },
		"data after its end": func(s *socket) {
			s.control(opShutdown, noSend)
			s.write("more")
		},
	} {
		t.Run(name, func(t *testing.T) {
			before := g.dev.Stats().Violations
			s, c := g.connect(l, 2, 1)
			do(s)
			s.want(opReset)
			readEnd(t, c)
			if n := g.dev.Stats().Violations; n != before+1 {
				t.Errorf("%d violations, want 1", n-before)
			}
		})
	}
	c := dial(t, g.dev, "CONNECT 9\n")
	p := g.recv()
	s := &socket{g: g, key: key{host: p.srcPort, guest: 9}}
	s.write("no answer")
	s.want(opReset)
	readEnd(t, c)
}

// Packets and buffers may be cut anywhere (virtio 1.2 section 2.7.4).
func TestPacketsInPieces(t *testing.T) {
	g := boot(t, newDevice(t), allFeatures)
	s, c := g.connect(listenHost(t, g.dev, 1), 2, 1)
	h := s.header(opData)
	h.len = 11
	mem := make([]byte, headerSize+20)
	h.store([][]byte{mem})
	copy(mem[headerSize:], "hello worldnot this")
	g.tx.PutIndirect(g.Out(mem[:1]), g.Out(mem[1:40]), g.Out(mem[40:46]), g.Out(mem[46:50]), g.Out(mem[50:]), g.In(10))
	g.tx.Publish()
	read(t, c, "hello world")

	for len(g.room) > 0 { // use up the buffers of the usual shape
		write(t, c, "x")
		head, n, _ := g.rx.Wait()
		if n != headerSize+1 {
			t.Fatalf("a packet of %d bytes, want 1 of payload", n)
		}
		s.got += n - headerSize
		delete(g.room, head)
	}
	g.offer(g.In(headerSize))                                // no room for a byte
	g.offer(g.In(1))                                         // nor for a header
	g.offer(g.Out([]byte("not to write")))                   // nor for anything
	g.offer(g.In(3), g.In(headerSize-3+2), g.In(1), g.In(5)) // for 8 bytes
	g.offer(g.In(headerSize+1), g.In(1))                     // for 2
	write(t, c, "0123456789")
	got := ""
	for len(got) < 10 {
		head, n, _ := g.rx.Wait()
		if n == 0 {
			continue
		}
		bufs := g.room[head]
		got += g.unpack(head, n).data
		if len(bufs) == 1 {
			t.Fatalf("a packet in %+v", bufs)
		}
	}
	if got != "0123456789" {
		t.Errorf("the guest got %q", got)
	}
	if n := g.dev.Stats().Unusable; n < 3 {
		t.Errorf("%d buffers were unusable, want the 3", n)
	}
}

func TestTransportReset(t *testing.T) {
	d := newDevice(t)
	d.TransportReset() // before there is a driver
	g := boot(t, d, allFeatures)
	l := listenHost(t, d, 1)
	_, c := g.connect(l, 2, 1)
	event := g.In(4)
	g.Queues[2].Add(g.In(3)) // too small
	g.Queues[2].Wait()
	g.Queues[2].Add(event)
	if _, n, ok := g.Queues[2].Wait(); !ok || n != 4 || !bytes.Equal(g.Bytes(event), make([]byte, 4)) {
		t.Errorf("event of %d bytes, % x", n, g.Bytes(event))
	}
	readEnd(t, c)
	g.connect(l, 2, 1)
	g.Queues[2].Add(event)
	g.connect(l, 3, 1)
	d.TransportReset()
	if _, _, ok := g.Queues[2].Wait(); !ok {
		t.Error("the second reset brings no event")
	}
}

func TestSocketFile(t *testing.T) {
	old := unix.Umask(0)
	defer unix.Umask(old)
	d := newDevice(t)
	info, err := os.Lstat(d.Path)
	if err != nil || info.Mode() != os.ModeSocket|0o600 {
		t.Errorf("mode %v, %v; want a socket that is 0600", info.Mode(), err)
	}
	dir := filepath.Dir(d.Path)
	for path, want := range map[string]string{
		d.Path:                           "in use: somebody listens there; choose another path",
		filepath.Join(dir, "none/v"):     "no such file or directory",
		dir:                              "no socket; choose another one",
		dir + strings.Repeat("x", 96):    "at most 96; choose a shorter one",
		"":                               "no path",
		filepath.Join(dir, "stale.sock"): "left over: nobody listens there any more; remove it (rm " + dir + "/stale.sock)",
	} {
		if strings.HasSuffix(path, "stale.sock") {
			fd, _, err := listen(path)
			if err != nil {
				t.Fatal(err)
			}
			unix.Close(fd)
		}
		if _, err := New(Config{CID: 3, Path: path}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New(%s) = %v, want %q", path, err, want)
		}
	}
	for _, cid := range []uint32{0, 1, 2, 1<<32 - 1} {
		if _, err := New(Config{CID: cid, Path: filepath.Join(dir, "x")}); err == nil {
			t.Errorf("CID %d was taken", cid)
		}
	}
	if err := d.Close(); err != nil {
		t.Errorf("Close = %v", err)
	}
	if _, err := os.Lstat(d.Path); !os.IsNotExist(err) {
		t.Errorf("the socket is still there: %v", err)
	}
}

// A socket that somebody put in the place of ours is not ours to remove.
func TestCloseLeavesAnothersSocket(t *testing.T) {
	d := newDevice(t)
	if err := os.Remove(d.Path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(d.Path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Errorf("Close = %v", err)
	}
	if _, err := os.Lstat(d.Path); err != nil {
		t.Error(err)
	}
}
