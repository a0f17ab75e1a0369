package net

import (
	"io"
	"time"

	"golang.org/x/sys/unix"

	"usui/machine/virtio"
)

// receiver brings frames from the backend to the guest. All of it belongs to one goroutine.
//
// It takes chains off the ring ahead of the frames, until the largest frame fits, and lets the kernel write the next frame into
// them. Behind the guest's buffers a read has a buffer of our own: what spills over there is copied when the driver has given
// more chains. That is the exception, a driver that is short of buffers.
type receiver struct {
	dev       *Net
	pair      *pair
	queue     *virtio.Queue
	count     *towardGuest
	wait      waiter
	may       work
	mergeable bool // a frame may be spread over several chains; else each has one to itself
	want      int  // bytes of room for which chains are held

	chain   virtio.Chain
	held    []heldChain // off the ring, not used yet
	buffers vector      // of the held chains, in order
	room    int         // bytes in them

	// A frame that was read and not delivered yet.
	length int // 0: none
	inline int // how much of it is in the held chains; the rest is in pair.spill
	copied int // of that rest

	batch batch
}

// heldChain is a chain that waits for a frame.
type heldChain struct {
	head          uint16
	buffers, room int
}

// spillSize holds whatever a chain has no room for. One more byte tells a frame that is too long from the longest.
const spillSize = MaxFrame + 1

// maxHeld bounds the buffers of the guest that are held; a chain may add as many once more. Linux needs 45.
const maxHeld = maxParts / 2

// smallFrame is room for a frame that is not to be cut into segments, with a VLAN tag.
const smallFrame = headerSize + ethernetHeader + 4 + 1500

func newReceiver(d *Net, p *pair, q *virtio.Queue) *receiver {
	features := d.accepted.Load()
	r := &receiver{dev: d, pair: p, queue: q, count: &p.toward, wait: newWaiter(p.fd, d.stop), may: workForGuest(features),
		mergeable: features&FeatureMrgRxBuf != 0, want: largeFrame,
		held: make([]heldChain, 0, q.Size()), buffers: make(vector, 0, maxParts+1)}
	if r.may&(workTSO4|workTSO6|workUSO) == 0 {
		r.want = max(smallFrame, smallFrame-1500+int(d.mtu))
	}
	return r
}

// next is what a receiver waits for.
type next int

const (
	aFrame    next = iota // from the backend
	chains                // from the driver
	allowance             // the limit allows the next frame
	theSwitch             // control puts the queue pair into use
	theEnd
)

// run is ended by Stop, by a driver that broke the ring, or by the end of the backend.
func (r *receiver) run() {
	r.queue.Disarm()
	for {
		switch r.drain() {
		case aFrame:
			if err := r.wait.wait(unix.POLLIN); err == errStopped {
				return
			} else if err != nil {
				r.dev.unplug(err)
				return
			}
			r.count.wakeups.Add(1)
		case chains:
			if !r.queue.Arm() && !r.queue.Wait() {
				return
			}
			r.queue.Disarm()
		case allowance:
			r.count.held.Add(1)
			if err := r.wait.pause(r.dev.receive.Wait(time.Now())); err == errStopped {
				return
			} else if err != nil {
				r.dev.unplug(err)
				return
			}
		case theSwitch:
			if !r.queue.Wait() {
				return
			}
		case theEnd:
			return
		}
	}
}

// drain moves frames until there are none, or no chains for them. The driver has then heard of all.
func (r *receiver) drain() next {
	defer r.queue.Notify()
	for !r.dev.stopping.Load() { // a host that never ceases to send does not keep us here
		if !r.pair.on.Load() {
			r.length = 0
			return theSwitch
		}
		if r.length == 0 {
			if !r.hold() {
				return chains
			}
			if r.dev.receive.Limited() && r.dev.receive.Wait(time.Now()) > 0 {
				return allowance // what arrives meanwhile is the backend's to keep or to drop
			}
			// Here the next frame is about to be moved to the guest.
			switch err := r.read(); {
			case err == unix.EAGAIN:
				return aFrame
			case err == unix.EINTR:
				continue
			case err != nil:
				r.dev.unplug(err)
				return theEnd
			}
		}
		if !r.deliver() {
			return chains
		}
		if r.batch.full() {
			r.queue.Notify()
		}
	}
	return theEnd
}

// hold takes chains off the ring until the largest frame fits or there are no more, and says whether there is any.
func (r *receiver) hold() bool {
	for r.room < r.want && len(r.buffers) < maxHeld && (r.mergeable || len(r.held) == 0) {
		if !r.take() {
			break
		}
	}
	return len(r.held) > 0
}

// take holds one more chain, if there is one. Whether the ring is broken, its next user finds out.
func (r *receiver) take() bool {
	for !r.dev.stopping.Load() {
		if ok, err := r.queue.Pop(&r.chain); err != nil || !ok {
			return false
		}
		in := r.chain.In[:min(len(r.chain.In), maxHeld)]
		h := heldChain{head: r.chain.Head, buffers: len(in)}
		for _, b := range in {
			h.room += len(b)
		}
		if h.room < headerSize {
			r.count.noRoom.Add(1)
			r.queue.Push(h.head, 0)
			continue
		}
		r.held = append(r.held, h)
		r.buffers = r.buffers.add(in...)
		r.room += h.room
		r.chain.In = in
		return true
	}
	return false
}

// read has the kernel write the next frame into the held chains.
func (r *receiver) read() error {
	n, errno := readv(r.pair.fd, r.buffers.add(r.pair.spill))
	switch {
	case errno != 0:
		return errno
	case n == 0: // no frame is empty: nobody is left at the other end
		return io.EOF
	}
	if r.dev.receive.Limited() {
		r.dev.receive.Take(uint64(max(0, n-headerSize)), time.Now())
	}
	r.length, r.inline, r.copied = n, min(n, r.room), 0
	return nil
}

// deliver gives the frame that was read to the driver, or drops it; the chains are then there for the next one. False means that it takes
// more chains.
func (r *receiver) deliver() bool {
	n := r.length
	if n > MaxFrame || n > r.room && !r.mergeable {
		return r.drop(&r.count.tooLong)
	}
	for n > r.room {
		if len(r.held) == r.queue.Size() || len(r.buffers) >= maxHeld {
			return r.drop(&r.count.tooLong) // the driver holds nothing more, and never will
		}
		if !r.take() {
			return false
		}
		for _, b := range r.chain.In {
			r.copied += copy(b, r.pair.spill[r.copied:n-r.inline])
		}
		r.count.spilled.Add(1)
	}
	var h header
	if n < MinFrame {
		return r.drop(&r.count.malformed)
	}
	r.buffers.first(h[:], false)
	if !h.check(n-headerSize, r.may) {
		return r.drop(&r.count.malformed)
	}
	r.use(n, h)
	return true
}

// use puts the chains with a frame of n bytes on the used ring, all at once.
func (r *receiver) use(n int, h header) {
	count, buffers := 0, 0
	for left := n; left > 0; count++ {
		left -= r.held[count].room
		buffers += r.held[count].buffers
	}
	h.setBuffers(count)
	r.buffers.first(h[:], true)
	r.count.frames.Add(1) // before the driver sees it
	r.count.bytes.Add(uint64(n - headerSize))
	left := n
	for _, c := range r.held[:count-1] {
		r.queue.Fill(c.head, uint32(c.room))
		r.room -= c.room
		left -= c.room
	}
	last := r.held[count-1]
	r.queue.Push(last.head, uint32(left))
	r.room -= last.room
	r.held = r.held[:copy(r.held, r.held[count:])]
	r.buffers = r.buffers.drop(buffers)
	r.length = 0
	r.batch.add(n)
}

// drop forgets the frame that was read.
func (r *receiver) drop(why *counter) bool {
	why.Add(1)
	r.length = 0
	return true
}

// batch decides when to interrupt the driver while there is more to do: it should not wait for the last of many frames to
// begin with the first.
type batch struct{ frames, bytes int }

const (
	batchFrames = 32
	batchBytes  = 256 << 10
)

func (b *batch) add(n int) { b.frames, b.bytes = b.frames+1, b.bytes+n }

// full says whether it is time, and begins anew if so.
func (b *batch) full() bool {
	if b.frames < batchFrames && b.bytes < batchBytes {
		return false
	}
	*b = batch{}
	return true
}
