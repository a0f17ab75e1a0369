package tcp

import (
	"context"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	gvisor "gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/channel"
	"gvisor.dev/gvisor/pkg/tcpip/link/ethernet"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	gtcp "gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

// strangers makes a stack of gVisor's with a link.
func strangers(t *testing.T) (*stack.Stack, *channel.Endpoint) {
	t.Helper()
	link := channel.New(4096, 1500+ethernetBytes, tcpip.LinkAddress(peerMAC[:]))
	g := stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol, arp.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{gtcp.NewProtocol},
	})
	if err := g.CreateNIC(1, ethernet.New(link)); err != nil {
		t.Fatal(err)
	}
	a := tcpip.ProtocolAddress{Protocol: gvisor.IPv4ProtocolNumber, AddressWithPrefix: tcpip.AddressWithPrefix{Address: tcpip.AddrFrom4([4]byte{10, 9, 0, 2}), PrefixLen: 24}}
	if err := g.AddProtocolAddress(1, a, stack.AddressProperties{}); err != nil {
		t.Fatal(err)
	}
	g.SetRouteTable([]tcpip.Route{{Destination: a.AddressWithPrefix.Subnet(), NIC: 1}})
	t.Cleanup(g.Destroy)
	return g, link
}

// lossy serves a mirror to a stack of gVisor's over a link that loses a share of the packets, until the test ends.
func lossy(t *testing.T, link *channel.Endpoint, s *Stack, p *pool, lose float64) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	packets := make(chan []byte)
	var running sync.WaitGroup
	running.Go(func() { // ends with ctx
		defer close(packets)
		for q := link.ReadContext(ctx); q != nil; q = link.ReadContext(ctx) {
			var b []byte
			for _, x := range q.AsSlices() {
				b = append(b, x...)
			}
			q.DecRef()
			packets <- b
		}
	})
	running.Go(func() { // ends with packets
		r := rand.New(rand.NewPCG(9, 9))
		m := &mirror{s: s, conns: map[*Conn][]byte{}}
		start := time.Now()
		for {
			wait := time.Hour
			if at, ok := s.Next(); ok {
				wait = max(0, at-time.Since(start))
			}
			select {
			case b, more := <-packets:
				if !more {
					return
				}
				s.Advance(time.Since(start))
				if r.Float64() >= lose {
					p.deliver(s, b)
				}
			case <-time.After(wait):
				s.Advance(time.Since(start))
			}
			m.turn()
			for _, b := range p.sent {
				if r.Float64() >= lose {
					q := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(b)})
					link.InjectInbound(0, q)
					q.DecRef()
				}
			}
			p.sent = p.sent[:0]
		}
	})
	t.Cleanup(func() {
		stop()
		running.Wait()
	})
}

func TestGVisorIsAPeer(t *testing.T) {
	for _, lose := range []float64{0, 0.02} {
		g, link := strangers(t)
		s, p := newStack(t, 4096, func(c *Config) { c.Own = true })
		lossy(t, link, s, p, lose)
		var wait sync.WaitGroup
		for i := range 6 {
			wait.Go(func() {
				to := tcpip.FullAddress{NIC: 1, Addr: tcpip.AddrFrom4(ours.As4()), Port: ourPort}
				c, err := gonet.DialContextTCP(t.Context(), g, to, gvisor.IPv4ProtocolNumber)
				if err != nil {
					t.Errorf("lose %v: dial: %v", lose, err)
					return
				}
				if same, err := echo(net.Conn(c), uint64(i), 200_000); err != nil || !same {
					t.Errorf("lose %v: what came back is the same: %v, %v", lose, same, err)
				}
			})
		}
		wait.Wait()
	}
}
