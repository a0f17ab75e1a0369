package console

import (
	"io"
	"sync/atomic"
	"time"

	"usui/internal/metrics"
	"usui/machine/virtio"
)

// readSize is how much is read from the host at a time, and the most that a port holds.
const readSize = 64 << 10

// port is a Port at work.
type port struct {
	Port
	id     uint32
	device *Console
	closed bool   // Conn was closed
	undo   func() // takes the deadlines of interrupt back

	ready    bool // guarded by Console.mu; the driver knows the port
	unsaid   say  // guarded by Console.mu
	hostOpen bool // guarded by Console.mu

	guestOpen atomic.Bool
	rx        *virtio.Queue // nil when the driver left it out

	// Of the receiving goroutine, and of the next one after a reset.
	buf    []byte
	unread []byte // of buf: read from the host, not delivered yet
	ended  bool   // the host will send no more

	deaf bool // of the transmitting goroutine: the host takes no more

	toGuest, fromGuest, dropped atomic.Uint64
	time                        metrics.Histogram
}

// start serves the port's queues until Stop.
func (p *port) start(rx, tx *virtio.Queue) {
	p.rx = rx
	if rx != nil && p.buf == nil {
		p.buf = make([]byte, readSize)
	}
	if rx != nil {
		p.device.running.Go(p.receive) // ended by Stop
	}
	if tx != nil {
		p.device.running.Go(func() { p.device.serve(tx, p.transmit) }) // ended by Stop
	}
}

// setGuestOpen notes whether somebody in the guest reads.
func (p *port) setGuestOpen(open bool) {
	if p.guestOpen.Swap(open) == open {
		return
	}
	if p.rx != nil {
		p.rx.Wake()
	}
	if p.Opened != nil {
		p.Opened(open)
	}
}

// receive brings bytes from the host to the guest.
func (p *port) receive() {
	for !p.device.stopping.Load() {
		switch {
		case p.ended && len(p.unread) == 0:
			p.setHostClosed()
			return
		case !p.guestOpen.Load():
			if !p.rx.Wait() {
				return
			}
		case len(p.unread) > 0:
			if !p.deliver() {
				return
			}
		default:
			p.read()
		}
	}
}

// read waits for bytes of the host. A deadline that Stop set is not the end.
func (p *port) read() {
	n, err := p.Conn.Read(p.buf)
	p.unread = p.buf[:n]
	if err != nil && !p.device.stopping.Load() {
		p.ended = true
		if err != io.EOF {
			p.device.log.Debug("console: read from the host's end", "port", p.Name, "error", err)
		}
	}
}

// deliver spreads what was read over buffers of the guest and interrupts it once. It returns early when the guest closes
// the port, and false when the queue stopped or broke.
func (p *port) deliver() bool {
	var c virtio.Chain
	for len(p.unread) > 0 && p.guestOpen.Load() && !p.device.stopping.Load() {
		ok, err := p.rx.Pop(&c)
		switch {
		case err != nil:
			return false
		case ok:
			n := scatter(c.In, p.unread)
			p.unread = p.unread[n:]
			p.toGuest.Add(uint64(n))
			p.rx.Push(c.Head, uint32(n))
		default:
			p.rx.Notify()
			if !p.rx.Arm() && !p.rx.Wait() {
				return false
			}
			p.rx.Disarm()
		}
	}
	p.rx.Notify()
	return true
}

// transmit brings a chain from the guest to the host.
func (p *port) transmit(c *virtio.Chain) uint32 {
	for _, b := range c.Out {
		n := 0
		if !p.deaf {
			n = p.write(b)
		}
		p.fromGuest.Add(uint64(n))
		p.dropped.Add(uint64(len(b) - n))
	}
	return 0
}

// write returns how many bytes the host took. Less than all of them: it takes no more, or Stop set a deadline.
func (p *port) write(b []byte) int {
	start := time.Now()
	n, err := p.Conn.Write(b)
	p.time.Observe(time.Since(start))
	if err != nil && !p.device.stopping.Load() {
		p.deaf = true
		p.device.log.Debug("console: write to the host's end", "port", p.Name, "error", err)
		p.setHostClosed()
	}
	return n
}

// setHostClosed tells the driver that there is nobody at the host's end.
func (p *port) setHostClosed() {
	p.device.mu.Lock()
	defer p.device.mu.Unlock()
	if p.hostOpen {
		p.hostOpen = false
		if p.ready {
			p.device.say(p, sayOpen)
		}
	}
}

// interrupt ends a Read and a Write that are under way, and those to come.
func (p *port) interrupt() {
	if p.closed {
		return
	}
	c, ok := p.Conn.(interface {
		SetReadDeadline(time.Time) error
		SetWriteDeadline(time.Time) error
	})
	past := time.Unix(1, 0)
	if ok && c.SetReadDeadline(past) == nil && c.SetWriteDeadline(past) == nil {
		p.undo = func() {
			_ = c.SetReadDeadline(time.Time{}) // it worked a moment ago
			_ = c.SetWriteDeadline(time.Time{})
		}
		return
	}
	p.closed = true
	_ = p.Conn.Close() // whoever closes a console hears of it from the ports that are still open
}

// reset brings the port back to where it was before a driver came. Its goroutines are gone.
func (p *port) reset() {
	if p.undo != nil {
		p.undo()
		p.undo = nil
	}
	p.setGuestOpen(false)
	p.rx = nil
	if p.closed {
		p.ended, p.deaf = true, true
	}
	p.device.mu.Lock()
	defer p.device.mu.Unlock()
	p.ready, p.unsaid = false, 0
	p.hostOpen = p.hostOpen && !p.closed // so that the next driver hears it at once
}
