package netstack

import (
	"encoding/binary"
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// The header in front of each frame, virtio_net_hdr_v1 (virtio 1.2 section 5.1.6), little-endian:
// flags u8, gso_type u8, hdr_len u16, gso_size u16, csum_start u16, csum_offset u16, num_buffers u16.
const (
	virtioBytes   = 12
	needsChecksum = 1 // flags: VIRTIO_NET_HDR_F_NEEDS_CSUM
	gsoNone       = 0
	gsoTCPv4      = 1
	gsoECN        = 0x80 // a bit beside the type
)

const (
	ethernetBytes = header.EthernetMinimumSize
	arpBytes      = ethernetBytes + header.ARPSize
	ipBytes       = header.IPv4MinimumSize
	maxIPBytes    = 65535
	datagramBytes = virtioBytes + ethernetBytes + maxIPBytes

	udpChecksumOffset = 6 // RFC 768
)

// gate knows what a frame of the guest may hold.
type gate struct {
	mtu      int
	mac      [6]byte // ours
	subnet   netip.Prefix
	gateway  netip.Addr
	resolver netip.Addr
}

// parcel is what of a datagram goes to the stack.
type parcel struct {
	protocol tcpip.NetworkProtocolNumber
	to       tcpip.PacketType
	packet   []byte // without the Ethernet header
}

// admit looks at one datagram: the virtio header, then a frame. What it lets through has whole headers up to IP or ARP, and addresses
// that a guest may use.
func (g *gate) admit(datagram []byte) (p parcel, ok bool) {
	if len(datagram) < virtioBytes+ethernetBytes {
		return p, false
	}
	h, frame := datagram[:virtioBytes], datagram[virtioBytes:]
	if !g.offloadsMakeSense(h, frame) {
		return p, false
	}
	switch dst := [6]byte(frame[0:6]); {
	case dst == g.mac:
		p.to = tcpip.PacketHost
	case dst == [6]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}:
		p.to = tcpip.PacketBroadcast
	default:
		return p, false
	}
	p.protocol = tcpip.NetworkProtocolNumber(binary.BigEndian.Uint16(frame[12:14]))
	p.packet = frame[ethernetBytes:]
	switch p.protocol {
	case header.ARPProtocolNumber:
		return p, g.admitARP(p.packet)
	case header.IPv4ProtocolNumber:
		return p, g.admitIP(p.packet)
	}
	return p, false
}

// offloadsMakeSense checks the virtio header: what it says of the checksum lies inside the frame, and only TCP over IPv4 is longer than
// the MTU.
func (g *gate) offloadsMakeSense(h, frame []byte) bool {
	if h[0]&needsChecksum != 0 {
		start, offset := int(binary.LittleEndian.Uint16(h[6:8])), int(binary.LittleEndian.Uint16(h[8:10]))
		if start < ethernetBytes || start+offset+2 > len(frame) {
			return false
		}
	}
	switch h[1] &^ gsoECN {
	case gsoNone:
		return h[1] == gsoNone && len(frame) <= ethernetBytes+g.mtu
	case gsoTCPv4:
		return h[0]&needsChecksum != 0 && binary.LittleEndian.Uint16(h[4:6]) != 0 && len(frame) <= ethernetBytes+maxIPBytes &&
			binary.BigEndian.Uint16(frame[12:14]) == uint16(header.IPv4ProtocolNumber)
	}
	return false
}

// admitARP lets through questions for our addresses, and answers.
func (g *gate) admitARP(p []byte) bool {
	if len(p) < header.ARPSize || !header.ARP(p).IsValid() {
		return false
	}
	sender, target := netip.AddrFrom4([4]byte(p[14:18])), netip.AddrFrom4([4]byte(p[24:28]))
	switch header.ARP(p).Op() {
	case header.ARPRequest:
		return (sender.IsUnspecified() || g.isGuest(sender)) && (target == g.gateway || target == g.resolver)
	case header.ARPReply:
		return g.isGuest(sender)
	}
	return false
}

func (g *gate) admitIP(p []byte) bool {
	if len(p) < ipBytes || p[0]>>4 != 4 {
		return false
	}
	if ihl := int(p[0]&0xf) * 4; ihl < ipBytes || ihl > len(p) {
		return false
	}
	source, target := netip.AddrFrom4([4]byte(p[12:16])), netip.AddrFrom4([4]byte(p[16:20]))
	if source.IsUnspecified() { // a guest that asks for its address
		return target == netip.AddrFrom4([4]byte{255, 255, 255, 255})
	}
	return g.isGuest(source)
}

// isGuest says that the guest may have the address.
func (g *gate) isGuest(a netip.Addr) bool {
	return g.subnet.Contains(a) && a != g.gateway && a != g.resolver && a != g.subnet.Addr() && a != lastOf(g.subnet)
}

// lastOf is the broadcast address of a subnet.
func lastOf(p netip.Prefix) netip.Addr {
	a := p.Masked().Addr().As4()
	n := binary.BigEndian.Uint32(a[:]) | (1<<(32-p.Bits()) - 1)
	return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, n)))
}

// finish writes the virtio header of a frame to the guest. With partial the guest takes checksums of TCP and UDP that are not
// finished; the stack has left them out, and the sum over the pseudo header stands in their place.
func finish(h, frame []byte, gso stack.GSO, partial bool) {
	clear(h)
	if len(frame) < ethernetBytes+ipBytes || binary.BigEndian.Uint16(frame[12:14]) != uint16(header.IPv4ProtocolNumber) {
		return
	}
	ip := header.IPv4(frame[ethernetBytes:])
	start := ethernetBytes + int(ip.HeaderLength())
	if gso.Type == stack.GSOTCPv4 {
		describeChecksum(h, start, header.TCPChecksumOffset)
		headers := start + int(header.TCP(frame[start:]).DataOffset())
		if len(frame)-headers > int(gso.MSS) {
			h[1] = gsoTCPv4
			binary.LittleEndian.PutUint16(h[2:4], uint16(headers))
			binary.LittleEndian.PutUint16(h[4:6], gso.MSS)
		}
		return
	}
	if !partial || ip.FragmentOffset() != 0 || ip.More() {
		return // a fragment's datagram has no checksum, which IPv4 allows UDP
	}
	offset := 0
	switch ip.TransportProtocol() {
	case header.TCPProtocolNumber:
		offset = header.TCPChecksumOffset
	case header.UDPProtocolNumber:
		offset = udpChecksumOffset
	default:
		return
	}
	if start+offset+2 > len(frame) {
		return
	}
	sum := header.PseudoHeaderChecksum(ip.TransportProtocol(), ip.SourceAddress(), ip.DestinationAddress(), uint16(len(frame)-start))
	checksum.Put(frame[start+offset:], sum)
	describeChecksum(h, start, offset)
}

func describeChecksum(h []byte, start, offset int) {
	h[0] = needsChecksum
	binary.LittleEndian.PutUint16(h[6:8], uint16(start))
	binary.LittleEndian.PutUint16(h[8:10], uint16(offset))
}
