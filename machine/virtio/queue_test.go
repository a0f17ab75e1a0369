package virtio

import (
	"errors"
	"fmt"
	"math"
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
	told := 0
	c := QueueConfig{Memory: m, Size: 4, Desc: 0, Avail: 0x1000, Used: 0x2000, Broken: func(error) { told++ }}
	_, q := newDriver(t, m, 8, 0, c)
	other, err := newQueue(c, q.broken)
	if err != nil {
		t.Fatal(err)
	}
	other.Break(errors.New("broken"))
	if _ = q.fail(errors.New("broken at the same time")); told != 1 {
		t.Errorf("the owner was told %d times, want once", told)
	}
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
