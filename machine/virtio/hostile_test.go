package virtio

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"

	"usui/machine/guestmem"
)

// region gives the region of memory that holds all of b, and where in it b is.
func region(m *guestmem.Memory, b []byte) (i int, off uint64, ok bool) {
	at := uint64(reflect.ValueOf(b).Pointer())
	for i, r := range m.Regions() {
		host := guestmem.Range{Start: uint64(r.HostAddr), Size: r.Size}
		if host.Contains(at, uint64(cap(b))) {
			return i, at - host.Start, true
		}
	}
	return 0, 0, false
}

// checkChain holds a chain to what the package promises.
func checkChain(t *testing.T, m *guestmem.Memory, q *Queue, c *Chain) {
	t.Helper()
	if int(c.Head) >= q.Size() || len(c.Out)+len(c.In) == 0 || len(c.Out)+len(c.In) > MaxChain {
		t.Fatalf("chain %d of a queue of %d has %d and %d buffers", c.Head, q.Size(), len(c.Out), len(c.In))
	}
	sum := 0
	for _, list := range [][][]byte{c.Out, c.In} {
		for _, b := range list {
			sum += len(b)
			if _, _, ok := region(m, b); !ok || len(b) == 0 || cap(b) != len(b) {
				t.Fatalf("chain %d has a buffer of %d bytes, capacity %d, inside memory %t", c.Head, len(b), cap(b), ok)
			}
		}
	}
	if sum != c.OutLen+c.InLen {
		t.Fatalf("chain %d has %d bytes, says %d and %d", c.Head, sum, c.OutLen, c.InLen)
	}
}

// TestHammerScribbler changes rings, tables and buffers under the device at any time: check and use must not see two
// different values.
func TestHammerScribbler(t *testing.T) {
	m := newMemory(t)
	const size = 8
	var rounds atomic.Int64
	var stop atomic.Bool
	var scribbler sync.WaitGroup
	defer func() { stop.Store(true); scribbler.Wait() }()
	d, q := newDriver(t, m, size, FeatureIndirectDesc|FeatureEventIdx, QueueConfig{})
	table := slice(t, m, indirectGPA, 16*32)
	addrs := []uint64{bufferGPA, 1<<20 - 8, 1 << 20, 1<<64 - 8, indirectGPA, descGPA}
	scribbler.Go(func() {
		rnd := rand.New(rand.NewPCG(1, 2))
		for !stop.Load() {
			flags := uint16(rnd.UintN(8))
			putDescriptor(d.desc, rnd.IntN(size), addrs[rnd.IntN(len(addrs))], uint32(16*rnd.UintN(34)), flags, uint16(rnd.UintN(size+1)))
			putDescriptor(table, rnd.IntN(32), addrs[rnd.IntN(len(addrs))], uint32(rnd.UintN(32)), flags&3, uint16(rnd.UintN(33)))
			d.putAvail(uint16(rnd.UintN(size)))
			rounds.Add(1)
		}
	})
	var c Chain
	popped := 0
	for popped < 2000 || rounds.Load() < 20_000 { // under the eyes of the scribbler
		guestmem.Store16(d.avail, 2, q.nextAvail+1)
		if ok, _ := q.Pop(&c); ok {
			popped++
			checkChain(t, m, q, &c)
			q.Push(c.Head, 0)
			continue
		}
		q.broken.Store(false) // as if reset, and the next entry's turn
		clear(q.inFlight)
		q.nextAvail++
		q.seenAvail = q.nextAvail
	}
}

// Layout of FuzzQueue's input: a header, and the first bytes of guest memory.
const (
	fuzzHeader = 16
	fuzzMemory = 16 << 10
)

// fuzzSeed is an input with queue parts at 0, 0x100 and 0x200, as a good driver makes them; change spoils it.
func fuzzSeed(features byte, size uint16, change func(mem []byte)) []byte {
	in := make([]byte, fuzzHeader, fuzzHeader+0x800)
	binary.LittleEndian.PutUint32(in[4:], 0x100)
	binary.LittleEndian.PutUint32(in[8:], 0x200)
	binary.LittleEndian.PutUint16(in[12:], size)
	in[14] = features
	in = in[:cap(in)]
	mem := in[fuzzHeader:]
	putDescriptor(mem, 0, 0x400, 64, descNext, 1)
	putDescriptor(mem, 1, 0x440, 64, descNext|descWrite, 2)
	putDescriptor(mem, 2, 0x480, 1, descWrite, 0)
	putDescriptor(mem, 3, 0x300, 32, descIndirect, 0)
	putDescriptor(mem, 4, 0x20000, 0x4000, descWrite, 0)
	putDescriptor(mem[0x300:], 0, 0x500, 8, descNext, 1)
	putDescriptor(mem[0x300:], 1, 0x510, 8, descWrite, 0)
	for i, head := range []uint16{0, 3, 4} {
		binary.LittleEndian.PutUint16(mem[0x104+2*i:], head)
	}
	binary.LittleEndian.PutUint16(mem[0x102:], 3)
	if change != nil {
		change(mem)
	}
	return in
}

// FuzzQueue takes arbitrary bytes as guest memory with a queue in it. The device must come to an end, hand out nothing
// that is not guest memory, and change nothing but buffers that it may write and the used ring.
func FuzzQueue(f *testing.F) {
	for features := range byte(4) {
		f.Add(fuzzSeed(features, 8, nil))
	}
	f.Add(fuzzSeed(3, 1024, nil))
	f.Add(fuzzSeed(3, 8, func(mem []byte) { putDescriptor(mem, 2, 0x480, 1, descNext|descWrite, 0) }))            // loop
	f.Add(fuzzSeed(3, 8, func(mem []byte) { putDescriptor(mem[0x300:], 1, 0x300, 32, descIndirect, 0) }))         // nested
	f.Add(fuzzSeed(3, 8, func(mem []byte) { putDescriptor(mem, 4, fuzzMemory-8, 16, descWrite, 0) }))             // over the end
	f.Add(fuzzSeed(3, 8, func(mem []byte) { binary.LittleEndian.PutUint16(mem[0x102:], 0xffff) }))                // jump
	f.Add(fuzzSeed(3, 8, func(mem []byte) { putDescriptor(mem, 4, 0, 0x400, descWrite, 0); mem[0x104] = 4 }))     // the queue itself
	f.Add(fuzzSeed(0, 8, func(mem []byte) { putDescriptor(mem, 1, 0xffffffffffffff00, 0x200, descWrite, 0) }))    // wraps
	f.Add(fuzzSeed(1, 16, func(mem []byte) { putDescriptor(mem, 3, 0x300, MaxChain*16, descIndirect, 0) }))       // long table
	m := newMemoryOf(f, guestmem.Range{Start: 0, Size: fuzzMemory}, guestmem.Range{Start: 0x20000, Size: 0x4000}) // one for all runs
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) < fuzzHeader {
			return
		}
		mem := slice(t, m, 0, fuzzMemory)
		clear(mem[copy(mem, in[fuzzHeader:]):])
		clear(slice(t, m, 0x20000, 0x4000))
		broken := 0
		q, err := NewQueue(QueueConfig{
			Memory: m, Desc: uint64(binary.LittleEndian.Uint32(in)), Avail: uint64(binary.LittleEndian.Uint32(in[4:])),
			Used: uint64(binary.LittleEndian.Uint32(in[8:])), Size: binary.LittleEndian.Uint16(in[12:]),
			Features: uint64(in[14]&3) << 28, Broken: func(error) { broken++ },
		})
		if err != nil {
			return
		}
		if err := fuzzServe(t, m, q); (err != nil) != (broken == 1) || broken > 1 {
			t.Errorf("Pop ends with %v, the owner was told %d times", err, broken)
		}
	})
}

// newMemoryOf makes memory with the given ranges.
func newMemoryOf(tb testing.TB, ranges ...guestmem.Range) *guestmem.Memory {
	tb.Helper()
	m, err := guestmem.New(ranges)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { m.Close() })
	return m
}

// fuzzServe serves q as a device does, until there is nothing more or the queue breaks, and keeps a copy of memory with
// what may be different in it.
func fuzzServe(t *testing.T, m *guestmem.Memory, q *Queue) (err error) {
	model := [2][]byte{bytes.Clone(slice(t, m, 0, fuzzMemory)), bytes.Clone(slice(t, m, 0x20000, 0x4000))}
	allow := func(b []byte) { // b may have changed
		i, off, ok := region(m, b)
		if !ok {
			t.Fatalf("%d bytes are outside memory", len(b))
		}
		copy(model[i][off:], b)
	}
	var c Chain
	var pending []uint16
	for range 4 * MaxChain { // the ring may hold more than once around, when the device writes into it
		q.Disarm()
		var ok bool
		if ok, err = q.Pop(&c); err != nil || !ok && !q.Arm() {
			break
		}
		if !ok {
			continue
		}
		checkChain(t, m, q, &c)
		for _, b := range c.In {
			b[0] ^= 0xa5
			b[len(b)-1] ^= 0x5a
			allow(b[:1:1])
			allow(b[len(b)-1:])
		}
		if pending = append(pending, c.Head); len(pending) > q.Size() {
			t.Fatalf("%d chains are in flight in a queue of %d", len(pending), q.Size())
		}
		if c.Head%2 == 0 {
			for _, head := range pending {
				q.Push(head, uint32(c.InLen))
			}
			pending = pending[:0]
			q.Notify()
		}
	}
	allow(q.used)
	for i, gpa := range []uint64{0, 0x20000} {
		if !bytes.Equal(model[i], slice(t, m, gpa, uint64(len(model[i])))) {
			t.Errorf("region %d changed outside of buffers and used ring", i)
		}
	}
	return err
}
