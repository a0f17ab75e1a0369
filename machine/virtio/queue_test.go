package virtio

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"usui/machine/guestmem"
)

// mustPop pops a chain that must be there.
func mustPop(t testing.TB, q *Queue, c *Chain) {
	t.Helper()
	if ok, err := q.Pop(c); !ok || err != nil {
		t.Fatalf("Pop = %t, %v, want a chain", ok, err)
	}
}

// TestQueueRoundTrip sends one request through and looks at both ends of it.
func TestQueueRoundTrip(t *testing.T) {
	m := newMemory(t)
	interrupts := 0
	d, q := newDriver(t, m, 8, 0, QueueConfig{Interrupt: func() { interrupts++ }})
	copy(slice(t, m, bufferGPA, 5), "hello")
	head, _ := d.add(buffer{bufferGPA, 5, false}, buffer{bufferGPA + page, 16, true})
	if !d.publish() {
		t.Error("a queue without NO_NOTIFY wants no kick")
	}
	var c Chain
	mustPop(t, q, &c)
	if c.Head != head || len(c.Out) != 1 || string(c.Out[0]) != "hello" || c.OutLen != 5 || len(c.In) != 1 || c.InLen != 16 {
		t.Errorf("Pop gave %+v", c)
	}
	copy(c.In[0], "world")
	q.Push(c.Head, 5)
	q.Notify()
	if got, n, found, ok := d.take(); got != head || n != 5 || !found || !ok {
		t.Errorf("used entry: head %d, %d bytes, found %t, held %t, want %d, 5, true, true", got, n, found, ok, head)
	}
	if got := slice(t, m, bufferGPA+page, 5); string(got) != "world" {
		t.Errorf("the driver reads %q, want %q", got, "world")
	}
	if interrupts != 1 {
		t.Errorf("%d interrupts, want 1", interrupts)
	}
	if ok, err := q.Pop(&c); ok || err != nil {
		t.Errorf("Pop of an empty ring = %t, %v", ok, err)
	}
}

func TestNewQueueRefuses(t *testing.T) {
	m := newMemory(t) // ends at 1 MiB, a hole, then 64 KiB from 2 MiB
	const end = 1 << 20
	good := QueueConfig{Memory: m, Size: 256, Desc: 0, Avail: 0x1000, Used: 0x2000}
	if _, err := NewQueue(good); err != nil {
		t.Fatalf("NewQueue of a good queue: %v", err)
	}
	tests := []struct {
		name   string
		change func(*QueueConfig)
	}{
		{"no entries", func(c *QueueConfig) { c.Size = 0 }},
		{"not a power of two", func(c *QueueConfig) { c.Size = 255 }},
		{"too large", func(c *QueueConfig) { c.Size = 1<<16 - 1 }},
		{"table not aligned", func(c *QueueConfig) { c.Desc = 8 }},
		{"available ring not aligned", func(c *QueueConfig) { c.Avail = 0x1001 }},
		{"used ring not aligned", func(c *QueueConfig) { c.Used = 0x2002 }},
		{"table in the hole", func(c *QueueConfig) { c.Desc = end }},
		{"available ring in the hole", func(c *QueueConfig) { c.Avail = end }},
		{"used ring in the hole", func(c *QueueConfig) { c.Used = end }},
		{"table across the end", func(c *QueueConfig) { c.Desc = end - 256*16 + 16 }},
		{"available ring across the end", func(c *QueueConfig) { c.Avail = end - 256*2 - 4 }},
		{"used ring across the end", func(c *QueueConfig) { c.Used = end - 256*8 - 4 }},
		{"table wraps", func(c *QueueConfig) { c.Desc = math.MaxUint64 - 15 }},
		{"available ring wraps", func(c *QueueConfig) { c.Avail = math.MaxUint64 - 1 }},
		{"used ring wraps", func(c *QueueConfig) { c.Used = math.MaxUint64 - 3 }},
	}
	for _, tt := range tests {
		c := good
		tt.change(&c)
		if _, err := NewQueue(c); err == nil {
			t.Errorf("%s: NewQueue succeeds, want an error", tt.name)
		}
	}
	for _, fits := range []QueueConfig{
		{Memory: m, Size: 256, Desc: end - 256*16, Avail: 0, Used: 0x2000},
		{Memory: m, Size: 256, Desc: 0, Avail: end - 256*2 - 6, Used: 0x2000},
		{Memory: m, Size: 256, Desc: 0, Avail: 0x1000, Used: end - 256*8 - 8},
		{Memory: m, Size: 1, Desc: 0, Avail: 0x1000, Used: 0x2000},
		{Memory: m, Size: MaxQueueSize, Desc: 0, Avail: 0x80000, Used: 0xa0000},
	} {
		if _, err := NewQueue(fits); err != nil {
			t.Errorf("NewQueue: %v, want a queue", err)
		}
	}
}

// TestPopRefuses has a driver break every rule there is. Each time the queue breaks, once, and stays broken.
func TestPopRefuses(t *testing.T) {
	const size = 8
	type setup func(d *driver, table []byte) // table is the indirect one
	one := func(addr uint64, n uint32, flags, next uint16) setup {
		return func(d *driver, _ []byte) {
			putDescriptor(d.desc, 0, addr, n, flags, next)
			d.putAvail(0)
		}
	}
	indirect := func(n uint32, entries ...[4]uint64) setup {
		return func(d *driver, table []byte) {
			for i, e := range entries {
				putDescriptor(table, i, e[0], uint32(e[1]), uint16(e[2]), uint16(e[3]))
			}
			putDescriptor(d.desc, 0, indirectGPA, n, descIndirect, 0)
			d.putAvail(0)
		}
	}
	tests := []struct {
		name, want string
		setup      setup
	}{
		{"loop of one", "loop", one(bufferGPA, 1, descNext, 0)},
		{"loop of two", "loop", func(d *driver, _ []byte) {
			putDescriptor(d.desc, 0, bufferGPA, 1, descNext, 1)
			putDescriptor(d.desc, 1, bufferGPA, 1, descNext, 0)
			d.putAvail(0)
		}},
		{"loop behind a tail", "loop", func(d *driver, _ []byte) {
			for i := range size {
				putDescriptor(d.desc, i, bufferGPA, 1, descNext, uint16(min(i+1, size-1)))
			}
			d.putAvail(0)
		}},
		{"next outside the table", "outside its table", one(bufferGPA, 1, descNext, size)},
		{"next far outside", "outside its table", one(bufferGPA, 1, descNext, 0xffff)},
		{"head outside", "in a queue of 8", func(d *driver, _ []byte) { d.putAvail(size) }},
		{"head far outside", "in a queue of 8", func(d *driver, _ []byte) { d.putAvail(0xffff) }},
		{"index jumps", "jumps", func(d *driver, _ []byte) { d.availIdx = size + 1 }},
		{"index goes back", "jumps", func(d *driver, _ []byte) { d.availIdx = 0xffff }},
		{"index half way round", "jumps", func(d *driver, _ []byte) { d.availIdx = 0x8000 }},
		{"same head twice", "in flight", func(d *driver, _ []byte) {
			putDescriptor(d.desc, 3, bufferGPA, 1, 0, 0)
			d.putAvail(3)
			d.putAvail(3)
		}},
		{"read behind write", "behind one to write", func(d *driver, _ []byte) {
			putDescriptor(d.desc, 0, bufferGPA, 1, descNext|descWrite, 1)
			putDescriptor(d.desc, 1, bufferGPA, 1, 0, 0)
			d.putAvail(0)
		}},
		{"empty buffer", "0 bytes", one(bufferGPA, 0, 0, 0)},
		{"empty buffer outside", "0 bytes", one(math.MaxUint64, 0, descWrite, 0)},
		{"buffer in the hole", "outside guest memory", one(1<<20, 1, 0, 0)},
		{"buffer across the end", "outside guest memory", one(1<<20-1, 2, descWrite, 0)},
		{"buffer across the hole", "outside guest memory", one(bufferGPA, 2<<20, 0, 0)},
		{"buffer wraps", "outside guest memory", one(math.MaxUint64-1, 4, 0, 0)},
		{"buffer wraps into memory", "outside guest memory", one(math.MaxUint64-0xfff, 0x2000, descWrite, 0)},
		{"longest buffer", "outside guest memory", one(0, math.MaxUint32, 0, 0)},

		{"indirect, empty", "table of 0 bytes", indirect(0)},
		{"indirect, half an entry", "table of 8 bytes", indirect(8)},
		{"indirect, odd", "table of 33 bytes", indirect(33, [4]uint64{bufferGPA, 1, 0, 0})},
		{"indirect, too long", "table of 16400 bytes", indirect((MaxChain + 1) * 16)},
		{"indirect, longest", "table of 4294967280 bytes", indirect(math.MaxUint32 &^ 15)},
		{"indirect in the hole", "outside guest memory", one(1<<20, 16, descIndirect, 0)},
		{"indirect across the end", "outside guest memory", one(1<<20-16, 32, descIndirect, 0)},
		{"indirect wraps", "outside guest memory", one(math.MaxUint64-15, 32, descIndirect, 0)},
		{"indirect with next", "not the last", one(indirectGPA, 16, descIndirect|descNext, 1)},
		{"nested", "inside an indirect", indirect(16, [4]uint64{indirectGPA + 64, 16, descIndirect, 0})},
		{"nested in itself", "inside an indirect", indirect(16, [4]uint64{indirectGPA, 16, descIndirect, 0})},
		{"indirect loop", "loop", indirect(32, [4]uint64{bufferGPA, 1, descNext, 1}, [4]uint64{bufferGPA, 1, descNext, 0})},
		{"next beyond the indirect table", "outside its table", indirect(16, [4]uint64{bufferGPA, 1, descNext, 1})},
		{"next in the ring's table only", "outside its table", indirect(32, [4]uint64{bufferGPA, 1, descNext, 5})},
		{"buffer outside, indirect", "outside guest memory", indirect(32, [4]uint64{bufferGPA, 1, descNext, 1}, [4]uint64{1 << 20, 1, 0, 0})},
		{"read behind write, indirect", "behind one to write", func(d *driver, table []byte) {
			putDescriptor(d.desc, 0, bufferGPA, 1, descNext|descWrite, 1)
			putDescriptor(d.desc, 1, indirectGPA, 16, descIndirect, 0)
			putDescriptor(table, 0, bufferGPA, 1, 0, 0)
			d.putAvail(0)
		}},
		{"too many buffers", "more than 1024", func(d *driver, table []byte) {
			putDescriptor(d.desc, 0, bufferGPA, 1, descNext, 1)
			putDescriptor(d.desc, 1, indirectGPA, MaxChain*16, descIndirect, 0)
			for i := range MaxChain {
				putDescriptor(table, i, bufferGPA, 1, uint16(descNext*min(1, MaxChain-1-i)), uint16(i+1))
			}
			d.putAvail(0)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := newMemory(t)
			var broken []error
			interrupts := 0
			d, q := newDriver(t, m, size, FeatureIndirectDesc, QueueConfig{
				Index: 5, Interrupt: func() { interrupts++ }, Broken: func(err error) { broken = append(broken, err) },
			})
			tt.setup(d, slice(t, m, indirectGPA, MaxChain*16))
			d.publish()
			var c Chain
			ok, err := true, error(nil)
			for n := 0; ok && err == nil && n <= size; n++ { // some faults come behind good chains
				ok, err = q.Pop(&c)
			}
			if ok || err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "queue 5: ") {
				t.Fatalf("Pop = %t, %v, want an error with %q", ok, err, tt.want)
			}
			checkBroken(t, q, &c, d)
			if len(broken) != 1 || broken[0].Error() != err.Error() || interrupts != 0 {
				t.Errorf("the owner was told %v, and %d interrupts, want %v once and none", broken, interrupts, err)
			}
		})
	}
}

// checkBroken sees to it that a broken queue does nothing and touches nothing.
func checkBroken(t *testing.T, q *Queue, c *Chain, d *driver) {
	t.Helper()
	if len(c.Out)+len(c.In) != 0 {
		t.Errorf("a refused chain has buffers: %+v", c)
	}
	used := string(d.used)
	if ok, err := q.Pop(c); ok || !errors.Is(err, ErrBroken) {
		t.Errorf("the next Pop = %t, %v, want %v", ok, err, ErrBroken)
	}
	q.Push(0, 1)
	q.Notify()
	q.Disarm()
	if q.Arm() || string(d.used) != used {
		t.Error("a broken queue wants to be served, or writes to its used ring")
	}
}

func TestIndirectMustBeNegotiated(t *testing.T) {
	m := newMemory(t)
	d, q := newDriver(t, m, 8, FeatureEventIdx|FeatureVersion1, QueueConfig{})
	d.addIndirect(m, indirectGPA, buffer{bufferGPA, 1, false})
	d.publish()
	if ok, err := q.Pop(&Chain{}); ok || err == nil || !strings.Contains(err.Error(), "not negotiated") {
		t.Errorf("Pop = %t, %v, want a refusal", ok, err)
	}
}

// TestPopTakes sends chains at the edge of what is allowed.
func TestPopTakes(t *testing.T) {
	tests := []struct {
		name            string
		add             func(d *driver, table []byte)
		out, in         int
		outLen, inLen   int
		firstOut, lastB string // hexadecimal addresses would say less: contents of the first byte
	}{
		{"the whole queue in one chain", func(d *driver, _ []byte) {
			bufs := make([]buffer, 8)
			for i := range bufs {
				bufs[i] = buffer{bufferGPA, 3, i >= 5}
			}
			d.add(bufs...)
		}, 5, 3, 15, 9, "a", "a"},
		{"first and last byte of memory", func(d *driver, _ []byte) {
			d.add(buffer{0, 1, false}, buffer{1<<20 - 1, 1, false}, buffer{2 << 20, 64 << 10, true})
		}, 2, 1, 2, 64 << 10, "\x00", "\x00"},
		{"unknown flags", func(d *driver, _ []byte) {
			putDescriptor(d.desc, 0, bufferGPA, 1, 0xfff0|descWrite, 0xffff)
			d.putAvail(0)
		}, 0, 1, 0, 1, "", "a"},
		{"indirect table that is marked as writable", func(d *driver, table []byte) {
			putDescriptor(table, 0, bufferGPA+1, 2, 0, 0xffff)
			putDescriptor(d.desc, 0, indirectGPA, 16, descIndirect|descWrite, 0xffff)
			d.putAvail(0)
		}, 1, 0, 2, 0, "b", ""},
		{"direct, then indirect, backwards", func(d *driver, table []byte) {
			putDescriptor(d.desc, 7, bufferGPA+1, 1, descNext, 2)
			putDescriptor(d.desc, 2, indirectGPA, 48, descIndirect, 0)
			putDescriptor(table, 0, bufferGPA, 1, descNext, 2)
			putDescriptor(table, 2, bufferGPA, 1, descNext|descWrite, 1)
			putDescriptor(table, 1, bufferGPA+1, 1, descWrite, 0)
			d.putAvail(7)
		}, 2, 2, 2, 2, "b", "b"},
		{"longest indirect table", func(d *driver, table []byte) {
			for i := range MaxChain {
				flags := uint16(descNext | descWrite)
				if i == MaxChain-1 {
					flags = descWrite
				}
				putDescriptor(table, i, bufferGPA, 16, flags, uint16(i+1))
			}
			putDescriptor(d.desc, 0, indirectGPA, MaxChain*16, descIndirect, 0)
			d.putAvail(0)
		}, 0, MaxChain, 0, MaxChain * 16, "", "a"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := newMemory(t)
			d, q := newDriver(t, m, 8, FeatureIndirectDesc, QueueConfig{})
			copy(slice(t, m, bufferGPA, 2), "ab")
			tt.add(d, slice(t, m, indirectGPA, MaxChain*16))
			d.publish()
			var c Chain
			mustPop(t, q, &c)
			if len(c.Out) != tt.out || len(c.In) != tt.in || c.OutLen != tt.outLen || c.InLen != tt.inLen {
				t.Errorf("out %d in %d, %d and %d bytes, want %d %d, %d and %d",
					len(c.Out), len(c.In), c.OutLen, c.InLen, tt.out, tt.in, tt.outLen, tt.inLen)
			}
			if tt.firstOut != "" && string(c.Out[0][:1]) != tt.firstOut {
				t.Errorf("the first buffer starts with %q, want %q", c.Out[0][:1], tt.firstOut)
			}
			if tt.lastB != "" && len(c.In) > 0 && string(c.In[len(c.In)-1][:1]) != tt.lastB {
				t.Errorf("the last buffer starts with %q, want %q", c.In[len(c.In)-1][:1], tt.lastB)
			}
		})
	}
}

// TestChainLength lets lengths add up to what the used ring can tell, and to one more.
func TestChainLength(t *testing.T) {
	m, err := guestmem.New([]guestmem.Range{{Start: 0, Size: 1 << 20}, {Start: 1 << 32, Size: 3 << 30}})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	for _, tt := range []struct {
		second uint32
		ok     bool
	}{{math.MaxUint32 - 3<<30, true}, {math.MaxUint32 - 3<<30 + 1, false}} {
		d, q := newDriver(t, m, 8, 0, QueueConfig{})
		d.add(buffer{1 << 32, 3 << 30, false}, buffer{1 << 32, tt.second, true})
		d.publish()
		if ok, err := q.Pop(&Chain{}); ok != tt.ok || (err == nil) != tt.ok {
			t.Errorf("chain of %#x bytes: Pop = %t, %v, want %t", 3<<30+uint64(tt.second), ok, err, tt.ok)
		}
	}
}

// TestPushOfAForeignHead is a fault of the device, which must not reach the driver.
func TestPushOfAForeignHead(t *testing.T) {
	for _, head := range []uint16{0, 7, 8, 0xffff} {
		m := newMemory(t)
		broken := 0
		d, q := newDriver(t, m, 8, 0, QueueConfig{Broken: func(error) { broken++ }})
		q.Push(head, 0)
		if _, _, found, _ := d.take(); found || broken != 1 {
			t.Errorf("Push(%d) without a chain: the driver sees it %t, the owner was told %d times, want false, 1", head, found, broken)
		}
	}
}

func TestOneBrokenQueueStopsTheOthersOfItsDevice(t *testing.T) {
	m := newMemory(t)
	_, q := newDriver(t, m, 8, 0, QueueConfig{})
	other, err := newQueue(QueueConfig{Memory: m, Size: 4, Desc: 0, Avail: 0x1000, Used: 0x2000}, q.broken)
	if err != nil {
		t.Fatal(err)
	}
	_ = other.fail(errors.New("broken"))
	if _, err := q.Pop(&Chain{}); !errors.Is(err, ErrBroken) {
		t.Errorf("Pop = %v, want %v", err, ErrBroken)
	}
}

// TestNotify compares the interrupts with what the driver asked for.
func TestNotify(t *testing.T) {
	// Entries are used one after the other from index start on, notified at the given ones.
	tests := []struct {
		name     string
		features uint64
		start    uint16
		event    uint16 // used_event, or the flags
		pushes   []int  // before each Notify
		want     []bool
	}{
		{"flag clear", 0, 0, 0, []int{1, 0, 2}, []bool{true, false, true}},
		{"flag set", 0, 0, availNoInterrupt, []int{1, 2}, []bool{false, false}},
		{"event is next", FeatureEventIdx, 0, 0, []int{1, 1}, []bool{true, false}},
		{"event is later", FeatureEventIdx, 0, 2, []int{1, 1, 1, 1}, []bool{false, false, true, false}},
		{"event in a batch", FeatureEventIdx, 0, 2, []int{0, 5, 1}, []bool{false, true, false}},
		{"event is past", FeatureEventIdx, 10, 9, []int{1, 4}, []bool{false, false}},
		{"batch over the end of the index", FeatureEventIdx, 0xfffe, 0xffff, []int{1, 3, 1}, []bool{false, true, false}},
		{"event behind the end of the index", FeatureEventIdx, 0xfffe, 1, []int{2, 1, 1}, []bool{false, false, true}},
		{"a whole round", FeatureEventIdx, 0, 0x8000, []int{1 << 16, 1<<16 + 5}, []bool{true, true}},
		{"almost a round, event past", FeatureEventIdx, 0, 0xffff, []int{1<<16 - 1}, []bool{false}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := newMemory(t)
			interrupts := 0
			d, q := newDriver(t, m, 8, tt.features, QueueConfig{Interrupt: func() { interrupts++ }})
			q.nextAvail, q.seenAvail, q.nextUsed = tt.start, tt.start, tt.start
			d.availIdx = tt.start
			guestmem.Store16(d.avail, 2, tt.start)
			if off := 0; tt.features&FeatureEventIdx != 0 {
				guestmem.Store16(d.avail, 4+2*8, tt.event)
			} else {
				guestmem.Store16(d.avail, off, tt.event)
			}
			putDescriptor(d.desc, 0, bufferGPA, 1, 0, 0)
			var c Chain
			for i, n := range tt.pushes {
				for range n {
					d.putAvail(0)
					d.publish()
					mustPop(t, q, &c)
					q.Push(c.Head, 0)
				}
				interrupts = 0
				q.Notify()
				if got := interrupts == 1; got != tt.want[i] {
					t.Errorf("Notify number %d after %d pushes interrupts: %t, want %t", i, n, got, tt.want[i])
				}
				q.Notify() // nothing new
				if interrupts > 1 || interrupts == 1 && !tt.want[i] {
					t.Errorf("Notify number %d without pushes interrupts", i)
				}
			}
		})
	}
}

// TestArm asks for kicks and looks from the driver's side whether it would kick.
func TestArm(t *testing.T) {
	for _, features := range []uint64{0, FeatureEventIdx} {
		t.Run(fmt.Sprintf("features %#x", features), func(t *testing.T) {
			m := newMemory(t)
			d, q := newDriver(t, m, 8, features, QueueConfig{})
			var c Chain
			buf := buffer{bufferGPA, 1, false}
			for round := range 3 {
				if q.Arm() {
					t.Errorf("round %d: Arm of an empty ring says that there are buffers", round)
				}
				d.add(buf)
				if !d.publish() {
					t.Errorf("round %d: the driver does not kick an armed queue", round)
				}
				q.Disarm()
				d.add(buf)
				if d.publish() {
					t.Errorf("round %d: the driver kicks a queue that is being served", round)
				}
				mustPop(t, q, &c)
				q.Push(c.Head, 0)
				if !q.Arm() {
					t.Errorf("round %d: Arm does not see the buffer that came without a kick", round)
				}
				q.Disarm()
				mustPop(t, q, &c)
				q.Push(c.Head, 0)
				d.take()
				d.take()
			}
		})
	}
}

// TestQueueDoesNotAllocate runs requests of all kinds, with kicks and interrupts.
func TestQueueDoesNotAllocate(t *testing.T) {
	m := newMemory(t)
	k := newKick(t)
	interrupts := 0
	d, q := newDriver(t, m, 16, FeatureIndirectDesc|FeatureEventIdx, QueueConfig{Kick: k, Interrupt: func() { interrupts++ }})
	table := slice(t, m, indirectGPA, 16*32)
	for i := range 32 {
		flags := uint16(descNext)
		if i >= 16 {
			flags |= descWrite
		}
		if i == 31 {
			flags &^= descNext
		}
		putDescriptor(table, i, bufferGPA, 512, flags, uint16(i+1))
	}
	putDescriptor(d.desc, 0, indirectGPA, 16*32, descIndirect, 0)
	putDescriptor(d.desc, 1, bufferGPA, 8, descNext, 2)
	putDescriptor(d.desc, 2, bufferGPA, 8, descWrite, 0)
	var c Chain
	n := testing.AllocsPerRun(1000, func() {
		guestmem.Store16(d.avail, 4+2*16, q.nextUsed) // interrupt me
		d.putAvail(0)
		d.putAvail(1)
		if d.publish() {
			k.Ring()
			q.Wait()
		}
		q.Disarm()
		for range 2 {
			q.Pop(&c)
			q.Push(c.Head, 8)
		}
		q.Notify()
		q.Arm()
	})
	if n != 0 || interrupts < 1000 {
		t.Errorf("%v allocations for two requests, %d interrupts, want 0, and one a run", n, interrupts)
	}
}

func BenchmarkQueue(b *testing.B) {
	m := newMemory(b)
	d, q := newDriver(b, m, 256, FeatureEventIdx, QueueConfig{})
	putDescriptor(d.desc, 0, bufferGPA, 16, descNext, 1)
	putDescriptor(d.desc, 1, bufferGPA, page, descNext|descWrite, 2)
	putDescriptor(d.desc, 2, bufferGPA, 1, descWrite, 0)
	var c Chain
	for b.Loop() {
		d.putAvail(0)
		guestmem.Store16(d.avail, 2, d.availIdx)
		q.Pop(&c)
		q.Push(c.Head, page+1)
		q.Notify()
		q.Arm()
	}
}
