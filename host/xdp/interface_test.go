package xdp

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"usui/host/xdp/xdptest"
)

const port = 6379

// memory is n frames of 2048 bytes.
func memory(t testing.TB, n int) []byte {
	t.Helper()
	p, err := unix.Mmap(-1, 0, n*2048, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Munmap(p) })
	return p
}

// open takes frames from an end of a cable.
func open(t testing.TB, e *xdptest.End, change func(*Config)) *Interface {
	t.Helper()
	cfg := Config{Name: e.Name, Memory: memory(t, 512), FrameBytes: 2048, Ring: 64, Filter: Filter{Address: netip.MustParseAddr(e.Address), Port: port}}
	if change != nil {
		change(&cfg)
	}
	var x *Interface
	var err error
	e.Do(func() { x, err = Open(cfg) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := x.Close(); err != nil {
			t.Error(err)
		}
	})
	return x
}

// receive waits for n frames.
func receive(t *testing.T, x *Interface, n int) [][]byte {
	t.Helper()
	var got [][]byte
	for len(got) < n {
		if _, err := unix.Poll([]unix.PollFd{{Fd: int32(x.Descriptors()[0]), Events: unix.POLLIN}}, -1); err != nil && err != unix.EINTR {
			t.Fatal(err)
		}
		if _, err := x.Receive(func(f uint32, p []byte) {
			got = append(got, bytes.Clone(p))
			x.Release(f)
		}); err != nil {
			t.Fatal(err)
		}
	}
	return got
}

// frame makes a frame to 10.9.0.1; mutate changes it.
func frame(x *Interface, protocol byte, mutate func([]byte)) []byte {
	p := make([]byte, 60)
	mac := x.MAC()
	copy(p, mac[:])
	copy(p[6:], []byte{2, 0, 0, 0, 0, 9})
	binary.BigEndian.PutUint16(p[atEtherType:], unix.ETH_P_IP)
	p[atVersion], p[atProtocol] = 0x45, protocol
	binary.BigEndian.PutUint16(p[16:], 46)
	copy(p[26:], []byte{10, 9, 0, 2, 10, 9, 0, 1})
	binary.BigEndian.PutUint16(p[atPort:], port)
	if mutate != nil {
		mutate(p)
	}
	return p
}

func TestTheFilterTakesWhatIsForItAlone(t *testing.T) {
	near, far := xdptest.Cable(t)
	for _, own := range []bool{false, true} {
		x := open(t, near, func(c *Config) { c.Filter.Own = own })
		out := far.Packets(t)
		arp := func(target byte) func(p []byte) {
			return func(p []byte) {
				clear(p[12:])
				binary.BigEndian.PutUint16(p[atEtherType:], unix.ETH_P_ARP)
				copy(p[atARPTarget:], []byte{10, 9, 0, target})
			}
		}
		tests := []struct {
			name  string
			taken bool
			frame []byte
		}{
			{"TCP to the port", true, frame(x, 6, nil)},
			{"TCP to another port", false, frame(x, 6, func(p []byte) { p[atPort]++ })},
			{"TCP to another address", false, frame(x, 6, func(p []byte) { p[atDestination+3] = 77 })},
			{"UDP to the port", false, frame(x, 17, nil)},
			{"a first fragment", false, frame(x, 6, func(p []byte) { p[atFragment] = 0x20 })},
			{"a later fragment", false, frame(x, 6, func(p []byte) { p[atFragment+1] = 1 })},
			{"don't fragment", true, frame(x, 6, func(p []byte) { p[atFragment] = 0x40 })},
			{"options of IP", false, frame(x, 6, func(p []byte) { p[atVersion] = 0x46 })},
			{"IPv6", false, frame(x, 6, func(p []byte) { binary.BigEndian.PutUint16(p[atEtherType:], unix.ETH_P_IPV6) })},
			{"a tag", false, frame(x, 6, func(p []byte) { binary.BigEndian.PutUint16(p[atEtherType:], unix.ETH_P_8021Q) })},
			{"too short", false, frame(x, 6, nil)[:41]},
			{"echo request", own, frame(x, 1, func(p []byte) { p[atICMPType] = 8 })},
			{"echo reply", false, frame(x, 1, func(p []byte) { p[atICMPType] = 0 })},
			{"ARP for the address", own, frame(x, 6, arp(1))},
			{"ARP for another", false, frame(x, 6, arp(3))},
		}
		var want []string
		for i, tt := range tests {
			binary.BigEndian.PutUint16(tt.frame[18:], uint16(i)) // tells them apart; of ARP it is the length of addresses
			if _, err := out.Write(tt.frame); err != nil {
				t.Fatalf("%s: %v", tt.name, err)
			}
			if tt.taken {
				want = append(want, tt.name)
			}
		}
		var got []string
		for _, p := range receive(t, x, len(want)) {
			got = append(got, tests[binary.BigEndian.Uint16(p[18:])].name)
		}
		if strings.Join(got, ", ") != strings.Join(want, ", ") {
			t.Errorf("own %v: taken %q, want %q", own, got, want)
		}
		if n, err := x.Receive(func(uint32, []byte) {}); n > 0 || err != nil { // the last of the tests was passed
			t.Errorf("own %v: %d frames too many, %v", own, n, err)
		}
		if err := x.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTheKernelKeepsItsOwnTraffic(t *testing.T) {
	near, far := xdptest.Cable(t)
	x := open(t, near, nil)
	if got := x.Mode(); got != "native, copy" {
		t.Errorf("Mode() of veth = %q, want native, copy", got)
	}
	if !x.Unsummed() || x.Driver() != "veth" || x.MTU() != 1500 {
		t.Errorf("driver %q, MTU %d", x.Driver(), x.MTU())
	}
	// A server of the kernel's on another port of the same address answers.
	var l net.Listener
	var err error
	near.Do(func() { l, err = net.Listen("tcp4", "10.9.0.1:0") })
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var fd int
	far.Do(func() { fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0) })
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	at := l.Addr().(*net.TCPAddr)
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: at.Port, Addr: [4]byte{10, 9, 0, 1}}); err != nil {
		t.Errorf("connect past the filter: %v", err)
	}
	if got, err := Address("nosuch"); err == nil {
		t.Errorf("Address(nosuch) = %v", got)
	}
	near.Do(func() {
		if got, err := Address(near.Name); err != nil || got != netip.MustParseAddr("10.9.0.1") {
			t.Errorf("Address() = %v, %v", got, err)
		}
	})
}

func TestFramesAreSentAndComeBack(t *testing.T) {
	near, far := xdptest.Cable(t)
	x := open(t, near, nil)
	in := far.Packets(t)
	before := x.Spare()
	const rounds, each = 20, 50 // more than there are frames
	for r := range rounds {
		for i := range each {
			f, room, ok := x.Frame()
			if !ok {
				t.Fatalf("no frame in round %d", r)
			}
			n := copy(room, frame(x, 17, func(p []byte) { p[50], p[51] = byte(r), byte(i) }))
			if !x.Send(f, n) {
				t.Fatalf("no room to send in round %d", r)
			}
			x.Release(f)
		}
		if err := x.Flush(); err != nil {
			t.Fatal(err)
		}
		p := make([]byte, 2048)
		for i := range each {
			n, err := in.Read(p)
			for err == nil && p[atProtocol] != 17 { // the kernel's own
				n, err = in.Read(p)
			}
			if err != nil || n != 60 || p[50] != byte(r) || p[51] != byte(i) {
				t.Fatalf("read %d bytes, %v, round %d frame %d; want round %d frame %d", n, err, p[50], p[51], r, i)
			}
		}
	}
	for range before { // the completion may be a moment behind the reader
		if x.complete(); x.Spare() == before {
			break
		}
		unix.Poll([]unix.PollFd{{Fd: int32(x.Descriptors()[0])}}, 1)
	}
	s, err := x.Stats()
	if x.Spare() != before || err != nil || s.BadDescriptors+s.Refused+s.SendFull > 0 || s.FramesSent != rounds*each {
		t.Errorf("%d frames free, want %d; %+v, %v", x.Spare(), before, s, err)
	}
}

func TestHeldFramesStayWhatTheyAre(t *testing.T) {
	near, far := xdptest.Cable(t)
	x := open(t, near, nil)
	out := far.Packets(t)
	type held struct {
		frame uint32
		data  []byte
		n     byte
	}
	var all []held
	for i := range 200 {
		if _, err := out.Write(frame(x, 6, func(p []byte) { p[50] = byte(i) })); err != nil {
			t.Fatal(err)
		}
		for taken := false; !taken; {
			unix.Poll([]unix.PollFd{{Fd: int32(x.Descriptors()[0]), Events: unix.POLLIN}}, -1)
			if _, err := x.Receive(func(f uint32, p []byte) {
				taken = true
				all = append(all, held{f, p, byte(i)})
			}); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, h := range all {
		if h.data[50] != h.n {
			t.Errorf("frame %d has number %d, want %d", h.frame, h.data[50], h.n)
		}
		x.Hold(h.frame)
		x.Release(h.frame)
		x.Release(h.frame)
	}
}

func TestFramesComeBySeveralQueues(t *testing.T) {
	near, far := xdptest.CableOf(t, 2)
	x := open(t, near, nil)
	if n := len(x.Descriptors()); n != 2 {
		t.Fatalf("%d queues, want 2", n)
	}
	out := far.Packets(t)
	const sent = 64 // flows, which a hash spreads
	for i := range sent {
		if _, err := out.Write(frame(x, 6, func(p []byte) { binary.BigEndian.PutUint16(p[34:], uint16(1000*i)) })); err != nil {
			t.Fatal(err)
		}
	}
	from := 0
	var polls []unix.PollFd
	for _, fd := range x.Descriptors() {
		polls = append(polls, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
	}
	for from < sent {
		if _, err := unix.Poll(polls, -1); err != nil && err != unix.EINTR {
			t.Fatal(err)
		}
		if _, err := x.Receive(func(f uint32, p []byte) {
			from++
			x.Release(f)
		}); err != nil {
			t.Fatal(err)
		}
	}
	first, second := x.queues[0].rx.mine, x.queues[1].rx.mine
	if first+second != sent || first == 0 || second == 0 {
		t.Errorf("%d frames came by the first queue and %d by the second, want %d by both", first, second, sent)
	}
	if s, err := x.Stats(); err != nil || s.FramesReceived != sent {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestErrorsTeach(t *testing.T) {
	near, _ := xdptest.Cable(t)
	first := open(t, near, nil)
	good := first.cfg
	for _, tt := range []struct {
		change func(*Config)
		want   string
	}{
		{func(c *Config) { c.Name = "nosuch" }, "interface nosuch: there is no such interface"},
		{func(c *Config) { c.Name = "lo" }, "interface lo: hardware of type 772, want Ethernet"},
		{func(c *Config) { c.FrameBytes = 1500 }, "frames of 1500 bytes, want 2048 or 4096"},
		{func(c *Config) { c.Memory = c.Memory[1024:] }, "is no number of frames"},
		{func(c *Config) { c.Memory = c.Memory[2048:] }, "begin at a page"},
		{func(c *Config) { c.Memory = c.Memory[:64<<11] }, "64 frames are too few for its 1 queues, want 128"},
		{func(c *Config) { c.Ring = 100 }, "a ring of 100 entries"},
		{func(c *Config) { c.Filter.Address = netip.MustParseAddr("::1") }, "want one of IPv4"},
		{func(c *Config) { c.Filter.Port = 0 }, "the port is missing"},
		{func(*Config) {}, "another program"},
	} {
		cfg := good
		tt.change(&cfg)
		var x *Interface
		var err error
		near.Do(func() { x, err = Open(cfg) })
		if err == nil {
			x.Close()
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Open = %v, want %q", err, tt.want)
		}
	}
	near.Run(t, "ip", "link", "set", near.Name, "mtu", "2000")
	var err error
	near.Do(func() { _, err = Open(good) })
	if want := "ip link set near mtu 1778"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("Open with a long MTU = %v, want %q", err, want)
	}
}

func TestCloseGivesTheInterfaceBack(t *testing.T) {
	near, _ := xdptest.Cable(t)
	fds := descriptors(t)
	for range 3 {
		x := open(t, near, nil)
		if err := x.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if got := near.Run(t, "ip", "link", "show", near.Name); strings.Contains(got, "xdp") {
		t.Errorf("after Close:\n%s", got)
	}
	if got := descriptors(t); got != fds {
		t.Errorf("%d descriptors after Close, want %d", got, fds)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

// TestHeldFramesStayAlone has most frames held from the start: none of them is received into, and the rest serves.
func TestHeldFramesStayAlone(t *testing.T) {
	near, far := xdptest.Cable(t)
	held := make([]uint16, 4096)
	for i := range held[256:] {
		held[256+i] = 1
	}
	x := open(t, near, func(c *Config) { c.Memory, c.Held = memory(t, len(held)), held })
	near.Do(func() { x.Reserve(16) }) // an eighth of all is more than there is
	out := far.Packets(t)
	for range 10 {
		if _, err := out.Write(frame(x, 6, nil)); err != nil {
			t.Fatal(err)
		}
	}
	for n := 0; n < 10; {
		if _, err := unix.Poll([]unix.PollFd{{Fd: int32(x.Descriptors()[0]), Events: unix.POLLIN}}, -1); err != nil && err != unix.EINTR {
			t.Fatal(err)
		}
		if _, err := x.Receive(func(f uint32, _ []byte) {
			n++
			if f >= 256 {
				t.Errorf("frame %d was received into", f)
			}
			x.Release(f)
		}); err != nil {
			t.Fatal(err)
		}
	}
	x.Release(4095)
	if n := len(x.frames.free); n == 0 || x.frames.free[n-1] != 4095 {
		t.Error("a frame that was held from the start is not free when it is released")
	}
}
