package virtiotest

import (
	"encoding/binary"
	"sync"
	"sync/atomic"

	"usui/host/eventfd"
	"usui/machine/guestmem"
	"usui/machine/virtio"
)

// Flags of a descriptor (virtio 1.2 section 2.7.5).
const (
	DescNext     = 1
	DescWrite    = 2
	DescIndirect = 4
)

// Offsets inside the rings (virtio 1.2 sections 2.7.6 and 2.7.8): flags, index, entries, event index.
const (
	ringFlags   = 0
	ringIndex   = 2
	ringEntries = 4
	noInterrupt = 1
	noKick      = 1
)

// Buffer is one element of a chain: guest-physical bytes.
type Buffer struct {
	GPA   uint64
	Len   uint32
	Write bool // the device writes it
}

// Queue is the driver's side of a queue.
type Queue struct {
	d                 *Driver
	kick              *virtio.Kick
	size              uint16
	eventIdx          bool
	desc, avail, used []byte
	free              []uint16            // descriptors in no chain
	held              map[uint16][]uint16 // head -> descriptors of the chain
	availIdx, usedIdx uint16
	shown             uint16 // availIdx at the last Publish
	interrupts        chan struct{}
	interruptCount    atomic.Int64
	line              *eventfd.FD // interrupts too, once somebody asked for it
	watching          sync.WaitGroup
	kickCount         int64
	hostile           bool // hands out what it does not hold
}

// newQueue makes both sides of queue i.
func (d *Driver) newQueue(i int, size uint16) (*Queue, *virtio.Queue) {
	d.t.Helper()
	kick, err := virtio.NewKick()
	if err != nil {
		d.t.Fatal(err)
	}
	q := &Queue{d: d, kick: kick, size: size, eventIdx: d.config.Features&virtio.FeatureEventIdx != 0,
		held: map[uint16][]uint16{}, interrupts: make(chan struct{}, 1)}
	var desc, avail, used uint64
	n := int(size)
	desc, q.desc = d.alloc(16*n, 4096)
	avail, q.avail = d.alloc(6+2*n, 4096)
	used, q.used = d.alloc(6+8*n, 4096)
	for i := range size {
		q.free = append(q.free, size-1-i)
	}
	dq, err := virtio.NewQueue(virtio.QueueConfig{
		Memory: d.Memory, Index: i, Size: size, Desc: desc, Avail: avail, Used: used,
		Features: d.config.Features, Kick: kick, Broken: d.noteBroken,
		Interrupt: func() { q.interruptCount.Add(1); q.signal() }, InterruptFD: q.interruptFD,
	})
	if err != nil {
		d.t.Fatal(err)
	}
	return q, dq
}

// interruptFD is for those who serve the queue outside of the device model. The eventfd lives until the device is stopped.
func (q *Queue) interruptFD() int {
	if q.line == nil {
		line, err := eventfd.New()
		if err != nil {
			q.d.t.Fatal(err)
		}
		q.line = line
		q.watching.Go(func() { // ended by close
			for line.Wait() == nil {
				q.interruptCount.Add(1)
				q.signal()
			}
		})
	}
	return int(q.line.Fd())
}

// close ends what the queue holds.
func (q *Queue) close() {
	q.kick.Close()
	if q.line != nil {
		q.line.Close()
		q.watching.Wait()
	}
}

func (q *Queue) signal() {
	select {
	case q.interrupts <- struct{}{}:
	default:
	}
}

// Size is the number of entries.
func (q *Queue) Size() int { return int(q.size) }

// Free is how many descriptors are in no chain.
func (q *Queue) Free() int { return len(q.free) }

// Interrupts and Kicks count what crossed between driver and device.
func (q *Queue) Interrupts() int64 { return q.interruptCount.Load() }

// Kicks is how often the driver kicked.
func (q *Queue) Kicks() int64 { return q.kickCount }

// Add makes a chain of buffers available, tells the device, and returns the chain's head. There must be room.
func (q *Queue) Add(bufs ...Buffer) uint16 {
	q.d.t.Helper()
	head := q.Put(bufs...)
	q.Publish()
	return head
}

// Put is Add without telling the device.
func (q *Queue) Put(bufs ...Buffer) uint16 {
	q.d.t.Helper()
	chain := q.takeFree(len(bufs))
	for i, b := range bufs {
		next := uint16(0)
		if i < len(bufs)-1 {
			next = chain[i+1]
		}
		q.SetDescriptor(chain[i], b.GPA, b.Len, b.flags(i == len(bufs)-1), next)
	}
	q.held[chain[0]] = chain
	q.PutAvailable(chain[0])
	return chain[0]
}

// Again is Add for the chain of n descriptors that Take or Wait returned last, as it still stands in the table. It
// allocates nothing.
func (q *Queue) Again(head uint16, n int) {
	rest := len(q.free) - n
	q.held[head] = q.free[rest:len(q.free):len(q.free)]
	q.free = q.free[:rest]
	q.PutAvailable(head)
	q.Publish()
}

// PutIndirect is Put with an indirect table: it needs one descriptor, and may have more buffers than the queue has entries.
func (q *Queue) PutIndirect(bufs ...Buffer) uint16 {
	q.d.t.Helper()
	gpa, table := q.d.Alloc(16 * len(bufs))
	for i, b := range bufs {
		putDescriptor(table[16*i:], b.GPA, b.Len, b.flags(i == len(bufs)-1), uint16(i+1))
	}
	chain := q.takeFree(1)
	q.SetDescriptor(chain[0], gpa, uint32(len(table)), DescIndirect, 0)
	q.held[chain[0]] = chain
	q.PutAvailable(chain[0])
	return chain[0]
}

func (q *Queue) takeFree(n int) []uint16 {
	q.d.t.Helper()
	if n == 0 || n > len(q.free) {
		q.d.t.Fatalf("a chain of %d descriptors, of %d that are free", n, len(q.free))
	}
	chain := append([]uint16(nil), q.free[len(q.free)-n:]...)
	q.free = q.free[:len(q.free)-n]
	return chain
}

func (b Buffer) flags(last bool) (f uint16) {
	if b.Write {
		f |= DescWrite
	}
	if !last {
		f |= DescNext
	}
	return f
}

// SetDescriptor writes descriptor i, whatever it says.
func (q *Queue) SetDescriptor(i uint16, gpa uint64, n uint32, flags, next uint16) {
	putDescriptor(q.desc[16*int(i):], gpa, n, flags, next)
}

func putDescriptor(b []byte, gpa uint64, n uint32, flags, next uint16) {
	binary.LittleEndian.PutUint64(b, gpa)
	binary.LittleEndian.PutUint32(b[8:], n)
	binary.LittleEndian.PutUint16(b[12:], flags)
	binary.LittleEndian.PutUint16(b[14:], next)
}

// PutAvailable writes the next available entry, whatever it says.
func (q *Queue) PutAvailable(head uint16) {
	binary.LittleEndian.PutUint16(q.avail[ringEntries+2*int(q.availIdx%q.size):], head)
	q.availIdx++
}

// SetAvailableIndex writes the available index, whatever it says, and kicks.
func (q *Queue) SetAvailableIndex(i uint16) {
	q.availIdx, q.shown = i, i
	guestmem.Store16(q.avail, ringIndex, i)
	q.Kick()
}

// Publish shows the device what was put, and kicks if the device wants that.
func (q *Queue) Publish() {
	guestmem.Store16(q.avail, ringIndex, q.availIdx)
	guestmem.Fence()
	old := q.shown
	q.shown = q.availIdx
	if q.eventIdx {
		event := guestmem.Load16(q.used, ringEntries+8*int(q.size)) // avail_event
		if q.availIdx-event-1 < q.availIdx-old {
			q.Kick()
		}
	} else if guestmem.Load16(q.used, ringFlags)&noKick == 0 {
		q.Kick()
	}
}

// Kick notifies the device.
func (q *Queue) Kick() {
	q.kickCount++
	q.kick.Ring()
}

// Take removes the next used entry, if there is one.
func (q *Queue) Take() (head uint16, written uint32, ok bool) {
	if guestmem.Load16(q.used, ringIndex) == q.usedIdx {
		return 0, 0, false
	}
	e := q.used[ringEntries+8*int(q.usedIdx%q.size):]
	id, written := binary.LittleEndian.Uint32(e), binary.LittleEndian.Uint32(e[4:])
	q.usedIdx++
	chain, held := q.held[uint16(id)]
	if id > 0xffff || !held {
		if q.hostile {
			return uint16(id), written, true
		}
		q.d.t.Errorf("the device uses chain %d, which the driver does not hold out", id)
		return uint16(id), written, true
	}
	delete(q.held, uint16(id))
	q.free = append(q.free, chain...)
	return uint16(id), written, true
}

// Wait waits for the next used entry by interrupt. ok is false when the device broke instead.
func (q *Queue) Wait() (head uint16, written uint32, ok bool) {
	for {
		if head, written, ok = q.Take(); ok {
			return head, written, true
		}
		if len(q.d.Broken()) > 0 {
			return 0, 0, false
		}
		if q.wantInterrupt() {
			continue
		}
		<-q.interrupts
		q.wantNoInterrupt()
	}
}

// wantInterrupt asks for an interrupt with the next used entry and says whether one is there already.
func (q *Queue) wantInterrupt() bool {
	if q.eventIdx {
		guestmem.Store16(q.avail, ringEntries+2*int(q.size), q.usedIdx) // used_event
	} else {
		guestmem.Store16(q.avail, ringFlags, 0)
	}
	guestmem.Fence()
	return guestmem.Load16(q.used, ringIndex) != q.usedIdx
}

// wantNoInterrupt asks for none. With event indices the last wish lies behind.
func (q *Queue) wantNoInterrupt() {
	if !q.eventIdx {
		guestmem.Store16(q.avail, ringFlags, noInterrupt)
	}
}
