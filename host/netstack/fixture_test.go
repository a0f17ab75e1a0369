package netstack

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/channel"
	"gvisor.dev/gvisor/pkg/tcpip/link/ethernet"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"

	"usui/host/usernet"
)

// guestMAC is the address of the test's guest.
var guestMAC = [6]byte{0x52, 0x54, 0, 0x12, 0x34, 0x56}

// sockets makes the two ends of a queue pair.
func sockets(t testing.TB) (card, far *os.File) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	card, far = os.NewFile(uintptr(fds[0]), "card"), os.NewFile(uintptr(fds[1]), "far end")
	t.Cleanup(func() { card.Close() })
	return card, far
}

// network runs a network until the test ends, and returns the card's end of its only queue.
func network(t testing.TB, change func(*Config)) (*Network, *os.File) {
	t.Helper()
	card, far := sockets(t)
	cfg := Config{Config: usernet.Default(), Frames: []*os.File{far}}
	if change != nil {
		change(&cfg)
	}
	n, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := n.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(func() {
		stop()
		running.Wait()
		n.Close()
	})
	return n, card
}

// guest is a system behind a card: a second stack, which knows nothing of the first.
type guest struct {
	t     testing.TB
	stack *stack.Stack
	link  *channel.Endpoint
	card  *os.File
}

// newGuest starts a guest on a card. With offload it sends and takes segments of 64 KiB and checksums that are not finished.
func newGuest(t testing.TB, card *os.File, offload bool) *guest {
	t.Helper()
	g := &guest{t: t, card: card, link: channel.New(1024, 1500+ethernetBytes, tcpip.LinkAddress(guestMAC[:]))}
	if offload {
		g.link.SupportedGSOKind = stack.HostGSOSupported
		g.link.LinkEPCapabilities = stack.CapabilityRXChecksumOffload
		tell(t, card, usernet.Driver{Offload: usernet.OffloadChecksum | usernet.OffloadTSO4, Pairs: 1})
	}
	quiet()
	g.stack = stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol, arp.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4},
	})
	if err := g.stack.CreateNIC(nic, ethernet.New(g.link)); err != nil {
		t.Fatal(err)
	}
	address := tcpip.ProtocolAddress{Protocol: header.IPv4ProtocolNumber, AddressWithPrefix: tcpip.AddressWithPrefix{
		Address: tcpip.AddrFrom4([4]byte{10, 0, 2, 15}), PrefixLen: 24}}
	if err := g.stack.AddProtocolAddress(nic, address, stack.AddressProperties{}); err != nil {
		t.Fatal(err)
	}
	g.stack.SetRouteTable([]tcpip.Route{
		{Destination: address.AddressWithPrefix.Subnet(), NIC: nic},
		{Destination: header.IPv4EmptySubnet, Gateway: tcpip.AddrFrom4([4]byte{10, 0, 2, 2}), NIC: nic},
	})
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { g.transmit(ctx) })
	running.Go(g.receive)
	t.Cleanup(func() {
		stop()
		card.Close()
		running.Wait()
		g.stack.Destroy()
	})
	return g
}

// transmit sends the guest's packets, until ctx ends.
func (g *guest) transmit(ctx context.Context) {
	for {
		p := g.link.ReadContext(ctx)
		if p == nil {
			return
		}
		d := make([]byte, virtioBytes, datagramBytes)
		for _, s := range p.AsSlices() {
			d = append(d, s...)
		}
		if o := p.GSOOptions; o.Type != stack.GSONone {
			start := ethernetBytes + o.L3HdrLen
			d[0] = 1 // VIRTIO_NET_HDR_F_NEEDS_CSUM
			binary.LittleEndian.PutUint16(d[6:], start)
			binary.LittleEndian.PutUint16(d[8:], o.CsumOffset)
			if p.Data().Size() > int(o.MSS) {
				d[1] = 1 // VIRTIO_NET_HDR_GSO_TCPV4
				binary.LittleEndian.PutUint16(d[2:], uint16(p.HeaderSize()))
				binary.LittleEndian.PutUint16(d[4:], o.MSS)
			}
		}
		p.DecRef()
		if _, err := g.card.Write(d); err != nil {
			return
		}
	}
}

// receive takes frames for the guest, until the card is closed.
func (g *guest) receive() {
	d := make([]byte, datagramBytes)
	for {
		n, err := g.card.Read(d)
		if err != nil {
			return
		}
		p := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(append([]byte(nil), d[virtioBytes:n]...))})
		g.link.InjectInbound(0, p) // the Ethernet header says which protocol
		p.DecRef()
	}
}

// dial connects from the guest.
func (g *guest) dial(to netip.AddrPort) (*gonet.TCPConn, error) {
	ctx, stop := context.WithTimeout(g.t.Context(), time.Minute)
	defer stop()
	return gonet.DialContextTCP(ctx, g.stack, full(to.Addr(), to.Port()), header.IPv4ProtocolNumber)
}

// listen listens in the guest.
func (g *guest) listen(port uint16) *gonet.TCPListener {
	g.t.Helper()
	l, err := gonet.ListenTCP(g.stack, tcpip.FullAddress{NIC: nic, Port: port}, header.IPv4ProtocolNumber)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { l.Close() })
	return l
}

// udp makes a socket of the guest that speaks to one address.
func (g *guest) udp(to netip.AddrPort) *gonet.UDPConn {
	g.t.Helper()
	remote := full(to.Addr(), to.Port())
	c, err := gonet.DialUDP(g.stack, nil, &remote, header.IPv4ProtocolNumber)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { c.Close() })
	return c
}

// viaGateway is an address of the host's loopback as the guest reaches it.
func viaGateway(a net.Addr) netip.AddrPort {
	_, port, _ := net.SplitHostPort(a.String())
	return netip.MustParseAddrPort("10.0.2.2:" + port)
}

// hostListen listens on the host's loopback.
func hostListen(t testing.TB) *net.TCPListener {
	t.Helper()
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// hostUDP is a socket on the host's loopback.
func hostUDP(t testing.TB) *net.UDPConn {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// await waits for something that a goroutine of the network does, and has no other sign of. The test ends by its own time limit if
// it never does.
func await(t testing.TB, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatalf("%s: not in the time of the test", what)
		}
	}
}

// listenUDP listens in the guest.
func (g *guest) listenUDP(port uint16) (*gonet.UDPConn, error) {
	at := tcpip.FullAddress{NIC: nic, Port: port}
	c, err := gonet.DialUDP(g.stack, &at, nil, header.IPv4ProtocolNumber)
	if err == nil {
		g.t.Cleanup(func() { c.Close() })
	}
	return c, err
}

// dialHost connects to an address of the host.
func dialHost(to netip.AddrPort) (*net.TCPConn, error) {
	return net.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(to))
}

// dispatcher takes packets and forgets them.
type dispatcher struct {
	stack.NetworkDispatcher
	count int
}

func (d *dispatcher) DeliverNetworkPacket(tcpip.NetworkProtocolNumber, *stack.PacketBuffer) {
	d.count++
}

// tell says what a driver wants.
func tell(t testing.TB, card *os.File, d usernet.Driver) {
	t.Helper()
	conn, err := card.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var sent error
	if err := errors.Join(conn.Control(func(fd uintptr) { sent = usernet.SendDriver(int(fd), d) }), sent); err != nil {
		t.Fatal(err)
	}
}
