package net

import (
	"time"

	"golang.org/x/sys/unix"

	"usui/machine/virtio"
)

// transmitter brings frames from the guest to the backend. All of it belongs to one goroutine.
type transmitter struct {
	dev     *Net
	pair    *pair
	queue   *virtio.Queue
	count   *fromGuest
	wait    waiter
	may     work
	chain   virtio.Chain
	header  header // a copy: the guest may change its own after it was checked
	buffers vector
	batch   batch
}

func newTransmitter(d *Net, p *pair, q *virtio.Queue) *transmitter {
	return &transmitter{dev: d, pair: p, queue: q, count: &p.from, wait: newWaiter(p.fd, d.stop), may: workForHost(d.accepted.Load()),
		buffers: make(vector, 0, maxParts+1)}
}

// run is ended by Stop, or by a driver that broke the ring.
func (t *transmitter) run() {
	for !t.dev.stopping.Load() { // a driver that never ceases to send does not keep us here
		if !t.keepLimit() {
			return
		}
		ok, err := t.queue.Pop(&t.chain)
		switch {
		case err != nil:
			return
		case ok:
			t.batch.add(t.chain.OutLen)
			t.send(&t.chain)
			t.queue.Push(t.chain.Head, 0)
			if t.batch.full() {
				t.queue.Notify()
			}
		default:
			t.queue.Notify()
			if !t.queue.Arm() {
				if !t.queue.Wait() {
					return
				}
				t.count.wakeups.Add(1)
			}
			t.queue.Disarm()
		}
	}
}

// keepLimit waits until the limit allows a frame. What the driver has sent meanwhile fills its queue. False means Stop.
func (t *transmitter) keepLimit() bool {
	if !t.dev.send.Limited() || t.dev.unplugged.Load() {
		return true
	}
	// Another queue may take what this one waited for.
	for {
		d := t.dev.send.Wait(time.Now())
		if d <= 0 {
			return true
		}
		t.queue.Notify() // of what has been sent
		t.count.held.Add(1)
		if err := t.wait.pause(d); err == errStopped {
			return false
		} else if err != nil {
			t.dev.unplug(err)
			return true // what the guest sends is dropped
		}
	}
}

// send writes the frame in c, or drops it.
func (t *transmitter) send(c *virtio.Chain) {
	if c.OutLen < MinFrame || c.OutLen > MaxFrame || len(c.Out) > maxParts {
		t.count.malformed.Add(1)
		return
	}
	rest := gather(t.header[:], c.Out)
	n := c.OutLen - headerSize
	if !t.header.check(n, t.may) {
		t.count.malformed.Add(1)
		return
	}
	t.buffers = t.buffers[:0].add(t.header[:]).add(rest...)
	began := time.Now()
	if t.dev.send.Limited() {
		t.dev.send.Take(uint64(n), began)
	}
	if !t.pair.on.Load() || t.dev.unplugged.Load() || !t.write() {
		t.count.dropped.Add(1)
		return
	}
	t.count.frames.Add(1)
	t.count.bytes.Add(uint64(n))
	t.count.time.Observe(time.Since(began))
}

// write says whether the backend took the frame. While it is full, this queue waits, as QEMU's does, and the driver feels it;
// to drop instead would make a guest fill a slow peer's queue with what is then retransmitted.
func (t *transmitter) write() bool {
	for {
		// Here the next frame is about to be moved out of the guest.
		_, errno := writev(t.pair.fd, t.buffers)
		switch errno {
		case 0:
			return true
		case unix.EINTR:
		case unix.EAGAIN:
			t.queue.Notify()
			t.count.waits.Add(1)
			if err := t.wait.wait(unix.POLLOUT); err == errStopped {
				return false
			} else if err != nil {
				t.dev.unplug(err)
				return false
			}
		case unix.EBADFD, unix.EBADF, unix.ENODEV, unix.ENXIO, unix.EPIPE, unix.ECONNRESET, unix.ENOTCONN:
			t.dev.unplug(errno)
			return false
		default: // such as EIO, an interface that was set down, or EINVAL, a frame that the host does not like
			return false
		}
	}
}
