package netstack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// port is a published port.
type port interface {
	// serve carries what comes in, until ctx ends or the port is closed.
	serve(ctx context.Context, n *Network)

	// addr is where it listens.
	addr() netip.AddrPort

	close()
}

// listen opens the published ports.
func (n *Network) listen() error {
	for _, p := range n.cfg.Publish {
		var opened port
		var err error
		if p.UDP {
			var conn *net.UDPConn
			if conn, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(p.Host)); err == nil {
				opened = &udpPort{conn: conn, guest: p.Guest, flows: map[netip.AddrPort]*udpFlow{}}
			}
		} else {
			var l *net.TCPListener
			if l, err = net.ListenTCP("tcp", net.TCPAddrFromAddrPort(p.Host)); err == nil {
				opened = &tcpPort{listener: l, guest: p.Guest}
			}
		}
		if err != nil {
			return fmt.Errorf("publish %s: %w", p, err)
		}
		n.ports = append(n.ports, opened)
	}
	return nil
}

// Ports are where the published ports listen, in the order of the configuration.
func (n *Network) Ports() (list []netip.AddrPort) {
	for _, p := range n.ports {
		list = append(list, p.addr())
	}
	return list
}

// tcpPort is a published port of TCP.
type tcpPort struct {
	listener *net.TCPListener
	guest    uint16
}

func (p *tcpPort) addr() netip.AddrPort { return p.listener.Addr().(*net.TCPAddr).AddrPort() }

// close ends serve.
func (p *tcpPort) close() { _ = p.listener.Close() }

// serve accepts only as many connections as there is room for; the others wait in the kernel.
func (p *tcpPort) serve(ctx context.Context, n *Network) {
	for {
		select {
		case n.incoming <- struct{}{}:
		case <-ctx.Done():
			return
		}
		host, err := p.listener.AcceptTCP()
		if err != nil {
			n.incoming.release()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			pause(ctx) // the client has gone, or the host is short of something for now
			continue
		}
		started := n.start(func() {
			defer n.incoming.release()
			guest, err := n.dialGuest(ctx, p.guest)
			if err != nil {
				n.stats.flowsRefused.Add(1)
				reset(host)
				return
			}
			n.carry(ctx, guest, host)
		})
		if !started {
			n.incoming.release()
			reset(host)
		}
	}
}

// pauseTime keeps an error that stays from keeping a processor busy.
const pauseTime = 10 * time.Millisecond

func pause(ctx context.Context) {
	select {
	case <-time.After(pauseTime):
	case <-ctx.Done():
	}
}

// udpPort is a published port of UDP: one socket, and a flow for each address that speaks to it.
type udpPort struct {
	conn  *net.UDPConn
	guest uint16

	mu    sync.Mutex
	flows map[netip.AddrPort]*udpFlow // guarded by mu
}

func (p *udpPort) addr() netip.AddrPort { return p.conn.LocalAddr().(*net.UDPAddr).AddrPort() }

// close ends serve.
func (p *udpPort) close() { _ = p.conn.Close() }

func (p *udpPort) serve(ctx context.Context, n *Network) {
	buffer := datagramBuffers.Get().(*[maxIPBytes]byte)
	defer datagramBuffers.Put(buffer)
	for {
		count, from, err := p.conn.ReadFromUDPAddrPort(buffer[:])
		if errors.Is(err, net.ErrClosed) || ctx.Err() != nil {
			return
		}
		if err != nil {
			pause(ctx) // an answer to what was sent before, most likely
			continue
		}
		if f := p.flow(n, from); f != nil {
			n.udp.toGuest(f, buffer[:min(count, maxUDPBytes)])
		}
	}
}

// flow returns the one of an address, a new one if need be, or nil if there is no room. Only serve calls it.
func (p *udpPort) flow(n *Network, from netip.AddrPort) *udpFlow {
	p.mu.Lock()
	f := p.flows[from]
	p.mu.Unlock()
	if f != nil {
		return f
	}
	guest, err := n.dialGuestUDP(p.guest)
	if err != nil {
		n.stats.flowsRefused.Add(1)
		return nil
	}
	f = &udpFlow{guest: guest, idle: udpIdle}
	p.mu.Lock()
	p.flows[from] = f
	p.mu.Unlock()
	if !n.udp.add(f, func() { p.forget(from) }) {
		return nil
	}
	if !n.start(func() {
		n.udp.toHost(f, func(b []byte) error { _, err := p.conn.WriteToUDPAddrPort(b, from); return err })
	}) {
		f.close()
		return nil
	}
	return f
}

func (p *udpPort) forget(from netip.AddrPort) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.flows, from)
}

// dialGuestUDP makes an endpoint that speaks to a port of the guest from a free one of the gateway.
func (n *Network) dialGuestUDP(port uint16) (*guestConn, error) {
	var wq waiter.Queue
	ep, terr := n.stack.NewEndpoint(udp.ProtocolNumber, header.IPv4ProtocolNumber, &wq)
	if terr != nil {
		return nil, fmt.Errorf("speak to the guest's port %d: %s", port, terr)
	}
	if terr = ep.Bind(full(n.cfg.Gateway(), 0)); terr == nil {
		terr = ep.Connect(full(n.cfg.Guest(), port))
	}
	if terr != nil {
		ep.Close()
		return nil, fmt.Errorf("speak to the guest's port %d: %s", port, terr)
	}
	return newGuestConn(&wq, ep), nil
}
