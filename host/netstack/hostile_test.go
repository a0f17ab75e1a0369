package netstack

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"testing"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"usui/host/usernet"
)

// udpSample is a frame that is let through.
func udpSample() []byte {
	return udpFrame(netip.MustParseAddrPort("10.0.2.15:1000"), netip.MustParseAddrPort("10.0.2.2:9"), []byte("payload"))
}

func TestAdmit(t *testing.T) {
	g := testGate()
	for name, tt := range map[string]struct {
		change func(d []byte) []byte
		want   bool
	}{
		"as it should be":                     {func(d []byte) []byte { return d }, true},
		"to us alone":                         {func(d []byte) []byte { copy(d[12:], gatewayMAC[:]); return d }, true},
		"to another card":                     {func(d []byte) []byte { copy(d[12:], guestMAC[:]); return d }, false},
		"to a group":                          {func(d []byte) []byte { copy(d[12:], "\x01\x00\x5e\x00\x00\xfb"); return d }, false},
		"virtio header alone":                 {func(d []byte) []byte { return d[:virtioBytes] }, false},
		"Ethernet header alone":               {func(d []byte) []byte { return d[:virtioBytes+ethernetBytes] }, false},
		"IP header cut":                       {func(d []byte) []byte { return d[:virtioBytes+ethernetBytes+19] }, false},
		"IP options cut":                      {func(d []byte) []byte { d[26] = 0x4f; return d[:virtioBytes+ethernetBytes+59] }, false},
		"header length below the least":       {func(d []byte) []byte { d[26] = 0x44; return d }, false},
		"another version of IP":               {func(d []byte) []byte { d[26] = 0x65; return d }, false},
		"IPv6":                                {func(d []byte) []byte { d[24], d[25] = 0x86, 0xdd; return d }, false},
		"from the gateway":                    {func(d []byte) []byte { d[41] = 2; return d }, false},
		"from the resolver":                   {func(d []byte) []byte { d[41] = 3; return d }, false},
		"from the subnet's broadcast address": {func(d []byte) []byte { d[41] = 255; return d }, false},
		"from another subnet":                 {func(d []byte) []byte { d[40] = 3; return d }, false},
		"from nowhere to us":                  {func(d []byte) []byte { clear(d[38:42]); return d }, false},
		"from another address of the subnet":  {func(d []byte) []byte { d[41] = 16; return d }, true},
		"checksum inside":                     {func(d []byte) []byte { d[0], d[6], d[8] = 1, 34, 6; return d }, true},
		"checksum in the Ethernet header":     {func(d []byte) []byte { d[0], d[6], d[8] = 1, 0, 6; return d }, false},
		"checksum beyond the end":             {func(d []byte) []byte { d[0], d[6], d[7] = 1, 0xff, 0xff; return d }, false},
		"checksum on the last byte":           {func(d []byte) []byte { d[0], d[6], d[8] = 1, 34, byte(len(d)-12-34-1); return d }, false},
		"segments without checksum":           {func(d []byte) []byte { d[1], d[4] = 1, 100; return d }, false},
		"segments of nothing":                 {func(d []byte) []byte { d[0], d[1], d[6], d[8] = 1, 1, 34, 6; return d }, false},
		"segments":                            {func(d []byte) []byte { d[0], d[1], d[4], d[6], d[8] = 1, 1, 100, 34, 6; return d }, true},
		"segments of IPv6":                    {func(d []byte) []byte { d[0], d[1], d[4], d[6], d[8] = 1, 4, 100, 34, 6; return d }, false},
		"segments of UDP":                     {func(d []byte) []byte { d[0], d[1], d[4], d[6], d[8] = 1, 5, 100, 34, 6; return d }, false},
		"ECN of no segments":                  {func(d []byte) []byte { d[1] = 0x80; return d }, false},
		"longer than the MTU":                 {func(d []byte) []byte { return append(d, make([]byte, 1500)...) }, false},
		"segments longer than IP allows": {func(d []byte) []byte {
			d[0], d[1], d[4], d[6], d[8] = 1, 1, 100, 34, 6
			return append(d, make([]byte, 65536)...)
		}, false},
	} {
		if p, ok := g.admit(tt.change(udpSample())); ok != tt.want {
			t.Errorf("%s: admit = %v, %v, want %v", name, p, ok, tt.want)
		}
	}
}

func testGate() *gate {
	cfg := usernet.Default()
	return &gate{mtu: cfg.MTU, mac: gatewayMAC, subnet: cfg.Subnet, gateway: cfg.Gateway(), resolver: cfg.Resolver()}
}

// FuzzFrames gives a stack whatever a guest may send. Nothing leaves it: the guest is restricted.
func FuzzFrames(f *testing.F) {
	f.Add(udpSample())
	f.Add(udpFrame(nobody, everyone, dhcpQuestion(dhcpDiscover, nobody.Addr())))
	f.Add(udpFrame(netip.MustParseAddrPort("10.0.2.15:1000"), netip.MustParseAddrPort("10.0.2.3:53"), dnsQuestion("host.usui.internal", 1)))
	f.Add(synFrame(1, netip.MustParseAddrPort("10.0.2.2:80")))
	f.Add([]byte{3, 0, 0, 0, 1, 0, 0})
	n, card := network(f, func(c *Config) { c.Restrict = true })
	go io.Copy(io.Discard, card) // ends with the card
	f.Fuzz(func(t *testing.T, d []byte) {
		if _, err := card.Write(append(d, 0)); err != nil { // an empty datagram would be the end
			t.Fatal(err)
		}
		if n.Stats().FlowsOpened != 0 {
			t.Fatal("a restricted guest opened a flow")
		}
	})
}

// synFrame opens a connection from a port of the guest.
func synFrame(port uint16, to netip.AddrPort) []byte {
	d := udpFrame(netip.AddrPortFrom(netip.MustParseAddr("10.0.2.15"), port), to, make([]byte, 12))
	ip := header.IPv4(d[virtioBytes+ethernetBytes:])
	ip[9] = 6
	header.TCP(ip[ipBytes:]).Encode(&header.TCPFields{SrcPort: port, DstPort: to.Port(), SeqNum: 7, DataOffset: 20, Flags: header.TCPFlagSyn, WindowSize: 1000})
	d[0] = needsChecksum
	binary.LittleEndian.PutUint16(d[6:], ethernetBytes+ipBytes)
	binary.LittleEndian.PutUint16(d[8:], header.TCPChecksumOffset)
	return d
}

// TestHandshakesAreBounded: a guest that never finishes what it begins.
func TestHandshakesAreBounded(t *testing.T) {
	n, card := network(t, nil)
	go io.Copy(io.Discard, card) // ends with the card
	to := viaGateway(hostListen(t).Addr())
	const more = 30
	for port := range uint16(maxAttempts + more) {
		if _, err := card.Write(synFrame(1000+port, to)); err != nil {
			t.Fatal(err)
		}
	}
	ignored := n.stack.Stats().TCP.ForwardMaxInFlightDrop
	await(t, "all are seen", func() bool { return ignored.Value() == more })
	if open := len(n.outgoing); open > maxAttempts {
		t.Errorf("%d connections for a guest that finished none, want at most %d", open, maxAttempts)
	}
	// The test ends now: Run does not wait until handshakes are given up.
}

// TestCardThatDoesNotRead: what waits for it is bounded, and it gets what waited when it reads again.
func TestCardThatDoesNotRead(t *testing.T) {
	n, card := network(t, func(c *Config) { c.Restrict = true })
	if _, err := card.Write(arpFrame("10.0.2.2")); err != nil { // so that the gateway knows where to send
		t.Fatal(err)
	}
	for port := uint16(1); n.Stats().FramesDropped == 0; port++ {
		if _, err := card.Write(synFrame(port, netip.MustParseAddrPort("10.0.2.2:80"))); err != nil { // each is reset
			t.Fatal(err)
		}
	}
	q := n.link.queues[0]
	await(t, "all attempts are over", func() bool {
		return n.Stats().FlowsRefused == n.stack.Stats().TCP.ResetsSent.Value() && n.Stats().FramesDropped > 0
	})
	q.mu.Lock()
	frames, bytes := len(q.waiting), q.bytes
	q.mu.Unlock()
	if frames > waitingFrames || bytes > waitingBytes {
		t.Errorf("%d frames of %d bytes wait, want at most %d, %d", frames, bytes, waitingFrames, waitingBytes)
	}
	d := make([]byte, datagramBytes)
	for range uint64(frames) + n.Stats().FramesSent {
		if _, err := card.Read(d); err != nil {
			t.Fatal(err)
		}
	}
	await(t, "nothing waits", func() bool {
		q.mu.Lock()
		defer q.mu.Unlock()
		return len(q.waiting) == 0 && q.bytes == 0
	})
}

// TestGuestThatDoesNotRead: the host's sender waits, and others go on.
func TestGuestThatDoesNotRead(t *testing.T) {
	n, card := network(t, nil)
	g := newGuest(t, card, true)
	l := hostListen(t)
	in, out := connectToHost(t, g, l)
	blocked := make(chan struct{})
	var sender sync.WaitGroup
	sender.Go(func() { // ends when the connection is reset
		p := make([]byte, 1<<20)
		for {
			if _, err := out.Write(p); err != nil {
				close(blocked)
				return
			}
		}
	})
	for range 3 {
		in, out := connectToHost(t, g, l)
		exchange(t, in, out, 1<<20)
	}
	in.Close() // unread data makes it a reset
	<-blocked
	sender.Wait()
	await(t, "all flows end", func() bool { return n.Stats().FlowsOpen == 0 })
}

// TestNothingIsLeft opens and closes a thousand connections, in every way.
func TestNothingIsLeft(t *testing.T) {
	n, card := network(t, publish("0:80"))
	g := newGuest(t, card, true)
	l, inside := hostListen(t), g.listen(80)
	echo := func(accept func() (io.ReadWriteCloser, error)) {
		for {
			c, err := accept()
			if err != nil {
				return
			}
			_, _ = io.Copy(c, c)
			c.Close()
		}
	}
	go echo(func() (io.ReadWriteCloser, error) { return l.Accept() })      // ends with the listener
	go echo(func() (io.ReadWriteCloser, error) { return inside.Accept() }) // likewise
	const ours = 2                                                         // endpoints: DHCP and DNS
	if _, err := card.Write(arpFrame("10.0.2.99")); err != nil {
		t.Fatal(err)
	}
	await(t, "all goroutines run", func() bool { return n.Stats().FramesReceived == 1 }) // what receives is started last
	before, files := runtime.NumGoroutine(), openFiles(t)
	for i := range 1000 {
		var c halfCloser
		var err error
		if i%2 == 0 {
			c, err = g.dial(viaGateway(l.Addr()))
		} else {
			c, err = dialHost(n.Ports()[0])
		}
		if err != nil {
			t.Fatal(err)
		}
		if i%5 == 0 { // without a word
			c.Close()
			continue
		}
		send(t, c, []byte("hello"))
		if got := take(t, c); string(got) != "hello" {
			t.Fatalf("connection %d: echo %q", i, got)
		}
		c.Close()
	}
	await(t, "all flows end", func() bool { return n.Stats().FlowsOpen == 0 && len(n.outgoing) == 0 && len(n.incoming) == 1 }) // the port's next one
	await(t, "the stack forgets all", func() bool { return len(n.stack.RegisteredEndpoints()) == ours })
	await(t, "goroutines end", func() bool { return runtime.NumGoroutine() <= before })
	await(t, "files are closed", func() bool { return openFiles(t) <= files })
}

func openFiles(t *testing.T) int {
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// TestRunEndsWithTheCard: the other end closes while all kinds of things are under way.
func TestRunEndsWithTheCard(t *testing.T) {
	card, far := sockets(t)
	l := hostListen(t)
	cfg := Config{Config: usernet.Default(), Frames: []*os.File{far}}
	publish("0:80")(&cfg)
	publish("0:53/udp")(&cfg)
	n, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	ended := make(chan error)
	go func() { ended <- n.Run(context.Background()) }()
	g := newGuest(t, card, true)
	connectToHost(t, g, l)
	if _, err := dialHost(n.Ports()[0]); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Logf("published: %v", err)
	}
	if _, err := g.udp(viaGateway(hostUDP(t).LocalAddr())).Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := card.Write(synFrame(999, viaGateway(l.Addr()))); err != nil {
		t.Fatal(err)
	}
	card.Close()
	if err := <-ended; err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
}

// TestFramesAllocateNothing: what is ours of the way of a frame, in both directions. The stack has pools of its own.
func TestFramesAllocateNothing(t *testing.T) {
	card, far := sockets(t)
	l := &link{gate: *testGate(), stats: &counters{}}
	q, err := newQueue(far, func() bool { return true }, l.stats)
	if err != nil {
		t.Fatal(err)
	}
	defer q.close()
	l.queues = []*queue{q}
	sink := &dispatcher{}
	l.Attach(sink)
	sample := udpSample()
	if got := testing.AllocsPerRun(1000, func() { l.take(sample) }); got > poolAllocations || sink.count == 0 {
		t.Errorf("a frame from the guest: %v allocations, %d delivered, want none", got, sink.count)
	}
	p := stack.NewPacketBuffer(stack.PacketBufferOptions{ReserveHeaderBytes: ethernetBytes, Payload: buffer.MakeWithData(udpSample()[virtioBytes+ethernetBytes:])})
	defer p.DecRef()
	p.NetworkProtocolNumber = header.IPv4ProtocolNumber
	l.AddHeader(p)
	var list stack.PacketBufferList
	list.PushBack(p)
	d := make([]byte, datagramBytes)
	got := testing.AllocsPerRun(1000, func() {
		if _, err := l.WritePackets(list); err != nil {
			t.Fatal(err)
		}
		if n, err := card.Read(d); err != nil || d[0] != needsChecksum || n != len(sample) {
			t.Fatalf("%d bytes, flags %d, %v", n, d[0], err)
		}
	})
	if got != 0 {
		t.Errorf("a frame to the guest: %v allocations, want none", got)
	}
}

// TestQueuesInUse: packets of different connections go different ways, but none where the driver takes nothing.
func TestQueuesInUse(t *testing.T) {
	l := &link{gate: *testGate(), stats: &counters{}}
	var cards []*os.File
	for range 2 {
		card, far := sockets(t)
		q, err := newQueue(far, func() bool { return false }, l.stats)
		if err != nil {
			t.Fatal(err)
		}
		defer q.close()
		cards, l.queues = append(cards, card), append(l.queues, q)
	}
	for _, tt := range []struct{ pairs, want int }{{0, 0}, {1, 0}, {2, 1}, {9, 1}, {-1, 1}, {1, 0}} {
		message := binary.NativeEndian.AppendUint32(make([]byte, 4), uint32(tt.pairs))
		if tt.pairs != 0 { // as before the first message
			l.take(message)
		}
		p := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData([]byte("frame"))})
		p.Hash = 7
		var list stack.PacketBufferList
		list.PushBack(p)
		if _, err := l.WritePackets(list); err != nil {
			t.Fatal(err)
		}
		p.DecRef()
		if n, err := cards[tt.want].Read(make([]byte, 64)); err != nil || n != virtioBytes+len("frame") {
			t.Errorf("%d pairs: %d bytes, %v on queue %d, want the frame", tt.pairs, n, err, tt.want)
		}
	}
}
