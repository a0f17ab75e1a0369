package netstack

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// connect answers a connection that the guest opens. It runs in a goroutine of the stack's.
func (n *Network) connect(ctx context.Context, r *tcp.ForwarderRequest) {
	if !n.begin() {
		r.Complete(false)
		return
	}
	defer n.work.Done()
	id := r.ID()
	host, err := n.dial(ctx, toNetip(id.LocalAddress, id.LocalPort))
	if err != nil {
		n.stats.flowsRefused.Add(1)
		r.Complete(true)
		return
	}
	defer n.outgoing.release()
	guest, err := shakeHands(ctx, r)
	r.Complete(err != nil)
	if err != nil {
		n.stats.flowsRefused.Add(1)
		reset(host)
		return
	}
	n.carry(ctx, guest, host)
}

// shakeHands accepts the guest's connection, unless the guest does not finish what it began.
func shakeHands(ctx context.Context, r *tcp.ForwarderRequest) (*guestConn, error) {
	var wq waiter.Queue
	ctx, stop := context.WithTimeout(ctx, handshakeTime)
	defer stop()
	finished := make(chan struct{})
	defer close(finished)
	unhook := context.AfterFunc(ctx, func() {
		// CreateEndpoint looks at the connection when it is notified. It may not have begun to listen yet.
		for {
			wq.Notify(waiter.WritableEvents)
			select {
			case <-finished:
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
	})
	defer unhook()
	ep, err := r.CreateEndpoint(&wq)
	if err != nil {
		return nil, fmt.Errorf("accept the guest's connection: %s", err)
	}
	return newGuestConn(&wq, ep), nil
}

// dial takes a slot and connects to what the guest's address means on the host's network. The slot is the caller's if there is no
// error.
func (n *Network) dial(ctx context.Context, to netip.AddrPort) (_ *net.TCPConn, err error) {
	select {
	case n.outgoing <- struct{}{}:
	default:
		return nil, fmt.Errorf("connect to %s: %d connections are open", to, maxTCP)
	}
	defer func() {
		if err != nil {
			n.outgoing.release()
		}
	}()
	list := []netip.AddrPort{to}
	if to.Addr() == n.cfg.Resolver() && to.Port() == dnsPort && !n.cfg.Restrict {
		list = n.resolvers()
	} else if list[0], err = n.allowed(to); err != nil {
		return nil, err
	}
	dialer := net.Dialer{Timeout: dialTime, Control: noBroadcast}
	err = fmt.Errorf("connect to %s: no resolver", to)
	for _, a := range list {
		var conn *net.TCPConn
		if conn, err = dialer.DialTCP(ctx, "tcp", netip.AddrPort{}, a); err == nil {
			return conn, nil
		}
	}
	return nil, err
}

// allowed is target with an error.
func (n *Network) allowed(a netip.AddrPort) (netip.AddrPort, error) {
	to, ok := n.target(a)
	if !ok {
		return to, fmt.Errorf("connect to %s: forbidden", a)
	}
	return to, nil
}

// noBroadcast takes back what package net allows every datagram socket, so that a guest cannot speak to all of the host's neighbours.
func noBroadcast(_, _ string, c syscall.RawConn) error {
	var err error
	if cerr := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BROADCAST, 0) }); cerr != nil {
		return cerr
	}
	return err
}

// dialGuest opens a connection to the guest, which sees it come from the gateway.
func (n *Network) dialGuest(ctx context.Context, port uint16) (*guestConn, error) {
	var wq waiter.Queue
	ep, terr := n.stack.NewEndpoint(tcp.ProtocolNumber, header.IPv4ProtocolNumber, &wq)
	if terr != nil {
		return nil, fmt.Errorf("connect to the guest's port %d: %s", port, terr)
	}
	c := newGuestConn(&wq, ep)
	err := c.dial(ctx, full(n.cfg.Gateway(), 0), full(n.cfg.Guest(), port))
	if err != nil {
		c.abort()
		return nil, fmt.Errorf("connect to the guest's port %d: %w", port, err)
	}
	return c, nil
}

func (c *guestConn) dial(ctx context.Context, from, to tcpip.FullAddress) error {
	if err := c.ep.Bind(from); err != nil {
		return fmt.Errorf("bind: %s", err)
	}
	ctx, stop := context.WithTimeout(ctx, dialTime)
	defer stop()
	err := c.ep.Connect(to)
	if _, started := err.(*tcpip.ErrConnectStarted); started {
		select {
		case <-c.writable:
			err = c.ep.LastError()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err != nil {
		return fmt.Errorf("%s", err)
	}
	return nil
}

// carry copies between a connection of the guest and one of the host until both directions have ended, and ends both.
func (n *Network) carry(ctx context.Context, guest *guestConn, host *net.TCPConn) {
	n.stats.flowsOpened.Add(1)
	n.stats.flowsOpen.Add(1)
	defer n.stats.flowsOpen.Add(-1)
	guest.keepAlive()
	var broken atomic.Bool
	abort := func() {
		broken.Store(true)
		guest.abort()
		reset(host)
	}
	unhook := context.AfterFunc(ctx, abort)
	defer unhook()
	var back sync.WaitGroup
	back.Go(func() { // ends with the host's side or by abort
		if copyAll(guest, host) != nil || guest.closeWrite() != nil {
			abort()
		}
	})
	if copyAll(host, guest) != nil || host.CloseWrite() != nil {
		abort()
	}
	back.Wait()
	if !broken.Load() {
		_ = host.Close() // both directions are finished
		guest.settle(ctx.Done())
	}
}

// copyBytes is the buffer of one direction of a connection.
const copyBytes = 32 << 10

var copyBuffers = sync.Pool{New: func() any { return new([copyBytes]byte) }}

// copyAll copies until the end of from. io.Copy would allocate for each.
func copyAll(to io.Writer, from io.Reader) error {
	buffer := copyBuffers.Get().(*[copyBytes]byte)
	defer copyBuffers.Put(buffer)
	for {
		count, err := from.Read(buffer[:])
		if count > 0 {
			if _, err := to.Write(buffer[:count]); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// reset ends a connection of the host so that its other side learns that something went wrong.
func reset(host *net.TCPConn) {
	// On a connection that is gone both fail, and it is gone.
	_ = host.SetLinger(0)
	_ = host.Close()
}
