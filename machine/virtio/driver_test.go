package virtio

import (
	"encoding/binary"
	"testing"

	"usui/machine/guestmem"
)

const page = 4096

// newMemory makes guest memory with a hole: [0, 1 MiB) and [2 MiB, 2 MiB + 64 KiB).
func newMemory(t testing.TB) *guestmem.Memory {
	t.Helper()
	m, err := guestmem.New([]guestmem.Range{{Start: 0, Size: 1 << 20}, {Start: 2 << 20, Size: 64 << 10}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Errorf("close guest memory: %v", err)
		}
	})
	return m
}

// driver is the other side of a queue: a small split-ring driver after virtio 1.2 section 2.7, which keeps its own
// book of free descriptors and never trusts the device.
type driver struct {
	size              uint16
	eventIdx          bool
	desc, avail, used []byte
	free              []uint16            // descriptors that are in no chain
	held              map[uint16][]uint16 // head -> its descriptors
	availIdx, usedIdx uint16
	published         uint16 // availIdx at the last kick decision
}

// buffer is one element of a request: guest-physical bytes.
type buffer struct {
	gpa   uint64
	len   uint32
	write bool
}

// Where the tests put the parts of a queue. The largest queue of the tests has 1024 entries.
const (
	descGPA     = 0x10000
	availGPA    = 0x18000
	usedGPA     = 0x1a000
	indirectGPA = 0x20000 // 16 KiB for each head's table, up to 16 heads
	bufferGPA   = 0x80000
)

// newDriver lays out a queue of size entries and gives both sides of it.
func newDriver(t testing.TB, m *guestmem.Memory, size uint16, features uint64, c QueueConfig) (*driver, *Queue) {
	t.Helper()
	c.Memory, c.Size, c.Features = m, size, features
	c.Desc, c.Avail, c.Used = descGPA, availGPA, usedGPA
	if c.Kick == nil {
		c.Kick = newKick(t)
	}
	q, err := NewQueue(c)
	if err != nil {
		t.Fatal(err)
	}
	return attachDriver(t, m, size, features), q
}

// attachDriver makes the driver's side alone and clears the rings.
func attachDriver(t testing.TB, m *guestmem.Memory, size uint16, features uint64) *driver {
	t.Helper()
	d := &driver{size: size, eventIdx: features&FeatureEventIdx != 0, held: map[uint16][]uint16{}}
	d.desc = slice(t, m, descGPA, uint64(size)*16)
	d.avail = slice(t, m, availGPA, uint64(size)*2+6)
	d.used = slice(t, m, usedGPA, uint64(size)*8+6)
	for _, b := range [][]byte{d.desc, d.avail, d.used} {
		clear(b)
	}
	for i := range size {
		d.free = append(d.free, size-1-i)
	}
	return d
}

func slice(t testing.TB, m *guestmem.Memory, gpa, n uint64) []byte {
	t.Helper()
	b, err := m.Slice(gpa, n)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func newKick(t testing.TB) *Kick {
	t.Helper()
	k, err := NewKick()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { k.Close() })
	return k
}

// putDescriptor writes descriptor i of a table.
func putDescriptor(table []byte, i int, addr uint64, n uint32, flags, next uint16) {
	b := table[16*i:]
	binary.LittleEndian.PutUint64(b, addr)
	binary.LittleEndian.PutUint32(b[8:], n)
	binary.LittleEndian.PutUint16(b[12:], flags)
	binary.LittleEndian.PutUint16(b[14:], next)
}

// flagsOf gives the flags of element i of n.
func (b buffer) flags(last bool) (f uint16) {
	if b.write {
		f |= descWrite
	}
	if !last {
		f |= descNext
	}
	return f
}

// add makes a request available, if there are descriptors for it, and returns its head. It does not publish.
func (d *driver) add(bufs ...buffer) (uint16, bool) {
	if len(bufs) > len(d.free) {
		return 0, false
	}
	mine := append([]uint16(nil), d.free[len(d.free)-len(bufs):]...)
	d.free = d.free[:len(d.free)-len(bufs)]
	for i, b := range bufs {
		last := i == len(bufs)-1
		next := uint16(0xffff)
		if !last {
			next = mine[i+1]
		}
		putDescriptor(d.desc, int(mine[i]), b.gpa, b.len, b.flags(last), next)
	}
	d.makeAvailable(mine)
	return mine[0], true
}

// addIndirect is add through a table of its own at gpa.
func (d *driver) addIndirect(m *guestmem.Memory, gpa uint64, bufs ...buffer) (uint16, bool) {
	if len(d.free) == 0 {
		return 0, false
	}
	table, err := m.Slice(gpa, uint64(len(bufs))*16)
	if err != nil {
		return 0, false
	}
	mine := []uint16{d.free[len(d.free)-1]}
	d.free = d.free[:len(d.free)-1]
	for i, b := range bufs {
		putDescriptor(table, i, b.gpa, b.len, b.flags(i == len(bufs)-1), uint16(i+1))
	}
	putDescriptor(d.desc, int(mine[0]), gpa, uint32(len(table)), descIndirect, 0)
	d.makeAvailable(mine)
	return mine[0], true
}

func (d *driver) makeAvailable(chain []uint16) {
	d.held[chain[0]] = chain
	d.putAvail(chain[0])
}

// putAvail writes the next available entry, whatever it says.
func (d *driver) putAvail(head uint16) {
	binary.LittleEndian.PutUint16(d.avail[4+2*int(d.availIdx%d.size):], head)
	d.availIdx++
}

// publish shows the entries to the device and says whether it wants a kick.
func (d *driver) publish() bool {
	guestmem.Store16(d.avail, 2, d.availIdx)
	guestmem.Fence()
	old := d.published
	d.published = d.availIdx
	if d.eventIdx {
		event := guestmem.Load16(d.used, 4+8*int(d.size))
		return d.availIdx-event-1 < d.availIdx-old
	}
	return guestmem.Load16(d.used, 0)&usedNoNotify == 0
}

// take removes one used entry. A head that the driver does not hold is reported as not ok.
func (d *driver) take() (head uint16, written uint32, found, ok bool) {
	if guestmem.Load16(d.used, 2) == d.usedIdx {
		return 0, 0, false, true
	}
	e := d.used[4+8*int(d.usedIdx%d.size):]
	id := binary.LittleEndian.Uint32(e)
	written = binary.LittleEndian.Uint32(e[4:])
	d.usedIdx++
	chain, ok := d.held[uint16(id)]
	if id > 0xffff || !ok {
		return uint16(id), written, true, false
	}
	delete(d.held, uint16(id))
	d.free = append(d.free, chain...)
	return uint16(id), written, true, true
}

// enableInterrupts asks for an interrupt with the next used entry and says whether one is there already.
func (d *driver) enableInterrupts() bool {
	if d.eventIdx {
		guestmem.Store16(d.avail, 4+2*int(d.size), d.usedIdx)
	} else {
		guestmem.Store16(d.avail, 0, 0)
	}
	guestmem.Fence()
	return guestmem.Load16(d.used, 2) != d.usedIdx
}

// disableInterrupts asks for none. With event indices the last wish lies behind already.
func (d *driver) disableInterrupts() {
	if !d.eventIdx {
		guestmem.Store16(d.avail, 0, availNoInterrupt)
	}
}
