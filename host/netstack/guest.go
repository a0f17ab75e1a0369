package netstack

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// guestConn is the stack's end of a connection or UDP flow with the guest. One goroutine may read while another writes.
type guestConn struct {
	ep tcpip.Endpoint
	wq *waiter.Queue

	readable, writable <-chan struct{}
	readEntry          waiter.Entry
	writeEntry         waiter.Entry
	in                 tcpip.SliceWriter // what Read is filling; here so that it costs no allocation
	out                bytes.Reader      // what Write is sending
	done               chan struct{}     // closed by abort
	once               sync.Once
}

var errAborted = errors.New("aborted")

func newGuestConn(wq *waiter.Queue, ep tcpip.Endpoint) *guestConn {
	c := &guestConn{ep: ep, wq: wq, done: make(chan struct{})}
	c.readEntry, c.readable = waiter.NewChannelEntry(waiter.ReadableEvents | waiter.EventHUp | waiter.EventErr)
	c.writeEntry, c.writable = waiter.NewChannelEntry(waiter.WritableEvents | waiter.EventHUp | waiter.EventErr)
	wq.EventRegister(&c.readEntry)
	wq.EventRegister(&c.writeEntry)
	return c
}

// errNothing says that there is nothing to read now.
var errNothing = errors.New("nothing to read")

// tryRead reads some bytes of a connection, or one datagram, or gives errNothing.
func (c *guestConn) tryRead(p []byte) (int, error) {
	c.in = p
	result, err := c.ep.Read(&c.in, tcpip.ReadOptions{})
	switch err.(type) {
	case nil:
		return result.Count, nil
	case *tcpip.ErrClosedForReceive:
		return 0, io.EOF
	case *tcpip.ErrWouldBlock:
		return 0, errNothing
	}
	return 0, errors.New(err.String())
}

// await returns when there may be something to read.
func (c *guestConn) await() error {
	select {
	case <-c.readable:
		return nil
	case <-c.done:
		return errAborted
	}
}

// Read implements io.Reader.
func (c *guestConn) Read(p []byte) (int, error) {
	for {
		n, err := c.tryRead(p)
		if err != errNothing {
			return n, err
		}
		if err := c.await(); err != nil {
			return 0, err
		}
	}
}

// Write implements io.Writer.
func (c *guestConn) Write(p []byte) (int, error) {
	written := 0
	for {
		c.out.Reset(p[written:])
		n, err := c.ep.Write(&c.out, tcpip.WriteOptions{})
		written += int(n)
		switch err.(type) {
		case nil:
			if written >= len(p) {
				return written, nil
			}
			continue
		case *tcpip.ErrWouldBlock:
		default:
			return written, errors.New(err.String())
		}
		select {
		case <-c.writable:
		case <-c.done:
			return written, errAborted
		}
	}
}

// sendDatagram sends one datagram, or loses it.
func (c *guestConn) sendDatagram(p []byte) {
	c.out.Reset(p)
	_, _ = c.ep.Write(&c.out, tcpip.WriteOptions{}) // UDP promises nothing
}

// closeWrite tells the guest that no more comes.
func (c *guestConn) closeWrite() error {
	if err := c.ep.Shutdown(tcpip.ShutdownWrite); err != nil {
		return errors.New(err.String())
	}
	return nil
}

// abort ends the connection at once, with a reset if the guest may still think it open, and wakes Read and Write.
func (c *guestConn) abort() {
	c.once.Do(func() {
		c.ep.Abort()
		c.forget()
	})
}

// forget ends Read and Write; the endpoint is the caller's.
func (c *guestConn) forget() {
	close(c.done)
	c.wq.EventUnregister(&c.readEntry)
	c.wq.EventUnregister(&c.writeEntry)
}

// settle ends a connection that both sides have finished: it returns when the guest has taken all that was sent to it, or after some
// time without that, or when stop is closed. The stack then holds nothing of the connection but its number.
func (c *guestConn) settle(stop <-chan struct{}) {
	c.ep.Close()
	patience := time.NewTimer(settleTime)
	defer patience.Stop()
	// The stack has no event for each way in which a connection can end.
	for pause := time.Millisecond; ; pause = min(2*pause, time.Second) {
		switch tcp.EndpointState(c.ep.State()) {
		case tcp.StateClose, tcp.StateError, tcp.StateTimeWait:
			c.once.Do(c.forget)
			return
		}
		select {
		case <-time.After(pause):
			continue
		case <-patience.C:
		case <-stop:
		}
		c.abort()
		return
	}
}

// keepAlive notices a guest that has restarted or hangs.
func (c *guestConn) keepAlive() {
	idle, interval := tcpip.KeepaliveIdleOption(time.Minute), tcpip.KeepaliveIntervalOption(15*time.Second)
	// These options exist on every TCP endpoint.
	_ = c.ep.SetSockOpt(&idle)
	_ = c.ep.SetSockOpt(&interval)
	_ = c.ep.SetSockOptInt(tcpip.KeepaliveCountOption, 4)
	c.ep.SocketOptions().SetKeepAlive(true)
}
