package netstack

import (
	"bytes"
	"crypto/rand"
	"errors"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestUDPFromTheGuest(t *testing.T) {
	for name, offload := range map[string]bool{"checksums not finished": true, "no offloads": false} {
		t.Run(name, func(t *testing.T) {
			n, card := network(t, nil)
			g := newGuest(t, card, offload)
			host := hostUDP(t)
			c := g.udp(viaGateway(host.LocalAddr()))
			for _, size := range []int{0, 1, 1400, 9000} { // the last is fragmented
				want := make([]byte, size)
				rand.Read(want)
				if _, err := c.Write(want); err != nil {
					t.Fatal(err)
				}
				buffer := make([]byte, 65536)
				count, from, err := host.ReadFrom(buffer)
				if err != nil || !bytes.Equal(buffer[:count], want) {
					t.Fatalf("the host got %d bytes, %v, want %d", count, err, size)
				}
				if _, err := host.WriteTo(want, from); err != nil {
					t.Fatal(err)
				}
				if count, err = c.Read(buffer); err != nil || !bytes.Equal(buffer[:count], want) {
					t.Fatalf("the guest got %d bytes, %v, want %d", count, err, size)
				}
			}
			if s := n.Stats(); s.FlowsOpened != 1 {
				t.Errorf("%d flows, want 1", s.FlowsOpened)
			}
		})
	}
}

// TestIdleFlowsEnd moves the clock of the sweep.
func TestIdleFlowsEnd(t *testing.T) {
	n, card := network(t, nil)
	g := newGuest(t, card, true)
	host := hostUDP(t)
	c := g.udp(viaGateway(host.LocalAddr()))
	pass := func() net.Addr {
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		_, from, err := host.ReadFrom(make([]byte, 8))
		if err != nil {
			t.Fatal(err)
		}
		return from
	}
	first := pass()
	n.udp.sweep(n.udp.now() + int64(udpIdle/2))
	if s := n.Stats(); s.FlowsOpen != 1 {
		t.Fatalf("%d flows are open after half the time, want 1", s.FlowsOpen)
	}
	n.udp.sweep(n.udp.now() + int64(udpIdle+time.Second))
	if s := n.Stats(); s.FlowsOpen != 0 {
		t.Fatalf("%d flows are open after the time, want none", s.FlowsOpen)
	}
	if again := pass(); again.String() == first.String() {
		t.Errorf("the flow after the time comes from %s as the one before", again)
	}
}

func TestUDPFlowsAreBounded(t *testing.T) {
	n, card := network(t, nil)
	to := viaGateway(hostUDP(t).LocalAddr())
	const more = 20
	for port := range uint16(maxUDP + more) {
		frame := udpFrame(netip.AddrPortFrom(netip.MustParseAddr("10.0.2.15"), 20000+port), to, []byte("x"))
		if _, err := card.Write(frame); err != nil {
			t.Fatal(err)
		}
	}
	await(t, "all datagrams are seen", func() bool { return n.Stats().FlowsOpened+n.Stats().FlowsRefused == maxUDP+more })
	if s := n.Stats(); s.FlowsOpen != maxUDP || s.FlowsRefused != more {
		t.Errorf("%d flows open, %d refused, want %d, %d", s.FlowsOpen, s.FlowsRefused, maxUDP, more)
	}
}

// TestOthersCannotTakeTheGuestsFlows: clients of a published port get half, and the guest still has room.
func TestOthersCannotTakeTheGuestsFlows(t *testing.T) {
	n, card := network(t, publish("0:53/udp"))
	g := newGuest(t, card, true)
	if _, err := g.listenUDP(53); err != nil { // a refusal would end the flow
		t.Fatal(err)
	}
	for i := range uint64(maxUDP/2 + 5) {
		c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(n.Ports()[0]))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		await(t, "the client is seen", func() bool { return n.Stats().FlowsOpened+n.Stats().FlowsRefused == i+1 })
	}
	if s := n.Stats(); s.FlowsOpen != maxUDP/2 {
		t.Errorf("%d flows of a published port, want %d", s.FlowsOpen, maxUDP/2)
	}
	host := hostUDP(t)
	if _, err := g.udp(viaGateway(host.LocalAddr())).Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := host.ReadFrom(make([]byte, 8)); err != nil {
		t.Error(err)
	}
}

func TestPublishedUDP(t *testing.T) {
	n, card := network(t, publish("0:53/udp"))
	g := newGuest(t, card, true)
	inside, err := g.listenUDP(53)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 { // each client has a flow of its own
		c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(n.Ports()[0]))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		want := strings.Repeat("x", i+1)
		if _, err := c.Write([]byte(want)); err != nil {
			t.Fatal(err)
		}
		buffer := make([]byte, 16)
		count, from, err := inside.ReadFrom(buffer)
		if err != nil || string(buffer[:count]) != want {
			t.Fatalf("the guest got %q, %v, want %q", buffer[:count], err, want)
		}
		if _, err := inside.WriteTo(buffer[:count], from); err != nil {
			t.Fatal(err)
		}
		if count, err = c.Read(buffer); err != nil || string(buffer[:count]) != want {
			t.Fatalf("the client got %q, %v, want %q", buffer[:count], err, want)
		}
	}
	if s := n.Stats(); s.FlowsOpen != 3 {
		t.Errorf("%d flows, want 3", s.FlowsOpen)
	}
}

// TestForbiddenDatagram: the guest is told at once, rather than left to wait.
func TestForbiddenDatagram(t *testing.T) {
	_, card := network(t, func(c *Config) { c.NoLoopback = true })
	g := newGuest(t, card, true)
	c := g.udp(viaGateway(hostUDP(t).LocalAddr()))
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	unreachable := g.stack.Stats().ICMP.V4.PacketsReceived.DstUnreachable
	await(t, "the port is unreachable", func() bool { return unreachable.Value() == 1 })
}

// TestNobodyBroadcasts: a socket for the guest's datagrams cannot speak to all of a network.
func TestNobodyBroadcasts(t *testing.T) {
	c, err := dialUDP(t.Context(), netip.MustParseAddrPort("127.255.255.255:9"))
	if !errors.Is(err, syscall.EACCES) {
		t.Errorf("dial = %v, %v, want that it is denied", c, err)
	}
}
