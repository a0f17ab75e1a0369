package virtio

import (
	"bytes"
	"math"
	"testing"
)

// TestEnabledQueueIsFixed writes to the registers of a queue that is enabled.
func TestEnabledQueueIsFixed(t *testing.T) {
	c := newCard(t, &echo{})
	c.negotiate(0)
	c.setUp(0, 16)
	for _, r := range []struct {
		reg  uint64
		n    int
		want uint64
	}{{regQueueSize, 2, 16}, {regQueueDesc, 8, descGPA}, {regQueueAvail, 8, availGPA}, {regQueueUsed, 8, usedGPA}, {regQueueEnable, 2, 1}} {
		c.write(r.reg, r.n, 0)
		if got := c.read(r.reg, r.n); got != r.want {
			t.Errorf("register %d of an enabled queue = %#x after a write, want %#x", r.reg, got, r.want)
		}
	}
	c.write(regQueueVector, 2, 2)
	if got := c.read(regQueueVector, 2); got != 2 {
		t.Errorf("the vector of an enabled queue = %d after a write of 2", got)
	}
	if c.status()&statusNeedsReset != 0 {
		t.Error("the writes broke the device")
	}
}

func TestQueueRegisters(t *testing.T) {
	c := newCard(t, &echo{})
	if got := c.read(regNumQueues, 2); got != 2 {
		t.Errorf("%d queues, want 2", got)
	}
	for i, size := range c.dev.sizes {
		c.write(regQueueSelect, 2, uint64(i))
		if s, off := c.read(regQueueSize, 2), c.read(regQueueNotifyOff, 2); s != uint64(size) || off != uint64(i) {
			t.Errorf("queue %d: size %d, notify offset %d, want %d, %d", i, s, off, size, i)
		}
	}
	for _, sel := range []uint64{2, 0xffff} {
		c.write(regQueueSelect, 2, sel)
		c.write(regQueueVector, 2, 0)
		c.write(regQueueDesc, 8, 0x1000)
		c.write(regQueueEnable, 2, 1)
		for reg := uint64(regQueueSize); reg < commonSize; reg += 2 {
			want := uint64(0)
			if reg == regQueueVector {
				want = noVector
			}
			if got := c.read(reg, 2); got != want {
				t.Errorf("queue %#x: register %d = %#x, want %#x", sel, reg, got, want)
			}
		}
	}
	if c.status() != 0 {
		t.Errorf("status %#x after writes to queues that do not exist", c.status())
	}
}

func TestVectors(t *testing.T) {
	c := newCard(t, &echo{})
	for _, reg := range []uint64{regConfigVector, regQueueVector} {
		for v, want := range map[uint64]uint64{0: 0, 2: 2, 3: noVector, 0x7ff: noVector, noVector: noVector} {
			c.write(reg, 2, v)
			if got := c.read(reg, 2); got != want {
				t.Errorf("vector register %d = %#x after a write of %#x, want %#x", reg, got, v, want)
			}
		}
	}
	d := c.start(0, 0)
	c.call(d, 0, "with a vector")
	c.write(regQueueVector, 2, 2)
	c.tr.queueInterrupt(0)
	if n := c.irqs.made[2].taken(); n != 1 {
		t.Errorf("%d interrupts after the queue's vector was changed, want 1", n)
	}
	c.write(regQueueVector, 2, noVector)
	c.write(regConfigVector, 2, noVector)
	c.irqs.made[1].taken()
	c.tr.queueInterrupt(0)
	c.tr.ConfigChanged()
	for i, v := range c.irqs.made {
		if n := v.taken(); n != 0 {
			t.Errorf("%d interrupts by vector %d, which nothing uses", n, i)
		}
	}
}

// TestISR polls, as a driver without MSI-X does.
func TestISR(t *testing.T) {
	c := newCard(t, &echo{})
	d := c.start(0, 0)
	c.call(d, 0, "with MSI-X")
	if got := c.read(barISR, 1); got != 0 {
		t.Errorf("ISR %#x after an interrupt by MSI-X, want 0", got)
	}
	c.config(0x42, 2, 0)
	c.tr.queueInterrupt(0)
	c.tr.ConfigChanged()
	if got := c.read(barISR+1, 1); got != 0 {
		t.Errorf("the byte behind the ISR = %#x, want 0", got)
	}
	if got := c.read(barISR, 4); got != isrQueue|isrConfig {
		t.Errorf("ISR %#x, want %#x", got, isrQueue|isrConfig)
	}
	if got := c.read(barISR, 1); got != 0 {
		t.Errorf("ISR %#x after it was read, want 0", got)
	}
}

func TestDeviceConfig(t *testing.T) {
	c := newCard(t, &echo{})
	generation := c.read(regGeneration, 1)
	var part [6]byte
	c.bus.Window64().Read(c.base()-window.Start+barDevice+3, part[:])
	if string(part[:]) != "figura" {
		t.Errorf("device configuration at 3 = %q, want %q", part, "figura")
	}
	c.write(barDevice, 3, 0x4e4f43)
	if string(c.dev.config) != "CONfiguration" {
		t.Errorf("device configuration %q after a write", c.dev.config)
	}
	p := bytes.Repeat([]byte{0xaa}, 32)
	c.bus.Window64().Read(c.base()-window.Start+barDevice+barPage-8, p)
	c.bus.Window64().Write(c.base()-window.Start+barDevice+barPage-8, p)
	if !bytes.Equal(p, make([]byte, 32)) {
		t.Errorf("across the end of the device configuration: % x, want zeros", p)
	}
	c.negotiate(0)
	c.tr.ConfigChanged()
	if got := c.read(regGeneration, 1); got == generation {
		t.Errorf("generation is %d before and after a change", got)
	}
	if n := c.irqs.made[0].taken(); n != 1 {
		t.Errorf("%d configuration interrupts, want 1", n)
	}
}

// TestAnySizeOfAccess writes the addresses of a queue in pieces of every size, and compares with the registers written whole.
func TestAnySizeOfAccess(t *testing.T) {
	image := make([]byte, 24)
	for i := range image {
		image[i] = byte(0x10 + i)
	}
	for n := 1; n <= len(image); n++ {
		c := newCard(t, &echo{})
		at := c.base() - window.Start + regQueueDesc
		for off := 0; off < len(image); off += n {
			c.bus.Window64().Write(at+uint64(off), image[off:min(off+n, len(image))])
		}
		for m := 1; m <= len(image); m++ {
			got := make([]byte, len(image))
			for off := 0; off < len(got); off += m {
				c.bus.Window64().Read(at+uint64(off), got[off:min(off+m, len(got))])
			}
			if !bytes.Equal(got, image) {
				t.Fatalf("written by %d and read by %d bytes: % x, want % x", n, m, got, image)
			}
		}
	}
	c := newCard(t, &echo{})
	c.write(regDeviceFeatureSelect, 1, 1)
	c.write(regDriverFeatureSelect, 8, 1|0x5555_aaaa<<32) // selector and value in one access
	if c.tr.accepted != 0x5555_aaaa<<32 || c.read(regDeviceFeature, 4) != 1 {
		t.Errorf("features %#x accepted, %#x shown", c.tr.accepted, c.read(regDeviceFeature, 4))
	}
	c.bus.Window64().Write(c.base()-window.Start+commonSize-4, make([]byte, 64)) // across the end
	c.write(regStatus-2, 8, 0)
	for _, off := range []uint64{commonSize, barPage - 1, barPage - 4, barPending + 8, barSize - 8} {
		c.write(off, 4, math.MaxUint64)
		if got := c.read(off, 4); off+4 <= barSize && got != 0 {
			t.Errorf("read between the structures, at %#x, = %#x, want 0", off, got)
		}
	}
}

// TestRegistersDoNotAllocate holds for what a driver does while it works.
func TestRegistersDoNotAllocate(t *testing.T) {
	c := newCard(t, &echo{})
	w, at, p := c.bus.Window64(), c.base()-window.Start, make([]byte, 4)
	for name, off := range map[string]uint64{"common": regDeviceFeatureSelect, "ISR": barISR, "device": barDevice, "notify": barNotify} {
		if n := testing.AllocsPerRun(100, func() { w.Read(at+off, p); w.Write(at+off, p) }); n != 0 {
			t.Errorf("%s: %v allocations for a read and a write, want 0", name, n)
		}
	}
	if n := testing.AllocsPerRun(100, func() { c.tr.queueInterrupt(0); c.tr.ConfigChanged() }); n != 0 {
		t.Errorf("%v allocations for interrupts, want 0", n)
	}
}
