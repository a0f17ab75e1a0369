package netstack

import (
	"encoding/binary"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"

	"usui/host/usernet"
)

// udpFrame is a datagram of the wire: virtio header, Ethernet to everyone, IP, UDP.
func udpFrame(from, to netip.AddrPort, payload []byte) []byte {
	d := make([]byte, virtioBytes+ethernetBytes+ipBytes+8, 2048)
	header.Ethernet(d[virtioBytes:]).Encode(&header.EthernetFields{
		SrcAddr: "\x52\x54\x00\x12\x34\x56", DstAddr: header.EthernetBroadcastAddress, Type: header.IPv4ProtocolNumber})
	ip := header.IPv4(d[virtioBytes+ethernetBytes:])
	ip.Encode(&header.IPv4Fields{TotalLength: uint16(ipBytes + 8 + len(payload)), TTL: 64, Protocol: 17,
		SrcAddr: fromNetip(from.Addr()), DstAddr: fromNetip(to.Addr())})
	ip.SetChecksum(^ip.CalculateChecksum())
	header.UDP(ip[ipBytes:]).Encode(&header.UDPFields{SrcPort: from.Port(), DstPort: to.Port(), Length: uint16(8 + len(payload))})
	return append(d, payload...)
}

// dhcpQuestion is a message of a client, with options in text form: code, then the value's bytes.
func dhcpQuestion(kind byte, client netip.Addr, options ...[]byte) []byte {
	p := make([]byte, dhcpFixedBytes)
	p[0], p[1], p[2] = bootRequest, 1, 6
	binary.BigEndian.PutUint32(p[4:], 0xfeedface)
	copy(p[12:], client.AsSlice())
	copy(p[28:], guestMAC[:])
	binary.BigEndian.PutUint32(p[236:], dhcpCookie)
	p = append(p, 0, optionType, 1, kind)
	for _, o := range options {
		p = append(append(p, o[0], byte(len(o)-1)), o[1:]...)
	}
	return append(p, optionEnd)
}

func address(code byte, a string) []byte {
	four := netip.MustParseAddr(a).As4()
	return append([]byte{code}, four[:]...)
}

// dhcpOptions are the options of a message by their codes.
func dhcpOptions(t *testing.T, p []byte) map[byte][]byte {
	t.Helper()
	list := map[byte][]byte{}
	for p = p[dhcpFixedBytes:]; p[0] != optionEnd; p = p[2+p[1]:] {
		list[p[0]] = p[2 : 2+p[1]]
	}
	return list
}

var (
	nobody   = netip.MustParseAddrPort("0.0.0.0:68")
	everyone = netip.MustParseAddrPort("255.255.255.255:67")
)

// receiveUDP reads frames until one holds UDP from a port, and checks its checksum.
func receiveUDP(t *testing.T, card *os.File, port uint16) (to netip.AddrPort, payload []byte) {
	t.Helper()
	if err := card.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	d := make([]byte, datagramBytes)
	for {
		n, err := card.Read(d)
		if err != nil {
			t.Fatalf("no datagram from port %d: %v", port, err)
		}
		frame := d[virtioBytes:n]
		if header.Ethernet(frame).Type() != header.IPv4ProtocolNumber {
			continue
		}
		ip := header.IPv4(frame[ethernetBytes:])
		udp := header.UDP(ip.Payload())
		if ip.Protocol() != 17 || udp.SourcePort() != port {
			continue
		}
		if !ip.IsChecksumValid() || !udp.IsChecksumValid(ip.SourceAddress(), ip.DestinationAddress(), checksum.Checksum(udp.Payload(), 0)) {
			t.Error("a checksum is wrong")
		}
		return toNetip(ip.DestinationAddress(), udp.DestinationPort()), udp.Payload()
	}
}

func TestDHCP(t *testing.T) {
	n, card := network(t, func(c *Config) { c.MTU = 1400 })
	ask := func(from netip.AddrPort, question []byte) (netip.AddrPort, []byte) {
		t.Helper()
		if _, err := card.Write(udpFrame(from, everyone, question)); err != nil {
			t.Fatal(err)
		}
		return receiveUDP(t, card, dhcpServerPort)
	}
	lease := map[byte][]byte{
		optionServer: {10, 0, 2, 2}, optionLease: {0, 1, 0x51, 0x80}, optionMask: {255, 255, 255, 0}, optionRouter: {10, 0, 2, 2},
		optionDNS: {10, 0, 2, 3}, optionMTU: {5, 0x78},
	}
	for _, tt := range []struct {
		question []byte
		answer   byte
		address  string
	}{
		{dhcpQuestion(dhcpDiscover, nobody.Addr()), dhcpOffer, "10.0.2.15"},
		{dhcpQuestion(dhcpRequest, nobody.Addr(), address(optionRequested, "10.0.2.15"), address(optionServer, "10.0.2.2")), dhcpAck, "10.0.2.15"},
		{dhcpQuestion(dhcpRequest, nobody.Addr(), address(optionRequested, "192.168.1.7")), dhcpNak, "0.0.0.0"},
	} {
		to, p := ask(nobody, tt.question)
		if to.String() != "255.255.255.255:68" || len(p) < dhcpLeastBytes || p[0] != bootReply || string(p[4:8]) != "\xfe\xed\xfa\xce" || string(p[28:34]) != string(guestMAC[:]) {
			t.Fatalf("answer to %s: % x", to, p)
		}
		want := map[byte][]byte{optionServer: {10, 0, 2, 2}}
		if tt.answer != dhcpNak {
			want = lease
		}
		got := dhcpOptions(t, p)
		if kind := got[optionType]; len(kind) != 1 || kind[0] != tt.answer || netip.AddrFrom4([4]byte(p[16:20])).String() != tt.address {
			t.Errorf("answer %d with address %v, want %d, %s", kind, p[16:20], tt.answer, tt.address)
		}
		delete(got, optionType)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("options (-want +got):\n%s", diff)
		}
	}
	if s := n.Stats(); s.LeasesGiven != 1 {
		t.Errorf("%d leases, want 1", s.LeasesGiven)
	}
}

func TestDHCPSaysNothing(t *testing.T) {
	n := &Network{cfg: Config{Config: usernet.Default()}}
	for name, p := range map[string][]byte{
		"to another server": dhcpQuestion(dhcpRequest, nobody.Addr(), address(optionServer, "10.0.2.9")),
		"a release":         dhcpQuestion(7, netip.MustParseAddr("10.0.2.15")),
		"an answer":         append([]byte{bootReply}, dhcpQuestion(dhcpDiscover, nobody.Addr())[1:]...),
		"no kind":           dhcpQuestion(0, nobody.Addr()),
		"cut":               dhcpQuestion(dhcpDiscover, nobody.Addr())[:dhcpFixedBytes+3],
	} {
		if m, ok := parseDHCP(p); ok && n.answerDHCP(&m) != nil {
			t.Errorf("%s is answered", name)
		}
	}
}

// TestRestrictedLease has no way out in it.
func TestRestrictedLease(t *testing.T) {
	n := &Network{cfg: Config{Config: usernet.Default()}}
	n.cfg.Restrict = true
	m, ok := parseDHCP(dhcpQuestion(dhcpDiscover, nobody.Addr()))
	if got := dhcpOptions(t, n.answerDHCP(&m)); !ok || got[optionRouter] != nil || got[optionDNS] != nil || got[optionMask] == nil {
		t.Errorf("options %v, want a mask and neither router nor resolver", got)
	}
}

// arpFrame asks who has an address.
func arpFrame(target string) []byte {
	d := make([]byte, virtioBytes+arpBytes)
	header.Ethernet(d[virtioBytes:]).Encode(&header.EthernetFields{
		SrcAddr: "\x52\x54\x00\x12\x34\x56", DstAddr: header.EthernetBroadcastAddress, Type: header.ARPProtocolNumber})
	p := header.ARP(d[virtioBytes+ethernetBytes:])
	p.SetIPv4OverEthernet()
	p.SetOp(header.ARPRequest)
	copy(p.HardwareAddressSender(), guestMAC[:])
	copy(p.ProtocolAddressSender(), []byte{10, 0, 2, 15})
	a := netip.MustParseAddr(target).As4()
	copy(p.ProtocolAddressTarget(), a[:])
	return d
}

// TestARP: the gateway answers for its two addresses and for no other.
func TestARP(t *testing.T) {
	_, card := network(t, nil)
	for _, target := range []string{"10.0.2.15", "10.0.2.77", "10.0.2.2", "8.8.8.8", "10.0.2.3"} {
		if _, err := card.Write(arpFrame(target)); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []byte{2, 3} {
		d := make([]byte, datagramBytes)
		if _, err := card.Read(d); err != nil {
			t.Fatal(err)
		}
		p := header.ARP(d[virtioBytes+ethernetBytes:])
		if p.Op() != header.ARPReply || p.ProtocolAddressSender()[3] != want || string(p.HardwareAddressSender()) != string(gatewayMAC[:]) {
			t.Errorf("answer for %v by %x, want 10.0.2.%d", p.ProtocolAddressSender(), p.HardwareAddressSender(), want)
		}
	}
}

// dnsQuestion asks for the address of a name.
func dnsQuestion(name string, kind uint16) []byte {
	p := []byte{0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0}
	for label := range strings.SplitSeq(name, ".") {
		p = append(append(p, byte(len(label))), label...)
	}
	p = append(p, 0)
	p = binary.BigEndian.AppendUint16(p, kind)
	return binary.BigEndian.AppendUint16(p, dnsClassIN)
}

func TestDNS(t *testing.T) {
	upstream, silent := hostUDP(t), hostUDP(t)
	silent.Close() // a resolver that is not there
	n, card := network(t, func(c *Config) {
		for _, r := range []string{silent.LocalAddr().String(), upstream.LocalAddr().String()} {
			c.Resolvers = append(c.Resolvers, netip.MustParseAddrPort(r))
		}
	})
	g := newGuest(t, card, true)
	c := g.udp(netip.MustParseAddrPort("10.0.2.3:53"))
	ask := func(q []byte) []byte {
		t.Helper()
		if _, err := c.Write(q); err != nil {
			t.Fatal(err)
		}
		p := make([]byte, 2048)
		count, err := c.Read(p)
		if err != nil {
			t.Fatal(err)
		}
		return p[:count]
	}

	if got := ask(dnsQuestion("Host.USUI.internal", dnsTypeA)); string(got[len(got)-4:]) != "\x0a\x00\x02\x02" || got[3]&0xf != 0 || got[7] != 1 {
		t.Errorf("the gateway's name gives % x", got)
	}
	if got := ask(dnsQuestion("host.usui.internal", 28)); got[3]&0xf != 0 || got[7] != 0 {
		t.Errorf("the gateway's name has IPv6 addresses: % x", got)
	}
	query := dnsQuestion("example.com", dnsTypeA)
	answered := make(chan error, 1)
	go func() { // ends when it has answered, or with its socket
		p := make([]byte, 2048)
		count, from, err := upstream.ReadFrom(p)
		if err == nil && string(p[:count]) == string(query) {
			wrong := append([]byte{p[0] ^ 1}, p[1:count]...)
			wrong[2] |= 0x80
			if _, err = upstream.WriteTo(wrong, from); err == nil { // of another question
				p[2] |= 0x80
				_, err = upstream.WriteTo(append(p[:count], "the answer"...), from)
			}
		}
		answered <- err
	}()
	if got := ask(query); !strings.HasSuffix(string(got), "the answer") || got[0] != query[0] {
		t.Errorf("answer % x, want what the resolver said to this question", got)
	}
	if err := <-answered; err != nil {
		t.Error(err)
	}
	upstream.Close()
	if got := ask(query); got[3]&0xf != dnsServFail || string(got[:2]) != string(query[:2]) {
		t.Errorf("without a resolver the answer is % x, want a server failure", got)
	}
	if s := n.Stats(); s.QuestionsAsked != 4 || s.QuestionsFailed != 1 {
		t.Errorf("statistics %+v, want 4 questions, 1 failed", s)
	}
}

// TestDNSOverTCP is a connection to the host's resolver.
func TestDNSOverTCP(t *testing.T) {
	l := hostListen(t)
	_, card := network(t, func(c *Config) { c.Resolvers = []netip.AddrPort{netip.MustParseAddrPort(l.Addr().String())} })
	g := newGuest(t, card, true)
	in, err := g.dial(netip.MustParseAddrPort("10.0.2.3:53"))
	if err != nil {
		t.Fatal(err)
	}
	out, err := l.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	exchange(t, in, out, 100)
	if _, err := g.dial(netip.MustParseAddrPort("10.0.2.3:80")); err == nil {
		t.Error("the resolver's address leads elsewhere too")
	}
}

func TestDNSOfARestrictedGuest(t *testing.T) {
	_, card := network(t, func(c *Config) { c.Restrict = true })
	g := newGuest(t, card, true)
	c := g.udp(netip.MustParseAddrPort("10.0.2.3:53"))
	if _, err := c.Write(dnsQuestion("example.com", dnsTypeA)); err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 512)
	if _, err := c.Read(p); err != nil || p[3]&0xf != dnsRefused {
		t.Errorf("answer %v, result code %d, want refused", err, p[3]&0xf)
	}
}

func TestParseResolvConf(t *testing.T) {
	for _, tt := range []struct {
		text string
		want []string
	}{
		{"", []string{"127.0.0.1:53"}},
		{"# comment\nsearch example.com\nnameserver 192.0.2.1\nnameserver  fe80::1%eth0\noptions edns0\n", []string{"192.0.2.1:53", "[fe80::1%eth0]:53"}},
		{"nameserver x\nnameserver 1.1.1.1\nnameserver 2.2.2.2\nnameserver 3.3.3.3\nnameserver 4.4.4.4", []string{"1.1.1.1:53", "2.2.2.2:53", "3.3.3.3:53"}},
	} {
		var got []string
		for _, a := range parseResolvConf(strings.NewReader(tt.text)) {
			got = append(got, a.String())
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("parseResolvConf(%q) (-want +got):\n%s", tt.text, diff)
		}
	}
}

func FuzzDHCP(f *testing.F) {
	f.Add(dhcpQuestion(dhcpRequest, nobody.Addr(), address(optionRequested, "10.0.2.15")))
	n := &Network{cfg: Config{Config: usernet.Default()}}
	f.Fuzz(func(t *testing.T, p []byte) {
		m, ok := parseDHCP(p)
		if !ok {
			return
		}
		if a := n.answerDHCP(&m); a != nil && len(a) < dhcpLeastBytes {
			t.Errorf("an answer of %d bytes", len(a))
		}
	})
}

func FuzzDNS(f *testing.F) {
	f.Add(dnsQuestion("host.usui.internal", dnsTypeA))
	f.Add(dnsQuestion("", 28))
	n := &Network{cfg: Config{Config: usernet.Default()}}
	n.cfg.Restrict = true
	f.Fuzz(func(t *testing.T, p []byte) {
		q, ok := parseQuestion(p)
		if !ok {
			return
		}
		a := n.ownAnswer(p, q)
		if again, ok := parseQuestion(append([]byte{a[0], a[1], a[2] &^ 0x80}, a[3:]...)); !ok || again != q {
			t.Errorf("answer % x repeats another question: %+v, want %+v", a, again, q)
		}
	})
}
