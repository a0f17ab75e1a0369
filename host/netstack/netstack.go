package netstack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/log"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"

	"usui/host/usernet"
)

// Config describes a network.
type Config struct {
	usernet.Config

	// Frames are sockets as [usui/host/usernet] describes them, one for each queue pair of the card, non-blocking. They are the
	// network's from New on.
	Frames []*os.File

	// Resolvers are asked instead of those in /etc/resolv.conf.
	Resolvers []netip.AddrPort
}

// Bounds of what a guest can make grow. A connection has at most bufferBytes in each direction in the stack and two buffers of
// copyBytes, beside what the host's kernel gives a socket: 288 MiB for all of them together, if the guest leaves all of its data unread.
const (
	maxTCP      = 256 // connections each way, those that are closing included
	maxUDP      = 512 // flows, at most half of them of published ports
	maxAttempts = 128 // connections of the guest whose answer from the host's network is awaited
	bufferBytes = 256 << 10
)

// Descriptors is how many files a network with that configuration may hold open at once.
func Descriptors(cfg usernet.Config, queues int) int {
	return queues + 2*maxTCP + maxUDP + maxQuestions + len(cfg.Publish)
}

// slots bounds something: it holds one value for each.
type slots chan struct{}

func (s slots) release() { <-s }

// nic is the number of the stack's one interface.
const nic = 1

// gatewayMAC is the gateway's address on the wire, as slirp's.
var gatewayMAC = [6]byte{0x52, 0x55, 10, 0, 2, 2}

// Network is the network of one guest.
type Network struct {
	cfg   Config
	stack *stack.Stack
	link  *link
	stats counters

	outgoing slots // connections that the guest opened
	incoming slots // and those that came through published ports, which cannot take the guest's own
	udp      udpFlows
	ports    []port

	work    sync.WaitGroup // goroutines of Run
	mu      sync.Mutex
	stopped bool // guarded by mu; nothing is added to work any more
}

// quiet turns off gVisor's own log, which a guest could fill.
var quiet = sync.OnceFunc(func() { log.SetTarget(&log.Writer{Next: io.Discard}) })

// New makes a network and listens on the published ports.
func New(cfg Config) (_ *Network, err error) {
	n := &Network{cfg: cfg, outgoing: make(slots, maxTCP), incoming: make(slots, maxTCP)}
	n.link = &link{stats: &n.stats}
	defer func() {
		if err != nil {
			n.Close()
		}
	}()
	for i, f := range cfg.Frames {
		q, err := newQueue(f, func() bool { return n.link.takes(usernet.OffloadChecksum) }, &n.stats)
		if err != nil {
			closeFiles(cfg.Frames[i:])
			return nil, err
		}
		n.link.queues = append(n.link.queues, q)
	}
	if len(cfg.Frames) == 0 {
		return nil, errors.New("a network needs a card")
	}
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	n.link.gate = gate{mtu: cfg.MTU, mac: gatewayMAC, subnet: cfg.Subnet.Masked(), gateway: cfg.Gateway(), resolver: cfg.Resolver()}
	n.udp.init(&n.stats)
	if err := n.listen(); err != nil {
		return nil, err
	}
	quiet()
	return n, n.build()
}

// build makes the stack.
func (n *Network) build() error {
	n.stack = stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol, arp.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4},
	})
	sack, moderate := tcpip.TCPSACKEnabled(true), tcpip.TCPModerateReceiveBufferOption(false)
	timeWait, linger := tcpip.TCPTimeWaitTimeoutOption(timeWaitTime), tcpip.TCPLingerTimeoutOption(settleTime)
	for _, o := range []tcpip.SettableTransportProtocolOption{
		&sack, &moderate, &timeWait, &linger,
		&tcpip.TCPReceiveBufferSizeRangeOption{Min: 4 << 10, Default: bufferBytes, Max: bufferBytes},
		&tcpip.TCPSendBufferSizeRangeOption{Min: 4 << 10, Default: bufferBytes, Max: bufferBytes},
	} {
		if err := n.stack.SetTransportProtocolOption(tcp.ProtocolNumber, o); err != nil {
			return fmt.Errorf("network stack: option %T: %s", o, err)
		}
	}
	if err := n.stack.CreateNIC(nic, n.link); err != nil {
		return fmt.Errorf("network stack: %s", err)
	}
	for _, a := range []netip.Addr{n.cfg.Gateway(), n.cfg.Resolver()} {
		address := tcpip.ProtocolAddress{
			Protocol:          header.IPv4ProtocolNumber,
			AddressWithPrefix: tcpip.AddressWithPrefix{Address: fromNetip(a), PrefixLen: n.cfg.Subnet.Bits()},
		}
		if err := n.stack.AddProtocolAddress(nic, address, stack.AddressProperties{}); err != nil {
			return fmt.Errorf("network stack: address %s: %s", a, err)
		}
	}
	n.stack.SetRouteTable([]tcpip.Route{{Destination: header.IPv4EmptySubnet, NIC: nic}})
	// Packets for any address are ours, and we answer with that address.
	if err := n.stack.SetPromiscuousMode(nic, true); err != nil {
		return fmt.Errorf("network stack: %s", err)
	}
	if err := n.stack.SetSpoofing(nic, true); err != nil {
		return fmt.Errorf("network stack: %s", err)
	}
	return nil
}

// Run serves the guest until ctx ends or the other end of a queue is closed, which is no error. A network runs once.
func (n *Network) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	forwardTCP := tcp.NewForwarder(n.stack, bufferBytes, maxAttempts, func(r *tcp.ForwarderRequest) { n.connect(ctx, r) })
	n.stack.SetTransportProtocolHandler(tcp.ProtocolNumber, forwardTCP.HandlePacket)
	forwardUDP := udp.NewForwarder(n.stack, func(r *udp.ForwarderRequest) bool { return n.converse(ctx, r) })
	n.stack.SetTransportProtocolHandler(udp.ProtocolNumber, forwardUDP.HandlePacket)
	err := n.serveDHCP(ctx)
	if err == nil {
		err = n.serveDNS(ctx)
	}
	if err != nil {
		stop()
	}
	for _, p := range n.ports {
		n.start(func() { p.serve(ctx, n) })
	}
	n.start(func() { n.udp.expire(ctx) })
	for _, q := range n.link.queues {
		n.start(q.flush)
		n.start(func() {
			n.link.serve(q)
			stop()
		})
	}
	<-ctx.Done()
	n.halt()
	n.work.Wait()
	return err
}

// begin notes a goroutine that Run waits for, unless the network has stopped. The goroutine calls work.Done at its end.
func (n *Network) begin() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.stopped {
		n.work.Add(1)
	}
	return !n.stopped
}

// start runs f as a goroutine that Run waits for, and reports whether it did: not when the network has stopped.
func (n *Network) start(f func()) bool {
	if !n.begin() {
		return false
	}
	go func() {
		defer n.work.Done()
		f()
	}()
	return true
}

// halt ends everything that could keep a goroutine of Run.
func (n *Network) halt() {
	n.mu.Lock()
	n.stopped = true
	n.mu.Unlock()
	for _, p := range n.ports {
		p.close()
	}
	for _, q := range n.link.queues {
		q.close()
	}
	n.udp.close()
}

// Close releases all. It is called after Run has returned, or instead of Run.
func (n *Network) Close() error {
	n.halt()
	if n.stack != nil {
		n.stack.Destroy()
	}
	return nil
}

func closeFiles(files []*os.File) {
	for _, f := range files {
		_ = f.Close() // nothing was written
	}
}

// target is where on the host's network an address that the guest uses leads. ok is false for what is forbidden.
func (n *Network) target(a netip.AddrPort) (_ netip.AddrPort, ok bool) {
	ip := a.Addr()
	if n.cfg.Restrict {
		return a, false
	}
	if ip == n.cfg.Gateway() {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), a.Port()), !n.cfg.NoLoopback
	}
	first := ip.As4()[0] // 0 is this network (RFC 1122), 224 to 239 multicast, above is reserved, and broadcast
	return a, !n.cfg.Subnet.Contains(ip) && !ip.IsLoopback() && first != 0 && first < 224
}

func fromNetip(a netip.Addr) tcpip.Address { return tcpip.AddrFrom4(a.As4()) }

// toNetip converts an address of the stack's packets, which are IPv4.
func toNetip(a tcpip.Address, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4(a.As4()), port)
}

func full(a netip.Addr, port uint16) tcpip.FullAddress {
	return tcpip.FullAddress{NIC: nic, Addr: fromNetip(a), Port: port}
}

// Times of TCP connections to the guest.
const (
	timeWaitTime  = 2 * time.Second  // nothing on this wire is late
	settleTime    = 60 * time.Second // for the guest to take what was sent to it before the end
	dialTime      = 30 * time.Second // for the other side to answer
	handshakeTime = 10 * time.Second // for the guest to finish what it began
)
