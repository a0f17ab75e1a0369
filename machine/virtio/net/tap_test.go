package net

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"log/slog"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"usui/host/need"
	"usui/host/tap"
	"usui/machine/virtio/virtiotest"
)

// Addresses of the two ends of the cable, and the port of both.
var (
	hostIP  = []byte{10, 9, 0, 1}
	guestIP = []byte{10, 9, 0, 2}
)

const testPort = 4321

// cabled is a card on a tap, in a network of the test's own. The test's goroutine is in that network.
type cabled struct {
	*card
	tap    *tap.Tap
	socket int // UDP, the host's
	posted []chainsOf
}

// plug makes one. Its driver has buffers up on all queues.
func plug(t *testing.T, pairs int) *cabled {
	t.Helper()
	need.Root(t)
	need.Tun(t)
	ip := need.Tool(t, "ip", "iproute2")
	runtime.LockOSThread() // for ever: the thread ends with the test
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	host, err := tap.Make(pairs)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { host.Close() })
	c := &cabled{card: &card{log: &lines{}}, tap: host}
	c.run(t, ip, "addr", "add", "10.9.0.1/24", "dev", host.Name())
	c.run(t, ip, "neigh", "add", "10.9.0.2", "lladdr", fmt.Sprintf("%x:%x:%x:%x:%x:%x", testMAC[0], testMAC[1], testMAC[2], testMAC[3], testMAC[4], testMAC[5]), "dev", host.Name())
	if c.socket, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(c.socket) })
	if err := unix.Bind(c.socket, &unix.SockaddrInet4{Port: testPort}); err != nil {
		t.Fatal(err)
	}
	c.dev, err = New(Config{Name: host.Name(), Backend: NewTap(host), MAC: testMAC, Log: slog.New(slog.NewTextHandler(c.log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	c.dev.OnChange(func() { c.changes.Add(1) })
	c.Driver = virtiotest.Start(t, c.dev, virtiotest.Config{Features: allFeatures & (c.dev.Features() | 1<<28 | 1<<29), Size: 128})
	for i := range pairs {
		c.posted = append(c.posted, chainsOf{})
		for c.rx(i).Free() > 0 {
			c.offer(c.rx(i), c.posted[i], 1536)
		}
		c.rx(i).Publish()
	}
	return c
}

func (c *cabled) run(t *testing.T, argv ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), argv[0], argv[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%q: %v\n%s", argv, err, out)
	}
}

// from has the guest send a message.
func (c *cabled) from(message []byte) {
	c.tx(0).Add(c.Out(message))
	c.tx(0).Wait()
}

// to waits for a message to the guest of an Ethernet type: the host says hello to its new neighbours by itself.
func (c *cabled) to(t *testing.T, pair int, etherType uint16) []byte {
	t.Helper()
	for {
		m, _ := c.take(t, c.rx(pair), c.posted[pair])
		if binary.BigEndian.Uint16(m[headerSize+12:]) == etherType {
			return m
		}
	}
}

// write has the host send a datagram to the guest.
func (c *cabled) write(t *testing.T, port int, text []byte) {
	t.Helper()
	if err := unix.Sendto(c.socket, text, 0, &unix.SockaddrInet4{Addr: [4]byte(guestIP), Port: port}); err != nil {
		t.Fatal(err)
	}
}

// read waits for a datagram to the host.
func (c *cabled) read(t *testing.T) string {
	t.Helper()
	b := make([]byte, 1<<16)
	n, err := unix.Read(c.socket, b)
	if err != nil {
		t.Fatal(err)
	}
	return string(b[:n])
}

// hostMAC asks for the host's address, as the guest would (RFC 826).
func (c *cabled) hostMAC(t *testing.T) []byte {
	t.Helper()
	m := make([]byte, headerSize, 100)
	m = append(m, bytes.Repeat([]byte{0xff}, 6)...)
	m = append(m, testMAC[:]...)
	m = append(m, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1)
	m = append(m, testMAC[:]...)
	m = append(m, guestIP...)
	m = append(m, make([]byte, 6)...)
	m = append(m, hostIP...)
	c.from(m)
	answer := c.to(t, 0, 0x0806)
	return answer[headerSize+22:][:6]
}

// datagram is a message with UDP in it, whose checksum is left to the host, to be cut into datagrams of segment bytes if that is not 0.
func datagram(to []byte, text string, segment int) []byte {
	m := make([]byte, headerSize+14+20+8)
	h := (*header)(m)
	h[0] = needsChecksum
	binary.LittleEndian.PutUint16(h[6:], 34)
	binary.LittleEndian.PutUint16(h[8:], 6)
	if segment > 0 {
		h[1] = gsoUDP
		binary.LittleEndian.PutUint16(h[2:], 42)
		binary.LittleEndian.PutUint16(h[4:], uint16(segment))
	}
	copy(m[headerSize:], to)
	copy(m[headerSize+6:], testMAC[:])
	m[headerSize+12] = 8
	ip := m[headerSize+14:]
	ip[0], ip[8], ip[9] = 0x45, 64, unix.IPPROTO_UDP
	binary.BigEndian.PutUint16(ip[2:], uint16(20+8+len(text)))
	copy(ip[12:], guestIP)
	copy(ip[16:], hostIP)
	binary.BigEndian.PutUint16(ip[10:], ^sum(ip[:20]))
	udp := ip[20:]
	binary.BigEndian.PutUint16(udp[0:], testPort)
	binary.BigEndian.PutUint16(udp[2:], testPort)
	binary.BigEndian.PutUint16(udp[4:], uint16(8+len(text)))
	pseudo := append(append([]byte{}, ip[12:20]...), 0, unix.IPPROTO_UDP, udp[4], udp[5])
	binary.BigEndian.PutUint16(udp[6:], sum(pseudo))
	return append(m, text...)
}

// sum adds 16-bit words in ones' complement.
func sum(b []byte) uint16 {
	s := uint32(0)
	for i := 0; i < len(b); i += 2 {
		s += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}

// TestTap resolves the host's address, and sends datagrams both ways, with checksums that only the other side's end would compute.
func TestTap(t *testing.T) {
	c := plug(t, 1)
	mac := c.hostMAC(t)
	c.from(datagram(mac, "hello, host", 0))
	if got := c.read(t); got != "hello, host" {
		t.Errorf("the host received %q", got)
	}
	c.write(t, testPort, []byte("hello, guest"))
	m := c.to(t, 0, 0x0800)
	if got := string(m[headerSize+42:]); got != "hello, guest" || m[0] != needsChecksum {
		t.Errorf("the guest received %q with header % x, want its checksum left to it", got, m[:headerSize])
	}
	if c.dev.Features()&FeatureHostUSO == 0 {
		return // a kernel before 6.2
	}
	text := strings.Repeat("a", 1000) + strings.Repeat("b", 1000) + "c"
	c.from(datagram(mac, text, 1000))
	if got := c.read(t) + "|" + c.read(t) + "|" + c.read(t); got != text[:1000]+"|"+text[1000:2000]+"|c" {
		t.Errorf("the host received %.30q..., want three datagrams", got)
	}
	if err := unix.SetsockoptInt(c.socket, unix.SOL_UDP, unix.UDP_SEGMENT, 1000); err != nil {
		t.Fatal(err)
	}
	c.write(t, testPort, []byte(text))
	m = c.to(t, 0, 0x0800)
	if got := string(m[headerSize+42:]); got != text || m[1] != gsoUDP {
		t.Errorf("the guest received %d bytes with header % x, want all %d in one piece", len(got), m[:headerSize], len(text))
	}
}

// TestTapPairs spreads flows over the queue pairs that are in use.
func TestTapPairs(t *testing.T) {
	c := plug(t, 2)
	const flows = 40
	for _, pairs := range []byte{1, 2, 1} {
		if got := c.call(t, c.ctrl(), classPairs, pairsSet, pairs, 0); got != answerOK {
			t.Fatalf("%d pairs: answer %d", pairs, got)
		}
		for i := range flows {
			c.write(t, 1000+i, []byte("x"))
		}
		got := [2]int{}
		for got[0]+got[1] < flows {
			for i := range got {
				head, _, ok := c.rx(i).Take()
				if !ok {
					continue
				}
				if b := c.Bytes(c.posted[i][head][0]); binary.BigEndian.Uint16(b[headerSize+12:]) == 0x0800 {
					got[i]++
				}
				c.rx(i).Again(head, 1)
			}
			runtime.Gosched()
		}
		if spread := got[1] > 0; spread != (pairs == 2) {
			t.Errorf("%d pairs in use: %d and %d frames", pairs, got[0], got[1])
		}
	}
}

// TestTapThatDisappears removes the interface while the machine runs.
func TestTapThatDisappears(t *testing.T) {
	c := plug(t, 1)
	c.run(t, "ip", "link", "del", c.tap.Name())
	until(func() bool { return c.changes.Load() > 0 })
	for range 3 {
		c.from(make([]byte, 100))
		if c.status() != 0 || c.changes.Load() != 1 || c.log.count() != 1 {
			t.Errorf("status %d, %d changes, %d log lines; want the link down, and 1 of each", c.status(), c.changes.Load(), c.log.count())
		}
		c.Restart()
	}
	if s := c.dev.Stats(); s.SentDropped != 3 {
		t.Errorf("Stats = %+v, want 3 dropped", s)
	}
}

// TestTapThatIsDown sets the host's interface down for a while.
func TestTapThatIsDown(t *testing.T) {
	c := plug(t, 1)
	mac := bytes.Clone(c.hostMAC(t))
	c.run(t, "ip", "link", "set", c.tap.Name(), "down")
	c.from(datagram(mac, "to nobody", 0))
	if s := c.dev.Stats(); s.SentDropped != 1 || c.status() != statusLinkUp {
		t.Errorf("Stats = %+v, status %d; want one dropped and the link up", s, c.status())
	}
	c.run(t, "ip", "link", "set", c.tap.Name(), "up")
	c.from(datagram(mac, "hello again", 0))
	if got := c.read(t); got != "hello again" {
		t.Errorf("the host received %q", got)
	}
}
