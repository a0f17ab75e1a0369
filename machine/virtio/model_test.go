package virtio

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"usui/machine/guestmem"
)

// features of every kind of ring.
var ringFeatures = []uint64{0, FeatureIndirectDesc, FeatureEventIdx, FeatureIndirectDesc | FeatureEventIdx}

// bench is one queue with a driver and a device in lock step, each with an own idea of what must happen.
type bench struct {
	t         *testing.T
	m         *guestmem.Memory
	d         *driver
	q         *Queue
	rnd       *rand.Rand
	indirect  bool
	available []request // made available and not popped, in order
	popped    []*Chain
	serial    uint32
	want      map[uint16]request // by head: not taken back yet

	interrupted bool // since the driver last slept
	sleeping    bool // the driver waits for an interrupt: used entries must bring one
	armed       bool // the device waits for a kick: new buffers must bring one
}

// request is what the driver sent.
type request struct {
	head    uint16
	serial  uint32
	out, in int // buffers
	written uint32
}

const slotSize = 64 // of memory for one buffer

// send makes a request of random shape available: each out buffer holds the serial number and its place in the chain.
func (b *bench) send() bool {
	r := request{serial: b.serial, out: 1 + b.rnd.IntN(3), in: b.rnd.IntN(3)}
	if b.q.Size() == 1 && !b.indirect {
		r.out, r.in = 1, 0 // nothing else fits
	}
	base := bufferGPA + uint64(b.serial%64)*slotSize*8
	var bufs []buffer
	for i := range r.out {
		gpa := base + uint64(i)*slotSize
		binary.LittleEndian.PutUint64(slice(b.t, b.m, gpa, 8), uint64(b.serial)<<8|uint64(i))
		bufs = append(bufs, buffer{gpa, 8 + uint32(i), false})
	}
	for i := range r.in {
		bufs = append(bufs, buffer{base + uint64(r.out+i)*slotSize, 16, true})
	}
	var ok bool
	if b.indirect && b.rnd.IntN(2) == 0 {
		r.head, ok = b.d.addIndirect(b.m, indirectGPA+uint64(b.serial%64)*256, bufs...)
	} else {
		r.head, ok = b.d.add(bufs...)
	}
	if ok {
		b.available = append(b.available, r)
		b.want[r.head] = r
		b.serial++
	}
	return ok
}

// kick publishes what was sent.
func (b *bench) kick() {
	fresh := b.d.published != b.d.availIdx
	if kicked := b.d.publish(); fresh && b.armed && !kicked {
		b.t.Fatal("the driver does not kick a device that waits")
	} else if fresh && kicked {
		b.armed = false
	}
}

// pop takes what comes and compares it with what was sent. It says whether the ring gave something.
func (b *bench) pop() bool {
	c := &Chain{}
	ok, err := b.q.Pop(c)
	if err != nil {
		b.t.Fatalf("Pop: %v", err)
	}
	if !ok {
		return false
	}
	r := b.available[0]
	b.available = b.available[1:]
	if c.Head != r.head || len(c.Out) != r.out || len(c.In) != r.in || c.InLen != 16*r.in {
		b.t.Fatalf("Pop gave chain %d with %d and %d buffers, want %+v", c.Head, len(c.Out), len(c.In), r)
	}
	for i, out := range c.Out {
		if got := binary.LittleEndian.Uint64(out); len(out) != 8+i || got != uint64(r.serial)<<8|uint64(i) {
			b.t.Fatalf("buffer %d of request %d holds %#x in %d bytes", i, r.serial, got, len(out))
		}
	}
	b.popped = append(b.popped, c)
	return true
}

// push returns one of the popped chains, any.
func (b *bench) push() {
	if len(b.popped) == 0 {
		return
	}
	i := b.rnd.IntN(len(b.popped))
	c := b.popped[i]
	b.popped[i] = b.popped[len(b.popped)-1]
	b.popped = b.popped[:len(b.popped)-1]
	r := b.want[c.Head]
	r.written = b.rnd.Uint32N(uint32(c.InLen) + 1)
	b.want[c.Head] = r
	if len(b.popped) == 0 || b.rnd.IntN(4) > 0 {
		b.q.Push(c.Head, r.written)
		return
	}
	before := guestmem.Load16(b.d.used, 2)
	if !b.q.Fill(c.Head, r.written) || guestmem.Load16(b.d.used, 2) != before {
		b.t.Fatal("Fill failed, or the driver saw it at once")
	}
	b.push()
}

// notify ends a batch of pushes: a driver that sleeps must be woken if there is anything for it.
func (b *bench) notify() {
	b.q.Notify()
	if b.sleeping && guestmem.Load16(b.d.used, 2) != b.d.usedIdx && !b.interrupted {
		b.t.Fatal("the driver sleeps on used entries")
	}
	if b.interrupted {
		b.sleeping = false
	}
}

// collect takes all used entries back, and goes to sleep.
func (b *bench) collect() {
	for {
		head, written, found, ok := b.d.take()
		if !ok {
			b.t.Fatalf("the device returns chain %d, which the driver does not hold", head)
		}
		if !found {
			break
		}
		if r := b.want[head]; written != r.written {
			b.t.Fatalf("chain %d was returned with %d bytes, want %d", head, written, r.written)
		}
		delete(b.want, head)
	}
	b.interrupted = false
	b.sleeping = !b.d.enableInterrupts()
}

// TestQueueAgainstModel runs random histories of both sides, through the end of the 16-bit indices.
func TestQueueAgainstModel(t *testing.T) {
	for _, features := range ringFeatures {
		for _, size := range []uint16{1, 4, 32} {
			t.Run(fmt.Sprintf("features %#x size %d", features, size), func(t *testing.T) {
				runModel(t, features, size)
			})
		}
	}
}

func runModel(t *testing.T, features uint64, size uint16) {
	b := &bench{t: t, m: newMemory(t), rnd: rand.New(rand.NewPCG(features, uint64(size))), want: map[uint16]request{}}
	b.indirect = features&FeatureIndirectDesc != 0
	b.d, b.q = newDriver(t, b.m, size, features, QueueConfig{Interrupt: func() { b.interrupted = true }})
	const start = 0xf800 // both sides have come so far already
	b.q.nextAvail, b.q.seenAvail, b.q.nextUsed = start, start, start
	b.d.availIdx, b.d.published, b.d.usedIdx = start, start, start
	guestmem.Store16(b.d.avail, ringIndex, start)
	guestmem.Store16(b.d.used, ringIndex, start)
	for b.serial < 4000 {
		switch b.rnd.IntN(6) {
		case 0:
			for range b.rnd.IntN(int(size) + 1) {
				b.send()
			}
			b.kick()
		case 1:
			b.q.Disarm()
			b.armed = false
			for range b.rnd.IntN(int(size) + 1) {
				b.pop()
			}
		case 2:
			b.q.Disarm()
			for b.pop() {
			}
			if b.armed = !b.q.Arm(); !b.armed {
				t.Fatal("Arm says that there are buffers in an empty ring")
			}
		case 3:
			for range b.rnd.IntN(int(size) + 1) {
				b.push()
			}
			b.notify()
		case 4:
			b.collect()
		case 5:
			b.d.disableInterrupts()
			b.sleeping = false
		}
	}
	for b.pop() {
	}
	for len(b.popped) > 0 {
		b.push()
	}
	b.notify()
	b.collect()
	if len(b.want) != 0 || len(b.available) != 0 || len(b.d.free) != int(size) {
		t.Errorf("%d requests are lost, %d never came", len(b.want), len(b.available))
	}
}

// TestHammerQueue has a driver and a device in goroutines of their own, with kicks and interrupts as the only way to wake each
// other: a lost one hangs the test. The device's two sides are two goroutines.
func TestHammerQueue(t *testing.T) {
	for _, features := range ringFeatures {
		t.Run(fmt.Sprintf("features %#x", features), func(t *testing.T) {
			const requests, size = 20_000, 16
			m, k := newMemory(t), newKick(t)
			irq := make(chan struct{}, 1)
			d, q := newDriver(t, m, size, features, QueueConfig{Kick: k, Interrupt: func() {
				select {
				case irq <- struct{}{}:
				default:
				}
			}})
			var device sync.WaitGroup
			done := make(chan uint16, size)
			device.Go(func() { serve(t, q, done) }) // ends with Stop
			device.Go(func() {                      // ends with done
				for head := range done {
					q.Push(head, uint32(head))
					q.Notify()
				}
			})
			sent, got := 0, 0
			for got < requests {
				for sent < requests {
					if _, ok := d.add(buffer{bufferGPA, 64, false}, buffer{bufferGPA + page, 64, true}); !ok {
						break
					}
					sent++
					if d.publish() {
						k.Ring()
					}
				}
				d.disableInterrupts()
				for {
					head, written, found, ok := d.take()
					if !ok || found && written != uint32(head) {
						t.Errorf("used entry %d: head %d, %d bytes, held %t", got, head, written, ok)
					}
					if found {
						got++
						continue
					}
					break
				}
				if got < requests && len(d.free) < 2 && !d.enableInterrupts() {
					<-irq
				}
			}
			q.Stop()
			device.Wait()
		})
	}
}

// serve pops until the queue is stopped and passes the heads on.
func serve(t *testing.T, q *Queue, done chan<- uint16) {
	defer close(done)
	var c Chain
	for q.Wait() {
		for again := true; again; again = q.Arm() {
			q.Disarm()
			for {
				ok, err := q.Pop(&c)
				if err != nil {
					t.Errorf("Pop: %v", err)
					return
				}
				if !ok {
					break
				}
				done <- c.Head
			}
		}
	}
}

// TestHammerStopWakesWait stops queues at any moment of their waiter's life.
func TestHammerStopWakesWait(t *testing.T) {
	m, k := newMemory(t), newKick(t)
	for i := range 5000 {
		_, q := newDriver(t, m, 8, 0, QueueConfig{Kick: k}) // one kick for all, as with one device and many resets
		var waiter sync.WaitGroup
		waiter.Go(func() {
			for q.Wait() {
			}
			if q.Wait() {
				t.Error("Wait = true after it was false")
			}
		})
		for range i % 4 {
			q.Wake()
		}
		q.Stop()
		waiter.Wait()
	}
}

func TestKick(t *testing.T) {
	k, err := NewKick()
	if err != nil {
		t.Fatal(err)
	}
	m := newMemory(t)
	_, q := newDriver(t, m, 8, 0, QueueConfig{Kick: k})
	q.Wake()
	q.Wake()
	if !q.Wait() {
		t.Error("Wait = false after Wake")
	}
	var waiter sync.WaitGroup
	waiter.Go(func() {
		if q.Wait() {
			t.Error("Wait = true after the kick was closed")
		}
	})
	if err := k.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	waiter.Wait()
	k.Ring() // no harm
}

// lockstep runs two functions side by side, rounds times, and check after each.
func lockstep(rounds int64, a, b, check func()) {
	var arrived atomic.Int64
	meet := func(phase int64) { // both pass the phase together
		arrived.Add(1)
		for i := 0; arrived.Load() < 2*phase; i++ {
			if i%64 == 63 {
				runtime.Gosched() // on one processor the other would never come
			}
		}
	}
	var other sync.WaitGroup
	other.Go(func() {
		for r := range rounds {
			meet(3*r + 1)
			b()
			meet(3*r + 2)
			meet(3*r + 3)
		}
	})
	for r := range rounds {
		meet(3*r + 1)
		a()
		meet(3*r + 2)
		check()
		meet(3*r + 3)
	}
	other.Wait()
}

// TestHammerArm lets a device go to sleep at the moment in which a driver makes a buffer available: the device sees it or is kicked.
func TestHammerArm(t *testing.T) {
	for _, features := range ringFeatures[1:3] {
		m := newMemory(t)
		d, q := newDriver(t, m, 8, features, QueueConfig{})
		putDescriptor(d.desc, 0, bufferGPA, 1, 0, 0)
		var c Chain
		var seen, kicked bool
		lost := 0
		q.Disarm()
		lockstep(10_000,
			func() { seen = q.Arm() },
			func() { d.putAvail(0); kicked = d.publish() },
			func() {
				if !seen && !kicked {
					lost++
				}
				q.Disarm()
				q.Pop(&c)
				q.Push(c.Head, 0)
			})
		if lost != 0 {
			t.Errorf("features %#x: %d buffers came unseen and without a kick", features, lost)
		}
	}
}

// TestHammerNotify lets a driver go to sleep at the moment in which a device returns a buffer: the driver sees it or is interrupted.
func TestHammerNotify(t *testing.T) {
	for _, features := range ringFeatures[1:3] {
		m := newMemory(t)
		interrupted := false
		d, q := newDriver(t, m, 8, features, QueueConfig{Interrupt: func() { interrupted = true }})
		putDescriptor(d.desc, 0, bufferGPA, 1, 0, 0)
		var c Chain
		var seen bool
		lost := 0
		next := func() {
			d.disableInterrupts()
			d.putAvail(0)
			d.publish()
			q.Pop(&c)
		}
		next()
		lockstep(10_000,
			func() { interrupted = false; q.Push(c.Head, 0); q.Notify() },
			func() { seen = d.enableInterrupts() },
			func() {
				if !seen && !interrupted {
					lost++
				}
				d.usedIdx++
				next()
			})
		if lost != 0 {
			t.Errorf("features %#x: %d buffers were returned unseen and without an interrupt", features, lost)
		}
	}
}
