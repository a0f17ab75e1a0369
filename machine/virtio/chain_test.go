package virtio

import (
	"errors"
	"math"
	"strings"
	"testing"

	"usui/machine/guestmem"
)

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
		name             string
		add              func(d *driver, table []byte)
		out, in          int
		outLen, inLen    int
		firstOut, lastIn string // the byte at the start of the first Out and of the last In buffer
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
			if tt.lastIn != "" && len(c.In) > 0 && string(c.In[len(c.In)-1][:1]) != tt.lastIn {
				t.Errorf("the last buffer starts with %q, want %q", c.In[len(c.In)-1][:1], tt.lastIn)
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
