package virtio

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"

	"usui/machine/guestmem"
)

// ErrBroken is what [Queue.Pop] returns after the error that broke the queue.
var ErrBroken = errors.New("the queue is broken until the device is reset")

// MaxQueueSize is the largest size of a split queue (virtio 1.2 section 2.7).
const MaxQueueSize = 1 << 15

// Flags of the rings, for drivers without event indices (virtio 1.2 sections 2.7.6 and 2.7.8).
const (
	availNoInterrupt = 1 // the driver wants no interrupt
	usedNoNotify     = 1 // the device wants no kick
)

// Offsets inside the rings: flags, index, then the entries, then the event index.
const (
	ringFlags     = 0
	ringIndex     = 2
	ringEntries   = 4
	availEntry    = 2
	usedEntry     = 8
	availOverhead = 6 // bytes of an available ring beside its entries
	usedOverhead  = 6
)

// QueueConfig says what the driver set up for one queue and whom to tell about it.
type QueueConfig struct {
	Memory            *guestmem.Memory
	Index             int        // number of the queue in its device, for messages
	Size              uint16     // entries, a power of two
	Desc, Avail, Used uint64     // guest-physical addresses of the descriptor table and the two rings
	Features          uint64     // accepted by the driver; the queue looks at those of rings
	Kick              *Kick      // stays owned by the caller, who closes it after the device stopped
	Interrupt         func()     // used buffers are there; nil: nobody wants to know
	InterruptFD       func() int // eventfd that interrupts likewise, or -1; see [Queue.Ring]. nil: there is none

	// Broken is called once, by the goroutine that met the fault, with what the driver did. nil: nobody wants to know.
	Broken func(err error)
}

// Queue is the device side of a split virtqueue.
//
// Pop, Arm, Disarm and Wait belong to one goroutine, Push, Fill and Notify to one, which may be another. Wake, Stop and Size
// may be called by anyone.
type Queue struct {
	mem               *guestmem.Memory
	index             int
	ring              Ring
	size, mask        uint16
	desc, avail, used []byte // views of guest memory
	indirect          bool
	eventIdx          bool
	kick              *Kick
	interrupt         func()
	interruptFD       func() int
	onBroken          func(error)

	// The available side.
	nextAvail uint16 // the entry that Pop takes next
	seenAvail uint16 // the driver's index when it was last read

	// The used side.
	nextUsed   uint16 // the entry that Push fills next, and the index that the driver sees
	unnotified uint32 // pushes since the last Notify

	inFlight []atomic.Uint32 // one bit a head: popped and not pushed yet
	broken   *atomic.Bool    // shared by the queues of a device: one broken queue stops them all
	stopped  atomic.Bool
}

// NewQueue makes the device side of a queue that the driver has laid out. It fails when the size is no power of two up
// to [MaxQueueSize], an address is not aligned, or a part does not lie wholly in one region of memory.
func NewQueue(c QueueConfig) (*Queue, error) { return newQueue(c, new(atomic.Bool)) }

func newQueue(c QueueConfig, broken *atomic.Bool) (*Queue, error) {
	q := &Queue{
		broken: broken, ring: Ring{Memory: c.Memory, Size: c.Size, Desc: c.Desc, Avail: c.Avail, Used: c.Used},
		mem: c.Memory, index: c.Index, size: c.Size, mask: c.Size - 1,
		indirect: c.Features&FeatureIndirectDesc != 0, eventIdx: c.Features&FeatureEventIdx != 0,
		kick: c.Kick, interrupt: c.Interrupt, interruptFD: c.InterruptFD, onBroken: c.Broken,
	}
	if c.Size == 0 || c.Size&q.mask != 0 || c.Size > MaxQueueSize {
		return nil, fmt.Errorf("queue %d: size %d is no power of two up to %d", c.Index, c.Size, MaxQueueSize)
	}
	n := uint64(c.Size)
	for _, part := range []struct {
		name             string
		gpa, size, align uint64 // virtio 1.2 section 2.7
		view             *[]byte
	}{
		{"descriptor table", c.Desc, n * descSize, 16, &q.desc},
		{"available ring", c.Avail, n*availEntry + availOverhead, 2, &q.avail},
		{"used ring", c.Used, n*usedEntry + usedOverhead, 4, &q.used},
	} {
		if part.gpa%part.align != 0 {
			return nil, fmt.Errorf("queue %d: %s at %#x is not aligned to %d", c.Index, part.name, part.gpa, part.align)
		}
		var err error
		if *part.view, err = c.Memory.Slice(part.gpa, part.size); err != nil {
			return nil, fmt.Errorf("queue %d: %s: %w", c.Index, part.name, err)
		}
	}
	q.inFlight = make([]atomic.Uint32, (n+31)/32)
	return q, nil
}

// Size is the number of entries, the most chains that can be in flight.
func (q *Queue) Size() int { return int(q.size) }

// Memory is the guest's, for devices that are told of addresses otherwise than by descriptors.
func (q *Queue) Memory() *guestmem.Memory { return q.mem }

// Ring is what somebody else needs who serves a queue: a vhost device in the kernel, or another process (vhost-user).
type Ring struct {
	Memory            *guestmem.Memory
	Size              uint16
	Desc, Avail, Used uint64 // guest-physical addresses
	Kick              int    // eventfd that the driver signals; stays owned by the queue
	Interrupt         int    // eventfd that interrupts the driver; -1: it wants none. Stays owned by the machine
}

// Ring describes the queue to somebody else who will serve it. Then none of Pop, Push, Arm, Wait and the like may be called
// before the device is stopped and that one has let go. The interrupt is the one that the driver has chosen by now; if it
// chooses another one while the device runs, which no driver does, it hears of nothing.
func (q *Queue) Ring() Ring {
	r := q.ring
	r.Kick, r.Interrupt = q.kick.FD(), -1
	if q.interruptFD != nil {
		r.Interrupt = q.interruptFD()
	}
	return r
}

// Pop takes the next chain off the available ring into c, and says whether there was one; else c is empty. An error means that the driver
// broke the protocol: the device is already marked, so all that is left for the caller is to stop serving. Errors do not
// go away before a reset.
func (q *Queue) Pop(c *Chain) (bool, error) {
	c.reset()
	if q.broken.Load() {
		return false, ErrBroken
	}
	if q.nextAvail == q.seenAvail {
		q.seenAvail = guestmem.Load16(q.avail, ringIndex) // acquires the entries before it
		if q.nextAvail == q.seenAvail {
			return false, nil
		}
		if q.seenAvail-q.nextAvail > q.size {
			return false, q.fail(fmt.Errorf("available index jumps from %d to %d in a queue of %d", q.nextAvail, q.seenAvail, q.size))
		}
	}
	head := guestmem.Load16(q.avail, ringEntries+availEntry*int(q.nextAvail&q.mask))
	if head >= q.size {
		return false, q.fail(fmt.Errorf("available entry %d is chain %d in a queue of %d", q.nextAvail, head, q.size))
	}
	if !q.claim(head) {
		return false, q.fail(fmt.Errorf("chain %d is made available while it is in flight", head))
	}
	if err := q.gather(head, c); err != nil {
		return false, q.fail(err)
	}
	q.nextAvail++
	return true, nil
}

// Push puts a chain on the used ring and tells how many bytes at the start of its In buffers were written. It must be
// called once for each popped chain, in any order. The driver sees the chain at once, but is interrupted only by [Queue.Notify].
func (q *Queue) Push(head uint16, written uint32) {
	if q.Fill(head, written) {
		guestmem.Store16(q.used, ringIndex, q.nextUsed) // releases the entries, and the data that the device wrote
	}
}

// Fill is a Push that the driver sees with the next Push, and not before it: chains that are of use only together, such as the
// parts of one network frame, are filled up to the last one, which is pushed. It says whether the queue works.
func (q *Queue) Fill(head uint16, written uint32) bool {
	if q.broken.Load() {
		return false
	}
	if head >= q.size || !q.release(head) {
		_ = q.fail(fmt.Errorf("the device returned chain %d, which is not in flight", head))
		return false
	}
	entry := q.used[ringEntries+usedEntry*int(q.nextUsed&q.mask):]
	binary.LittleEndian.PutUint32(entry, uint32(head))
	binary.LittleEndian.PutUint32(entry[4:], written)
	q.nextUsed++
	if q.unnotified < 1<<16 { // then the index went round, past any event
		q.unnotified++
	}
	return true
}

// claim marks head as in flight, unless it is. release undoes that, unless it is not. Push releases a head before
// the driver can see it as used, so Pop never meets a mark that the driver could not know to be gone.
func (q *Queue) claim(head uint16) bool {
	bit := uint32(1) << (head % 32)
	return q.inFlight[head/32].Or(bit)&bit == 0
}

func (q *Queue) release(head uint16) bool {
	bit := uint32(1) << (head % 32)
	return q.inFlight[head/32].And(^bit)&bit != 0
}

// Notify interrupts the driver if there were pushes since the last Notify and the driver asked to hear of one of them.
func (q *Queue) Notify() {
	pushed := q.unnotified
	if pushed == 0 || q.broken.Load() {
		return
	}
	q.unnotified = 0
	// The used index must be visible before the driver's wish is read. The driver does the same the other way round, so
	// one of the two sees the other (virtio 1.2 section 2.7.7.2).
	guestmem.Fence()
	if q.wantsInterrupt(pushed) && q.interrupt != nil {
		q.interrupt()
	}
}

// wantsInterrupt says whether the driver wants to hear of one of the last pushed entries.
func (q *Queue) wantsInterrupt(pushed uint32) bool {
	if !q.eventIdx {
		return guestmem.Load16(q.avail, ringFlags)&availNoInterrupt == 0
	}
	event := guestmem.Load16(q.avail, ringEntries+availEntry*int(q.size)) // used_event: tell me when this entry is used
	behind := q.nextUsed - 1 - event                                      // entries used after that one
	return uint32(behind) < pushed
}

// Arm asks the driver for a kick with the next buffer and then looks again: true means that buffers are there already, and no
// kick may come for them, so serve instead of waiting.
func (q *Queue) Arm() bool {
	if q.broken.Load() {
		return false
	}
	if q.eventIdx {
		guestmem.Store16(q.used, ringEntries+usedEntry*int(q.size), q.nextAvail) // avail_event
	} else {
		guestmem.Store16(q.used, ringFlags, 0)
	}
	guestmem.Fence() // the wish must be visible before the index is read (virtio 1.2 section 2.7.10)
	return guestmem.Load16(q.avail, ringIndex) != q.nextAvail
}

// Disarm tells the driver that no kicks are wanted while the queue is served. With event indices there is nothing to do: the
// index of the last [Queue.Arm] lies behind and asks for nothing.
func (q *Queue) Disarm() {
	if !q.eventIdx && !q.broken.Load() {
		guestmem.Store16(q.used, ringFlags, usedNoNotify)
	}
}

// Wait blocks until the driver kicks or someone calls [Queue.Wake], and returns false when the queue was stopped. It
// may return true for no reason.
func (q *Queue) Wait() bool {
	return !q.stopped.Load() && q.kick.wait() && !q.stopped.Load()
}

// KickFD is the eventfd of kicks, Wake and Stop, for a device that waits for it and for other descriptors at once instead of calling
// Wait. Nobody takes its count then, so poll it edge-triggered. It stays owned by the queue.
func (q *Queue) KickFD() int { return q.kick.FD() }

// Wake makes Wait return.
func (q *Queue) Wake() { q.kick.Ring() }

// Stop makes Wait return false, now and for good. The device calls it from its own Stop.
func (q *Queue) Stop() {
	q.stopped.Store(true)
	q.kick.Ring() // after the store: whoever takes this ring sees it
}

// fail breaks the queue, the first time with a word to the owner.
func (q *Queue) fail(err error) error {
	err = fmt.Errorf("queue %d: %w", q.index, err)
	if q.broken.CompareAndSwap(false, true) && q.onBroken != nil {
		q.onBroken(err)
	}
	return err
}
