package tap

import (
	"encoding/binary"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"usui/host/need"
)

// inNamespace gives the test a network of its own, with nothing in it but a loopback. Its goroutine's thread ends with it.
func inNamespace(t *testing.T) {
	t.Helper()
	need.Root(t)
	need.Tun(t)
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatalf("unshare the network: %v", err)
	}
}

// newTap makes one that is closed with the test.
func newTap(t *testing.T, queues int) *Tap {
	t.Helper()
	tap, err := Make(queues)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tap.Close() })
	return tap
}

// persistent makes an interface that stays without a descriptor, as ip tuntap add does, and closes it.
func persistent(t *testing.T, queues, owner int) string {
	t.Helper()
	tap, err := Make(queues)
	if err != nil {
		t.Fatal(err)
	}
	defer tap.Close()
	for request, value := range map[uint]int{unix.TUNSETPERSIST: 1, unix.TUNSETOWNER: owner} {
		if err := unix.IoctlSetInt(tap.queues[0], request, value); err != nil {
			t.Fatal(err)
		}
	}
	return tap.name
}

// down sets a link down.
func down(t *testing.T, name string) {
	t.Helper()
	if _, err := link(name, unix.SIOCSIFFLAGS, 0); err != nil {
		t.Fatal(err)
	}
}

func TestAMadeTapIsUpAndGoesAway(t *testing.T) {
	inNamespace(t)
	first, second := newTap(t, 1), newTap(t, 2)
	if first.Name() != "usui0" || second.Name() != "usui1" {
		t.Errorf("names %q and %q, want usui0 and usui1", first.Name(), second.Name())
	}
	for _, tap := range []*Tap{first, second} {
		name := tap.Name()
		if r, err := link(name, unix.SIOCGIFFLAGS, 0); err != nil || r.Uint16()&unix.IFF_UP == 0 {
			t.Errorf("%s: flags %v, %v; want a link that is up", name, r, err)
		}
		for _, fd := range tap.Queues() {
			if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0); err != nil || flags&unix.O_NONBLOCK == 0 {
				t.Errorf("%s: descriptor %d has flags %#x, %v; want it non-blocking", name, fd, flags, err)
			}
		}
		if err := tap.Close(); err != nil {
			t.Errorf("Close() = %v", err)
		}
		if err := Exists(name); err == nil || !strings.Contains(err.Error(), "no such interface") {
			t.Errorf("Exists(%s) after Close = %v, want it gone", name, err)
		}
	}
}

func TestAnExistingTapStays(t *testing.T) {
	inNamespace(t)
	for _, queues := range []int{1, 2} {
		name := persistent(t, queues, 0)
		down(t, name)
		for _, n := range []int{1, queues} { // of several queues one will do
			tap, err := Open(name, n)
			if err != nil {
				t.Fatalf("Open(%s of %d queues, %d) = %v", name, queues, n, err)
			}
			if r, err := link(name, unix.SIOCGIFFLAGS, 0); err != nil || r.Uint16()&unix.IFF_UP == 0 {
				t.Errorf("%s: flags %v, %v; want the link up", name, r, err)
			}
			tap.Close()
		}
		if err := Exists(name); err != nil {
			t.Error(err)
		}
	}
}

func TestErrorsTeach(t *testing.T) {
	inNamespace(t)
	busy := newTap(t, 1)
	single := persistent(t, 1, 0)
	for _, tt := range []struct {
		name   string
		queues int
		want   string
	}{
		{"nosuchtap", 1, "tap nosuchtap: there is no such interface; as root, ip tuntap add dev nosuchtap mode tap user "},
		{"lo", 1, "tap lo: invalid argument; it is no tap; ip tuntap add"},
		{busy.Name(), 1, "device or resource busy; another program uses it"},
		{single, 2, "it is no tap, or one with a single queue: ip tuntap add dev " + single + " mode tap multi_queue"},
		{"a-name-of-16-byt", 1, `interface "a-name-of-16-byt": a name has at most 15 bytes`},
		{"", 1, "is missing"},
		{"a b", 1, "no spaces"},
		{"tap%d", 1, "percent"},
		{single, 0, "0 queues, want 1 to 256"},
		{single, 257, "257 queues"},
	} {
		tap, err := Open(tt.name, tt.queues)
		if err == nil {
			tap.Close()
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Open(%q, %d) = %v, want %q", tt.name, tt.queues, err, tt.want)
		}
	}
}

// TestExplain covers what cannot be brought about here.
func TestExplain(t *testing.T) {
	for _, tt := range []struct {
		err  error
		made bool
		want string
	}{
		{&os.PathError{Op: "open", Path: device, Err: unix.ENOENT}, true, "make a tap: open /dev/net/tun: no such file or directory; the kernel's tun driver is not there: modprobe tun"},
		{&os.PathError{Op: "open", Path: device, Err: unix.EACCES}, false, "tap t0: open /dev/net/tun: permission denied; as root, chmod 666 /dev/net/tun"},
		{unix.E2BIG, false, "tap t0: argument list too long; other programs hold"},
		{unix.EIO, false, "tap t0: input/output error"},
	} {
		tap := Tap{name: "t0", off: make([]bool, 1)}
		if got := tap.explain(tt.err, tt.made).Error(); !strings.HasPrefix(got, tt.want) {
			t.Errorf("explain(%v, %v) = %q, want %q", tt.err, tt.made, got, tt.want)
		}
	}
}

// TestWithoutRoot holds that a tap of the user works without privileges, and what is said where it does not.
// everyonesDevice shows this thread, which its test has to itself, a device that all users may open, as most systems have it.
func everyonesDevice(t *testing.T) {
	t.Helper()
	// A mode that is not to be changed for others is that of the file system's only node; another one has its own.
	dir, err := os.MkdirTemp("", "tap") // not t.TempDir, which this thread will have no right to remove
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	node := filepath.Join(dir, "tun")
	if err := unix.Mknod(node, unix.S_IFCHR|0o666, int(unix.Mkdev(10, 200))); err != nil { // kernel: Documentation/admin-guide/devices.txt
		t.Fatalf("make a device: %v", err)
	}
	if err := unix.Chmod(node, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS); err != nil {
		t.Fatalf("unshare the mounts: %v", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		t.Fatalf("keep mounts private: %v", err)
	}
	if err := unix.Mount(node, device, "", unix.MS_BIND, ""); err != nil {
		t.Fatalf("mount %s: %v", device, err)
	}
}

func TestWithoutRoot(t *testing.T) {
	inNamespace(t)
	const user = 65534
	mine, theirs, sleeping := persistent(t, 1, user), persistent(t, 1, 0), persistent(t, 1, user)
	down(t, sleeping)
	everyonesDevice(t)
	if err := dropRoot(user); err != nil {
		t.Fatal(err)
	}
	tap, err := Open(mine, 1)
	if err != nil {
		t.Fatalf("Open of a tap of the user = %v", err)
	}
	defer tap.Close()
	if err := tap.SetOffloads(Checksum | TSO4 | TSO6 | ECN); err != nil {
		t.Error(err)
	}
	if err := tap.SetMTU(1500); err != nil {
		t.Errorf("SetMTU to what it is = %v", err)
	}
	_, theirErr := Open(theirs, 1)
	_, sleepErr := Open(sleeping, 1)
	_, makeErr := Make(1)
	for what, tt := range map[string]struct {
		err  error
		want string
	}{
		"another MTU":           {tap.SetMTU(1400), "as root, ip link set " + mine + " mtu 1400"},
		"a tap of another user": {theirErr, "it belongs to another user"},
		"a link that is down":   {sleepErr, "ip link set " + sleeping + " up"},
		"make":                  {makeErr, "make a tap: operation not permitted; this takes root"},
	} {
		if tt.err == nil || !strings.Contains(tt.err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", what, tt.err, tt.want)
		}
	}
}

func TestMTU(t *testing.T) {
	inNamespace(t)
	tap := newTap(t, 1)
	for _, n := range []int{MinMTU, 9000, MaxMTU} {
		if err := tap.SetMTU(n); err != nil {
			t.Error(err)
		}
		if got, err := tap.MTU(); got != n || err != nil {
			t.Errorf("MTU() = %d, %v; want %d", got, err, n)
		}
	}
	for _, n := range []int{MinMTU - 1, MaxMTU + 1} {
		if err := tap.SetMTU(n); err == nil {
			t.Errorf("SetMTU(%d) succeeded", n)
		}
	}
}

// TestQueuesAreSwitched sends datagrams of many flows and counts at which queue they arrive.
func TestQueuesAreSwitched(t *testing.T) {
	inNamespace(t)
	tap := newTap(t, 2)
	socket := network(t, tap.Name())
	for _, on := range []bool{true, false, true} {
		for range 2 { // the second time there is nothing to do
			if err := tap.SetQueue(1, on); err != nil {
				t.Fatal(err)
			}
		}
		const flows = 64
		for i := range flows {
			if _, err := socket.WriteToUDP([]byte("x"), &net.UDPAddr{IP: net.IPv4bcast, Port: 1000 + i}); err != nil {
				t.Fatal(err)
			}
		}
		var got [2]int
		for got[0]+got[1] < flows {
			for i, fd := range tap.Queues() {
				b := make([]byte, 1<<16)
				for n, err := unix.Read(fd, b); err == nil; n, err = unix.Read(fd, b) {
					if n > HeaderSize+14 && binary.BigEndian.Uint16(b[HeaderSize+12:]) == 0x0800 {
						got[i]++
					}
				}
			}
		}
		if on != (got[1] > 0) {
			t.Errorf("%d and %d frames arrive while queue 1 is on: %v", got[0], got[1], on)
		}
	}
}

// TestFramesCross sends a datagram each way through a tap, and looks at the header in front of it.
func TestFramesCross(t *testing.T) {
	inNamespace(t)
	tap := newTap(t, 1)
	socket := network(t, tap.Name())
	for _, o := range []Offloads{0, Checksum | TSO4 | TSO6 | ECN} {
		if err := tap.SetOffloads(o); err != nil {
			t.Fatal(err)
		}
		if _, err := socket.WriteToUDP([]byte("to the cable"), &net.UDPAddr{IP: net.IPv4bcast, Port: 7}); err != nil {
			t.Fatal(err)
		}
		frame := readIPv4(t, tap.Queues()[0])
		if got := string(frame[HeaderSize+14+20+8:]); got != "to the cable" {
			t.Errorf("offloads %#x: the frame carries %q", o, got)
		}
		if partial := frame[0]&1 != 0; partial != (o != 0) { // VIRTIO_NET_HDR_F_NEEDS_CSUM
			t.Errorf("offloads %#x: the checksum is left to the reader: %v", o, partial)
		}
		if _, err := unix.Write(tap.Queues()[0], datagram("from the cable")); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 100)
		n, err := socket.Read(b)
		if string(b[:n]) != "from the cable" || err != nil {
			t.Errorf("the socket received %q, %v", b[:n], err)
		}
	}
	_ = tap.HasUSO() // whatever this kernel says
	if err := tap.SetOffloads(TSO4); err == nil {
		t.Error("segmentation without checksums was accepted")
	}
}

// address is the interface's; port is where datagrams go.
var address = [4]byte{10, 9, 0, 1}

const port = 4321

// network gives the interface an address and opens a socket on it.
func network(t *testing.T, name string) *net.UDPConn {
	t.Helper()
	request, err := unix.NewIfreq(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := request.SetInet4Addr(address[:]); err != nil {
		t.Fatal(err)
	}
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlIfreq(s, unix.SIOCSIFADDR, request); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		unix.SetsockoptInt(s, unix.SOL_SOCKET, unix.SO_BROADCAST, 1),
		unix.BindToDevice(s, name),
		unix.Bind(s, &unix.SockaddrInet4{Port: port}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	f := os.NewFile(uintptr(s), "socket")
	defer f.Close()
	c, err := net.FilePacketConn(f)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c.(*net.UDPConn)
}

// readIPv4 reads frames until one is IPv4's.
func readIPv4(t *testing.T, fd int) []byte {
	t.Helper()
	b := make([]byte, 1<<16)
	for {
		n, err := unix.Read(fd, b)
		if err == unix.EAGAIN {
			unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1)
			continue
		}
		if err != nil || n < HeaderSize+14 {
			t.Fatalf("read %d bytes: %v", n, err)
		}
		if binary.BigEndian.Uint16(b[HeaderSize+12:]) == 0x0800 {
			return b[:n]
		}
	}
}

// datagram is a frame with a broadcast to port, without checksums of UDP, which are optional.
func datagram(text string) []byte {
	b := make([]byte, HeaderSize+14+20+8)
	for i := range 6 {
		b[HeaderSize+i] = 0xff
	}
	b[HeaderSize+6] = 2
	binary.BigEndian.PutUint16(b[HeaderSize+12:], 0x0800)
	ip := b[HeaderSize+14:]
	ip[0], ip[8], ip[9] = 0x45, 64, unix.IPPROTO_UDP
	binary.BigEndian.PutUint16(ip[2:], uint16(20+8+len(text)))
	copy(ip[12:], []byte{10, 9, 0, 2, 255, 255, 255, 255})
	sum := uint32(0)
	for i := 0; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(ip[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(ip[10:], ^uint16(sum))
	udp := ip[20:]
	binary.BigEndian.PutUint16(udp[0:], port)
	binary.BigEndian.PutUint16(udp[2:], port)
	binary.BigEndian.PutUint16(udp[4:], uint16(8+len(text)))
	return append(b, text...)
}
