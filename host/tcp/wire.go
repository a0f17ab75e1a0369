package tcp

import (
	"encoding/binary"
	"math/bits"
)

// Offsets in a frame: Ethernet (RFC 894), IPv4 without options (RFC 791), TCP (RFC 9293 section 3.1).
const (
	ethernetBytes = 14
	ipBytes       = 20
	tcpBytes      = 20
	atIP          = ethernetBytes
	atTCP         = atIP + ipBytes
	atPayload     = atTCP + tcpBytes
	maxOptions    = 40

	typeIPv4     = 0x0800
	typeARP      = 0x0806
	protocolICMP = 1
	protocolTCP  = 6
)

// Flags of a segment.
const (
	flagFIN = 1 << iota
	flagSYN
	flagRST
	flagPSH
	flagACK
)

// segment is what a packet of TCP says.
type segment struct {
	from    key
	mac     [6]byte
	seq     sequence
	ack     sequence
	flags   byte
	window  uint16
	payload []byte // in the frame
	frame   uint32
	options []byte
	kept    bool // somebody holds the frame
}

func (g *segment) has(flags byte) bool { return g.flags&flags != 0 }

// length is what a segment takes of the space of sequence numbers.
func (g *segment) length() sequence {
	n := sequence(len(g.payload))
	if g.has(flagSYN) {
		n++
	}
	if g.has(flagFIN) {
		n++
	}
	return n
}

// sequence is a sequence number, compared modulo 2^32.
type sequence uint32

func (a sequence) before(b sequence) bool { return int32(a-b) < 0 }
func (a sequence) upTo(b sequence) bool   { return int32(a-b) <= 0 }

func latest(a, b sequence) sequence {
	if a.before(b) {
		return b
	}
	return a
}

// packet looks at a frame, and says whether somebody holds it from now on.
func (s *Stack) packet(frame uint32, p []byte) (kept bool) {
	s.stats.Packets++
	if len(p) < atTCP || p[6]&1 != 0 {
		s.stats.Malformed++
		return false
	}
	switch binary.BigEndian.Uint16(p[12:]) {
	case typeARP:
		s.arp(p)
		return false
	case typeIPv4:
		return s.ip(frame, p)
	}
	s.stats.Malformed++
	return false
}

// ip takes a packet of IPv4 that is for us.
func (s *Stack) ip(frame uint32, p []byte) (kept bool) {
	ip := p[atIP:]
	total := int(binary.BigEndian.Uint16(ip[2:]))
	switch {
	case ip[0] != 0x45, total < ipBytes, total > len(ip), binary.BigEndian.Uint16(ip[6:])&0x3fff != 0, [6]byte(p[:6]) != s.cfg.MAC,
		[4]byte(ip[16:]) != s.address, !unicast([4]byte(ip[12:])), [4]byte(ip[12:]) == s.address:
		s.stats.Malformed++
		return false
	case fold(sum(0, ip[:ipBytes])) != 0xffff:
		s.stats.BadChecksums++
		return false
	}
	body := p[atTCP : atIP+total] // keeps the frame's capacity
	switch ip[9] {
	case protocolTCP:
		return s.tcp(frame, p, body)
	case protocolICMP:
		s.echo(p, body)
	default:
		s.stats.Malformed++
	}
	return false
}

// unicast says whether an address can be a host's.
func unicast(a [4]byte) bool { return a[0] != 0 && a[0] != 127 && a[0] < 224 }

// tcp takes a segment. body is what follows the header of IPv4.
func (s *Stack) tcp(frame uint32, p, body []byte) (kept bool) {
	if len(body) < tcpBytes {
		s.stats.Malformed++
		return false
	}
	header := int(body[12]>>4) * 4
	if header < tcpBytes || header > len(body) || binary.BigEndian.Uint16(body[2:]) != s.cfg.Port {
		s.stats.Malformed++
		return false
	}
	if !s.summed(p, body) {
		s.stats.BadChecksums++
		return false
	}
	g := segment{
		from: key(binary.BigEndian.Uint32(p[atIP+12:]))<<16 | key(binary.BigEndian.Uint16(body)),
		mac:  [6]byte(p[6:]), seq: sequence(binary.BigEndian.Uint32(body[4:])), ack: sequence(binary.BigEndian.Uint32(body[8:])),
		flags: body[13] & 0x1f, window: binary.BigEndian.Uint16(body[14:]), options: body[tcpBytes:header], payload: body[header:], frame: frame,
	}
	if g.from.port() == 0 {
		s.stats.Malformed++
		return false
	}
	s.segment(&g)
	return g.kept
}

// summed says whether a segment's checksum is right, or was left to a device that is none: then there is the pseudo header's.
func (s *Stack) summed(p, body []byte) bool {
	pseudo := pseudoSum(p[atIP+12:atIP+20], len(body))
	if fold(sum(pseudo, body)) == 0xffff {
		return true
	}
	return s.cfg.Unsummed && fold(pseudo) == binary.BigEndian.Uint16(body[16:])
}

// pseudoSum is that of the pseudo header, addresses are the two of the packet.
func pseudoSum(addresses []byte, length int) uint64 {
	return sum(uint64(protocolTCP)+uint64(length), addresses)
}

// sum adds 16-bit words in the order of the network, the last one padded (RFC 1071).
func sum(n uint64, p []byte) uint64 {
	var carry uint64
	for len(p) >= 8 {
		n, carry = bits.Add64(n, binary.BigEndian.Uint64(p), carry)
		p = p[8:]
	}
	n, carry = bits.Add64(n, 0, carry)
	n += carry
	n = n>>32 + n&0xffffffff
	for len(p) >= 2 {
		n += uint64(binary.BigEndian.Uint16(p))
		p = p[2:]
	}
	if len(p) == 1 {
		n += uint64(p[0]) << 8
	}
	return n
}

// fold makes 16 bits of a sum.
func fold(n uint64) uint16 {
	n = n>>32 + n&0xffffffff
	n = n>>16 + n&0xffff
	n = n>>16 + n&0xffff
	n = n>>16 + n&0xffff
	return uint16(n)
}

// header is what is said in front of a payload.
type header struct {
	to      key
	mac     [6]byte
	seq     sequence
	ack     sequence
	flags   byte
	window  uint16
	options []byte // padded to 4 bytes
}

// write makes a whole frame of p, which has the payload of n bytes behind the headers, and returns its length.
func (s *Stack) write(p []byte, h *header, n int) int {
	be := binary.BigEndian
	copy(p, h.mac[:])
	copy(p[6:], s.cfg.MAC[:])
	be.PutUint16(p[12:], typeIPv4)
	length := tcpBytes + len(h.options) + n
	s.lastID++
	ip := p[atIP:]
	be.PutUint32(ip, 0x45<<24|uint32(ipBytes+length))
	be.PutUint32(ip[4:], uint32(s.lastID)<<16) // routers may cut it: their complaints do not come here
	be.PutUint32(ip[8:], 64<<24|protocolTCP<<16)
	to := h.to.address()
	copy(ip[12:], s.address[:])
	copy(ip[16:], to[:])
	be.PutUint16(ip[10:], ^fold(sum(0, ip[:ipBytes])))
	t := p[atTCP : atTCP+length]
	be.PutUint16(t, s.cfg.Port)
	be.PutUint16(t[2:], h.to.port())
	be.PutUint32(t[4:], uint32(h.seq))
	be.PutUint32(t[8:], uint32(h.ack))
	t[12], t[13] = byte(tcpBytes+len(h.options))<<2, h.flags
	be.PutUint16(t[14:], h.window)
	be.PutUint32(t[16:], 0)
	copy(t[tcpBytes:], h.options)
	be.PutUint16(t[16:], ^fold(sum(pseudoSum(ip[12:20], length), t)))
	return atTCP + length
}

// send sends a segment without payload, if there is a frame and room for it: who gets none asks again.
func (s *Stack) send(h *header) bool {
	f, room, ok := s.cfg.Link.Frame()
	if !ok {
		s.stats.NoFrame++
		return false
	}
	defer s.release(f)
	if !s.cfg.Link.Send(f, s.write(room, h, 0)) {
		s.stats.NoRoom++
		return false
	}
	s.stats.Sent++
	return true
}

// refuse answers a segment for which there is no connection (RFC 9293 section 3.10.7.1).
func (s *Stack) refuse(g *segment) {
	if g.has(flagRST) {
		return
	}
	s.stats.Resets++
	h := header{to: g.from, mac: g.mac, seq: g.ack, flags: flagRST}
	if !g.has(flagACK) {
		h = header{to: g.from, mac: g.mac, ack: g.seq + g.length(), flags: flagRST | flagACK}
	}
	s.send(&h)
}

// control answers what keeps an address alive.

// arp answers a request for the address (RFC 826).
func (s *Stack) arp(p []byte) {
	be := binary.BigEndian
	const bytes = 28
	a := p[ethernetBytes:]
	if !s.cfg.Own || len(a) < bytes || be.Uint32(a) != 1<<16|typeIPv4 || be.Uint32(a[4:]) != 6<<24|4<<16|1 || [4]byte(a[24:]) != s.address || a[8]&1 != 0 {
		s.stats.Malformed++
		return
	}
	f, room, ok := s.cfg.Link.Frame()
	if !ok {
		s.stats.NoFrame++
		return
	}
	defer s.release(f)
	copy(room, a[8:14])
	copy(room[6:], s.cfg.MAC[:])
	be.PutUint16(room[12:], typeARP)
	b := room[ethernetBytes:]
	copy(b, a[:6])
	be.PutUint16(b[6:], 2) // reply
	copy(b[8:], s.cfg.MAC[:])
	copy(b[14:], s.address[:])
	copy(b[18:], a[8:18])
	clear(b[bytes:46]) // the shortest frame
	s.cfg.Link.Send(f, ethernetBytes+46)
}

// echo answers an echo request (RFC 792).
func (s *Stack) echo(p, body []byte) {
	if !s.cfg.Own || len(body) < 8 || body[0] != 8 || fold(sum(0, body)) != 0xffff {
		s.stats.Malformed++
		return
	}
	f, room, ok := s.cfg.Link.Frame()
	if !ok || len(room) < atTCP+len(body) {
		if ok {
			s.release(f)
		}
		s.stats.NoFrame++
		return
	}
	defer s.release(f)
	n := copy(room, p[:atTCP+len(body)])
	copy(room, p[6:12])
	copy(room[6:], p[:6])
	copy(room[atIP+12:], p[atIP+16:atIP+20])
	copy(room[atIP+16:], p[atIP+12:atIP+16])
	be := binary.BigEndian
	room[atIP+8] = 64
	be.PutUint16(room[atIP+10:], 0)
	be.PutUint16(room[atIP+10:], ^fold(sum(0, room[atIP:atTCP])))
	be.PutUint32(room[atTCP:], 0)
	be.PutUint16(room[atTCP+2:], ^fold(sum(0, room[atTCP:n])))
	s.cfg.Link.Send(f, n)
}
