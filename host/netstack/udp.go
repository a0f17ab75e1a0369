package netstack

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// UDP has no end, so a flow ends when it has been idle. RFC 4787 asks a NAT for two minutes, and for less where a well-known port is
// asked, such as DNS.
const (
	udpIdle      = 2 * time.Minute
	udpIdleKnown = 30 * time.Second
	udpSweep     = 5 * time.Second
	knownPorts   = 1024
)

// maxUDPBytes is the longest payload of UDP over IPv4.
const maxUDPBytes = maxIPBytes - ipBytes - header.UDPMinimumSize

// udpFlow is a pair of addresses that speak UDP across the gateway.
type udpFlow struct {
	guest *guestConn
	host  *net.UDPConn  // its own, or nil for a flow of a published port
	idle  time.Duration // how long it may be silent
	last  atomic.Int64  // when something passed, in nanoseconds since udpFlows.began
	end   sync.Once
	ended func()
}

// close ends a flow. Its goroutines end by it.
func (f *udpFlow) close() {
	f.end.Do(func() {
		f.guest.abort()
		if f.host != nil {
			_ = f.host.Close() // datagrams under way are lost, as they may be
		}
		f.ended()
	})
}

// udpFlows are those of a network, at most maxUDP.
type udpFlows struct {
	stats *counters
	began time.Time

	mu     sync.Mutex
	list   map[*udpFlow]struct{} // guarded by mu
	ports  int                   // guarded by mu; those of list that published ports opened
	closed bool                  // guarded by mu
}

func (u *udpFlows) init(stats *counters) {
	u.stats, u.began, u.list = stats, time.Now(), map[*udpFlow]struct{}{}
}

func (u *udpFlows) now() int64 { return int64(time.Since(u.began)) }

// room says that another flow may be opened.
func (u *udpFlows) room() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return !u.closed && len(u.list) < maxUDP
}

// add notes a flow, or closes it if there is no room. ended is called once at its end, without a lock.
func (u *udpFlows) add(f *udpFlow, ended func()) bool {
	f.last.Store(u.now())
	f.ended = func() {
		u.mu.Lock()
		_, known := u.list[f]
		delete(u.list, f)
		if known && f.host == nil {
			u.ports--
		}
		u.mu.Unlock()
		if known {
			u.stats.flowsOpen.Add(-1)
		}
		if ended != nil {
			ended()
		}
	}
	u.mu.Lock()
	ok := !u.closed && len(u.list) < maxUDP && (f.host != nil || u.ports < maxUDP/2)
	if ok {
		u.list[f] = struct{}{}
		if f.host == nil {
			u.ports++
		}
		u.stats.flowsOpened.Add(1)
		u.stats.flowsOpen.Add(1)
	}
	u.mu.Unlock()
	if !ok {
		u.stats.flowsRefused.Add(1)
		f.close()
	}
	return ok
}

// expire closes flows that are idle, until ctx ends.
func (u *udpFlows) expire(ctx context.Context) {
	tick := time.NewTicker(udpSweep)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			u.sweep(u.now())
		case <-ctx.Done():
			return
		}
	}
}

// sweep closes the flows that are idle at a time.
func (u *udpFlows) sweep(now int64) {
	for _, f := range u.all() {
		if now-f.last.Load() > int64(f.idle) {
			f.close()
		}
	}
}

func (u *udpFlows) all() []*udpFlow {
	u.mu.Lock()
	defer u.mu.Unlock()
	list := make([]*udpFlow, 0, len(u.list))
	for f := range u.list {
		list = append(list, f)
	}
	return list
}

// close closes all flows and lets none begin.
func (u *udpFlows) close() {
	u.mu.Lock()
	u.closed = true
	u.mu.Unlock()
	for _, f := range u.all() {
		f.close()
	}
}

// toHost copies the guest's datagrams until the flow ends. It holds a buffer only while there are any.
func (u *udpFlows) toHost(f *udpFlow, write func([]byte) error) {
	defer f.close()
	for {
		if err := u.allToHost(f, write); err != errNothing {
			return
		}
		if f.guest.await() != nil {
			return
		}
	}
}

func (u *udpFlows) allToHost(f *udpFlow, write func([]byte) error) error {
	buffer := datagramBuffers.Get().(*[maxIPBytes]byte)
	defer datagramBuffers.Put(buffer)
	for {
		count, err := f.guest.tryRead(buffer[:])
		if err != nil {
			return err
		}
		f.last.Store(u.now())
		if err := write(buffer[:count]); err != nil {
			return err
		}
	}
}

// datagramBuffers hold one datagram each, of any length.
var datagramBuffers = sync.Pool{New: func() any { return new([maxIPBytes]byte) }}

// toGuest sends one datagram. One that the stack cannot take now is lost.
func (u *udpFlows) toGuest(f *udpFlow, p []byte) {
	f.last.Store(u.now())
	f.guest.sendDatagram(p)
}

// converse takes the first datagram between two addresses. It runs where frames are received, and does not block.
func (n *Network) converse(ctx context.Context, r *udp.ForwarderRequest) bool {
	id := r.ID()
	if id.RemoteAddress == fromNetip(n.cfg.Gateway()) {
		return true // our own broadcast, which the stack hears too
	}
	to, ok := n.target(toNetip(id.LocalAddress, id.LocalPort))
	if !ok || !n.udp.room() {
		n.stats.flowsRefused.Add(1)
		return ok // for what is forbidden the stack tells the guest that the port is unreachable
	}
	host, err := dialUDP(ctx, to)
	if err != nil {
		n.stats.flowsRefused.Add(1)
		return false
	}
	var wq waiter.Queue
	ep, terr := r.CreateEndpoint(&wq)
	if terr != nil {
		n.stats.flowsRefused.Add(1)
		_ = host.Close()
		return true
	}
	f := &udpFlow{guest: newGuestConn(&wq, ep), host: host, idle: udpIdle}
	if to.Port() < knownPorts {
		f.idle = udpIdleKnown
	}
	if !n.udp.add(f, nil) {
		return true
	}
	started := n.start(func() {
		n.udp.toHost(f, func(p []byte) error { _, err := host.Write(p); return err })
	}) && n.start(func() { n.udp.fromHost(f) })
	if !started {
		f.close()
	}
	return true
}

func dialUDP(ctx context.Context, to netip.AddrPort) (*net.UDPConn, error) {
	dialer := net.Dialer{Control: noBroadcast}
	return dialer.DialUDP(ctx, "udp", netip.AddrPort{}, to)
}

// fromHost copies what comes back until the flow ends.
func (u *udpFlows) fromHost(f *udpFlow) {
	defer f.close()
	buffer := datagramBuffers.Get().(*[maxIPBytes]byte)
	defer datagramBuffers.Put(buffer)
	for {
		count, err := f.host.Read(buffer[:])
		if err != nil {
			return
		}
		u.toGuest(f, buffer[:min(count, maxUDPBytes)])
	}
}
