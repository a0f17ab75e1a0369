package netstack

import (
	"sync"
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"usui/host/usernet"
)

// link is the stack's network interface: the far end of the guest's card.
type link struct {
	gate    gate
	queues  []*queue
	stats   *counters
	offload atomic.Uint32 // usernet.Offload
	pairs   atomic.Uint32 // of queues, those that the guest takes frames on; 0 before the driver said anything

	mu         sync.RWMutex
	dispatcher stack.NetworkDispatcher // guarded by mu
}

var _ stack.LinkEndpoint = (*link)(nil)
var _ stack.GSOEndpoint = (*link)(nil)

// takes reports whether the guest takes an offload.
func (l *link) takes(o usernet.Offload) bool { return usernet.Offload(l.offload.Load())&o == o }

// serve takes datagrams from a queue until its other end closes.
func (l *link) serve(q *queue) {
	datagram := make([]byte, datagramBytes+1) // one byte more tells a datagram that is too long
	for {
		n, err := q.file.Read(datagram)
		if err != nil {
			return
		}
		l.take(datagram[:n])
	}
}

// take hands one datagram to the stack.
func (l *link) take(datagram []byte) {
	if d, ok := usernet.ParseDriver(datagram); ok {
		if d.Offload&usernet.OffloadChecksum == 0 {
			d.Offload = 0 // what is not finished cannot be segmented either
		}
		l.offload.Store(uint32(d.Offload))
		l.pairs.Store(uint32(min(max(d.Pairs, 1), len(l.queues))))
		return
	}
	l.stats.framesReceived.Add(1)
	l.stats.bytesReceived.Add(uint64(len(datagram)))
	p, ok := l.gate.admit(datagram)
	if !ok {
		l.stats.framesRefused.Add(1)
		return
	}
	l.mu.RLock()
	d := l.dispatcher
	l.mu.RUnlock()
	if d == nil {
		return
	}
	packet := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithView(buffer.NewViewWithData(p.packet))})
	packet.PktType = p.to
	d.DeliverNetworkPacket(p.protocol, packet)
	packet.DecRef()
}

// WritePackets implements [stack.LinkWriter].
func (l *link) WritePackets(list stack.PacketBufferList) (int, tcpip.Error) {
	packets := list.AsSlice()
	pairs := max(l.pairs.Load(), 1)
	for _, p := range packets {
		l.queues[p.Hash%pairs].send(p) // the packets of a connection have one hash, others none
	}
	return len(packets), nil
}

// MTU implements [stack.NetworkLinkEndpoint], as do the methods below.
func (l *link) MTU() uint32 { return uint32(l.gate.mtu) }

// SetMTU changes nothing: the guest has been told.
func (l *link) SetMTU(uint32) {}

// MaxHeaderLength is that of Ethernet.
func (l *link) MaxHeaderLength() uint16 { return ethernetBytes }

// LinkAddress is the gateway's.
func (l *link) LinkAddress() tcpip.LinkAddress { return tcpip.LinkAddress(l.gate.mac[:]) }

// SetLinkAddress changes nothing.
func (l *link) SetLinkAddress(tcpip.LinkAddress) {}

// Capabilities say what nobody has to compute.
func (l *link) Capabilities() stack.LinkEndpointCapabilities {
	c := stack.CapabilityResolutionRequired | stack.CapabilityRXChecksumOffload
	if l.takes(usernet.OffloadChecksum) {
		c |= stack.CapabilityTXChecksumOffload
	}
	return c
}

// SupportedGSO implements [stack.GSOEndpoint].
func (l *link) SupportedGSO() stack.SupportedGSO {
	if l.takes(usernet.OffloadTSO4) {
		return stack.HostGSOSupported
	}
	return stack.GSONotSupported
}

// GSOMaxSize implements [stack.GSOEndpoint].
func (l *link) GSOMaxSize() uint32 { return maxIPBytes }

// Attach tells where packets go; nil is nowhere.
func (l *link) Attach(d stack.NetworkDispatcher) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dispatcher = d
}

// IsAttached implements [stack.NetworkLinkEndpoint].
func (l *link) IsAttached() bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.dispatcher != nil
}

// Wait waits for nothing: [Network.Run] waits for the goroutines.
func (l *link) Wait() {}

// ARPHardwareType implements [stack.NetworkLinkEndpoint].
func (l *link) ARPHardwareType() header.ARPHardwareType { return header.ARPHardwareEther }

// AddHeader implements [stack.NetworkLinkEndpoint].
func (l *link) AddHeader(p *stack.PacketBuffer) {
	header.Ethernet(p.LinkHeader().Push(ethernetBytes)).Encode(&header.EthernetFields{
		SrcAddr: p.EgressRoute.LocalLinkAddress,
		DstAddr: p.EgressRoute.RemoteLinkAddress,
		Type:    p.NetworkProtocolNumber,
	})
}

// ParseHeader is never needed: take does without.
func (l *link) ParseHeader(*stack.PacketBuffer) bool { return true }

// Close is that of the queues.
func (l *link) Close() {}

// SetOnCloseAction is not needed.
func (l *link) SetOnCloseAction(func()) {}
