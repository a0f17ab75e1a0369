package netstack

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// DHCP for one guest: RFC 2131, and RFC 2132 for the options.
const (
	dhcpServerPort = 67
	dhcpClientPort = 68

	bootRequest, bootReply = 1, 2
	dhcpFixedBytes         = 240 // up to the options, the magic cookie included
	dhcpLeastBytes         = 300 // what a BOOTP relay or client may ask of a message
	dhcpCookie             = 0x63825363

	optionMask, optionRouter, optionDNS, optionMTU = 1, 3, 6, 26
	optionRequested, optionLease                   = 50, 51
	optionType, optionServer                       = 53, 54
	optionEnd                                      = 255

	dhcpDiscover, dhcpOffer, dhcpRequest, dhcpAck, dhcpNak, dhcpInform = 1, 2, 3, 5, 6, 8

	leaseTime = 24 * time.Hour
)

// dhcpMessage is what of a client's message matters.
type dhcpMessage struct {
	kind      byte
	header    [dhcpFixedBytes]byte
	client    netip.Addr // that it has already, or unspecified
	requested netip.Addr // that it wants, or the zero Addr
	server    netip.Addr // that it speaks to, or the zero Addr
}

// parseDHCP reads a request of a client on Ethernet that came without a relay.
func parseDHCP(p []byte) (m dhcpMessage, ok bool) {
	if len(p) < dhcpFixedBytes || p[0] != bootRequest || p[1] != 1 || p[2] != 6 ||
		binary.BigEndian.Uint32(p[24:28]) != 0 || binary.BigEndian.Uint32(p[236:240]) != dhcpCookie {
		return m, false
	}
	m.header = [dhcpFixedBytes]byte(p)
	m.client = netip.AddrFrom4([4]byte(p[12:16]))
	for p = p[dhcpFixedBytes:]; len(p) > 0; {
		if p[0] == 0 { // padding
			p = p[1:]
			continue
		}
		if p[0] == optionEnd || len(p) < 2 || len(p) < 2+int(p[1]) {
			break
		}
		m.option(p[0], p[2:2+int(p[1])])
		p = p[2+int(p[1]):]
	}
	return m, m.kind != 0
}

func (m *dhcpMessage) option(code byte, value []byte) {
	switch {
	case code == optionType && len(value) == 1:
		m.kind = value[0]
	case code == optionRequested && len(value) == 4:
		m.requested = netip.AddrFrom4([4]byte(value))
	case code == optionServer && len(value) == 4:
		m.server = netip.AddrFrom4([4]byte(value))
	}
}

// answerDHCP makes the answer to a client's message; nil is none.
func (n *Network) answerDHCP(m *dhcpMessage) []byte {
	server, guest := n.cfg.Gateway(), n.cfg.Guest()
	if m.server.IsValid() && m.server != server {
		return nil // it chose another server
	}
	switch m.kind {
	case dhcpDiscover:
		return n.dhcpReply(m, dhcpOffer)
	case dhcpInform:
		return n.dhcpReply(m, dhcpAck)
	case dhcpRequest:
		wanted := m.requested
		if !wanted.IsValid() {
			wanted = m.client
		}
		if wanted != guest {
			return n.dhcpReply(m, dhcpNak)
		}
		n.stats.leasesGiven.Add(1)
		return n.dhcpReply(m, dhcpAck)
	}
	return nil
}

// dhcpReply makes a message of that kind with all that a guest needs.
func (n *Network) dhcpReply(m *dhcpMessage, kind byte) []byte {
	p := append(make([]byte, 0, dhcpLeastBytes), m.header[:]...)
	p[0] = bootReply
	p[3] = 0             // hops
	clear(p[16:28])      // addresses, filled in below
	clear(p[44:236])     // names of a server and a file
	if kind == dhcpNak { // it has no address
		clear(p[12:16])
	}
	server, guest := n.cfg.Gateway().As4(), n.cfg.Guest().As4()
	p = append(p, optionType, 1, kind, optionServer, 4)
	p = append(p, server[:]...)
	if kind == dhcpNak {
		return pad(append(p, optionEnd))
	}
	if m.kind != dhcpInform { // who informs has an address of its own
		copy(p[16:20], guest[:])
		p = append(p, optionLease, 4)
		p = binary.BigEndian.AppendUint32(p, uint32(leaseTime/time.Second))
	}
	p = append(p, optionMask, 4)
	p = append(p, net.CIDRMask(n.cfg.Subnet.Bits(), 32)...)
	if !n.cfg.Restrict {
		p = append(append(p, optionRouter, 4), server[:]...)
		resolver := n.cfg.Resolver().As4()
		p = append(append(p, optionDNS, 4), resolver[:]...)
	}
	p = append(p, optionMTU, 2)
	p = binary.BigEndian.AppendUint16(p, uint16(n.cfg.MTU))
	return pad(append(p, optionEnd))
}

func pad(p []byte) []byte {
	for len(p) < dhcpLeastBytes {
		p = append(p, 0)
	}
	return p
}

// serveDHCP starts the server. It ends with ctx.
func (n *Network) serveDHCP(ctx context.Context) error {
	conn, err := n.listenUDP(netip.Addr{}, dhcpServerPort)
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { conn.Close() })
	n.start(func() {
		buffer := make([]byte, 2048) // longer ones are cut, and lack nothing that matters
		for {
			count, _, err := conn.ReadFrom(buffer)
			if err != nil {
				return
			}
			m, ok := parseDHCP(buffer[:count])
			if !ok {
				continue
			}
			answer := n.answerDHCP(&m)
			if answer == nil {
				continue
			}
			to := net.UDPAddr{IP: net.IPv4bcast.To4(), Port: dhcpClientPort}
			if m.client == n.cfg.Guest() && answer[242] != dhcpNak { // it can be reached
				to.IP = m.client.AsSlice()
			}
			_, _ = conn.WriteTo(answer, &to) // the client asks again
		}
	})
	return nil
}

// listenUDP makes an endpoint of our own; the zero Addr is all addresses, broadcast included.
func (n *Network) listenUDP(at netip.Addr, port uint16) (*gonet.UDPConn, error) {
	var wq waiter.Queue
	ep, terr := n.stack.NewEndpoint(udp.ProtocolNumber, header.IPv4ProtocolNumber, &wq)
	if terr != nil {
		return nil, fmt.Errorf("network stack: UDP port %d: %s", port, terr)
	}
	ep.SocketOptions().SetBroadcast(true)
	address := tcpip.FullAddress{NIC: nic, Port: port}
	if at.IsValid() {
		address.Addr = fromNetip(at)
	}
	if terr := ep.Bind(address); terr != nil {
		ep.Close()
		return nil, fmt.Errorf("network stack: UDP port %d: %s", port, terr)
	}
	return gonet.NewUDPConn(&wq, ep), nil
}
