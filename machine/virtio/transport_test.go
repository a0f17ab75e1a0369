package virtio

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"usui/machine/pci"
)

// TestDriver is a driver's whole life: look, negotiate, set up, work, reset, and all of it again.
func TestDriver(t *testing.T) {
	for _, features := range ringFeatures {
		t.Run(fmt.Sprintf("features %#x", features), func(t *testing.T) {
			c := newCard(t, &echo{features: 1 << 5})
			for round := range 3 {
				d := c.start(1, features|1<<5)
				if want := features | 1<<5 | FeatureVersion1; c.dev.accepted != want || len(c.dev.queues) != 2 || c.dev.queues[0] != nil || c.dev.queues[1] == nil {
					t.Fatalf("Start(%#x, %v), want %#x and the second of two queues", c.dev.accepted, c.dev.queues, want)
				}
				for i := range 40 {
					c.call(d, 1, fmt.Sprintf("round %d message %d", round, i))
				}
				c.setStatus(0)
				if c.status() != 0 || c.dev.running.Load() {
					t.Fatalf("after a reset: status %#x, running %t", c.status(), c.dev.running.Load())
				}
			}
		})
	}
}

func TestFeatures(t *testing.T) {
	const mine = 1<<5 | 1<<40
	offered := uint64(mine | FeatureIndirectDesc | FeatureEventIdx | FeatureVersion1)
	c := newCard(t, &echo{features: mine})
	var shown uint64
	for sel, want := range map[uint64]uint64{0: offered & 0xffff_ffff, 1: offered >> 32, 2: 0, 0x8000_0000: 0, 0xffff_ffff: 0} {
		c.write(regDeviceFeatureSelect, 4, sel)
		if got := c.read(regDeviceFeature, 4); got != want {
			t.Errorf("features of half %#x = %#x, want %#x", sel, got, want)
		}
		shown |= want
	}
	tests := []struct {
		accepted uint64
		ok       bool
	}{
		{offered, true}, {FeatureVersion1, true}, {0, false}, {mine, false}, {offered | 1, false}, {offered | 1<<63, false}, {math.MaxUint64, false},
	}
	for _, tt := range tests {
		c.setStatus(0)
		c.setStatus(statusAcknowledge | statusDriver)
		c.accept(tt.accepted)
		for _, sel := range []uint64{2, 0xffff_ffff} { // no such half
			c.write(regDriverFeatureSelect, 4, sel)
			c.write(regDriverFeature, 4, 0xffff_ffff)
		}
		c.setStatus(statusAcknowledge | statusDriver | statusFeaturesOK)
		if got := c.status()&statusFeaturesOK != 0; got != tt.ok {
			t.Errorf("driver accepts %#x: FEATURES_OK %t, want %t", tt.accepted, got, tt.ok)
		}
		c.accept(0)
		want := tt.accepted
		if !tt.ok {
			want = 0 // the driver may try again
		}
		if c.tr.accepted != want {
			t.Errorf("driver accepts %#x, then nothing: %#x are kept, want %#x", tt.accepted, c.tr.accepted, want)
		}
	}
}

func TestStatusBits(t *testing.T) {
	c := newCard(t, &echo{})
	for _, step := range []struct{ write, want uint64 }{
		{statusNeedsReset | 0x30, 0}, // not the driver's, or nobody's
		{statusAcknowledge, statusAcknowledge},
		{statusDriver, statusAcknowledge | statusDriver}, // bits cannot be cleared one by one
		{statusFailed, statusAcknowledge | statusDriver | statusFailed},
		{0, 0},
		{statusDriverOK, statusDriverOK | statusNeedsReset}, // before FEATURES_OK
		{statusAcknowledge, statusAcknowledge | statusDriverOK | statusNeedsReset},
		{0, 0},
	} {
		if c.setStatus(step.write); c.status() != step.want {
			t.Errorf("status %#x after a write of %#x, want %#x", c.status(), step.write, step.want)
		}
	}
	if text, n := c.log.take(); n != 1 || !strings.Contains(text, "DRIVER_OK without FEATURES_OK") || c.dev.starts != 0 {
		t.Errorf("the log has %d lines, the device %d starts: %s", n, c.dev.starts, text)
	}
}

// TestResetClearsRegisters changes everything and compares what a reset leaves with a fresh device.
func TestResetClearsRegisters(t *testing.T) {
	c := newCard(t, &echo{})
	registers := func() string {
		image := make([]byte, commonSize)
		c.bus.Window64().Read(c.base()-window.Start, image)
		second := make([]byte, commonSize)
		c.write(regQueueSelect, 2, 1)
		c.bus.Window64().Read(c.base()-window.Start, second)
		c.write(regQueueSelect, 2, 0)
		return fmt.Sprintf("% x\n% x", image, second)
	}
	fresh := registers()
	c.start(1, FeatureEventIdx)
	c.write(regDeviceFeatureSelect, 4, 1)
	c.write(barNotify, 2, 0)
	if registers() == fresh {
		t.Fatal("the registers of a running device are those of a fresh one")
	}
	c.setStatus(0)
	if got := registers(); got != fresh {
		t.Errorf("registers after a reset\n%s, want\n%s", got, fresh)
	}
}

// TestResetWaitsForTheDevice sees to it that the write returns after the device stopped, not before.
func TestResetWaitsForTheDevice(t *testing.T) {
	c := newCard(t, &echo{})
	c.start(0, 0)
	stopping, finish := make(chan bool), make(chan bool)
	c.dev.afterStop = func() { close(stopping); <-finish }
	done := make(chan uint64)
	go func() { // ends when the device has stopped
		c.setStatus(0)
		done <- c.status()
	}()
	<-stopping
	select {
	case <-done:
		t.Error("the reset returned while the device stops")
	default:
	}
	c.dev.afterStop = nil
	close(finish)
	if got := <-done; got != 0 {
		t.Errorf("status %#x after a reset", got)
	}
}

// TestQueueEnableRefuses has the driver enable queues that cannot be: the device breaks, says why, and does not start.
func TestQueueEnableRefuses(t *testing.T) {
	tests := []struct {
		name, want string
		act        func(c *card)
	}{
		{"before FEATURES_OK", "want it after FEATURES_OK", func(c *card) { c.setStatus(0); c.write(regConfigVector, 2, 0); c.setUp(0, 16) }},
		{"after DRIVER_OK", "want it after FEATURES_OK", func(c *card) { c.setStatus(15); c.setUp(0, 16) }},
		{"size of 0", "no power of two", func(c *card) { c.setUp(0, 0) }},
		{"odd size", "no power of two", func(c *card) { c.setUp(1, 24) }},
		{"size above the queue's", "larger than 16", func(c *card) { c.setUp(0, 32) }},
		{"size above all", "larger than 64", func(c *card) { c.setUp(1, 0xffff) }},
		{"table in the hole", "outside guest memory", func(c *card) { c.write(regQueueDesc, 8, 1<<20); c.write(regQueueEnable, 2, 1) }},
		{"table not aligned", "not aligned", func(c *card) { c.write(regQueueDesc, 8, 8); c.write(regQueueEnable, 2, 1) }},
		{"available ring across the end", "outside guest memory", func(c *card) { c.write(regQueueAvail, 8, 1<<20-8); c.write(regQueueEnable, 2, 1) }},
		{"used ring wraps", "outside guest memory", func(c *card) { c.write(regQueueUsed, 8, math.MaxUint64-3); c.write(regQueueEnable, 2, 1) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newCard(t, &echo{})
			c.negotiate(0)
			tt.act(c)
			c.write(regQueueEnable, 2, 1) // once more changes nothing
			if c.status()&statusNeedsReset == 0 {
				t.Errorf("status %#x, want NEEDS_RESET", c.status())
			}
			if text, n := c.log.take(); n != 1 || !strings.Contains(text, tt.want) {
				t.Errorf("%d lines in the log, want 1 with %q: %s", n, tt.want, text)
			}
			if n := c.irqs.made[0].taken(); n != 1 {
				t.Errorf("%d configuration interrupts, want 1", n)
			}
			starts := c.dev.starts
			c.setStatus(15)
			if c.dev.starts != starts {
				t.Error("a broken device starts")
			}
			d := c.start(0, 0) // a reset heals it
			c.call(d, 0, "hello")
		})
	}
}

// TestBrokenQueue has a driver break one device's queue while another works.
func TestBrokenQueue(t *testing.T) {
	c := newCard(t, &echo{})
	d := c.start(0, 0)
	c.call(d, 0, "fine")
	putDescriptor(d.desc, 3, bufferGPA, 1, descNext, 3)
	d.putAvail(3)
	d.publish()
	c.ring(0)
	<-c.irqs.made[0].rings // the configuration interrupt
	if c.status() != 15|statusNeedsReset {
		t.Errorf("status %#x, want NEEDS_RESET added", c.status())
	}
	if isr := c.read(barISR, 1); isr != isrConfig {
		t.Errorf("ISR %#x, want %#x", isr, isrConfig)
	}
	c.ring(0)
	c.ring(0)
	c.dev.servers.Wait()
	if text, n := c.log.take(); n != 1 || !strings.Contains(text, "queue 0: chain 3: a loop") || !strings.Contains(text, "function=echo") {
		t.Errorf("%d lines in the log, want one that says what happened where: %s", n, text)
	}

	broken := *c
	c.plug(&echo{})
	c.call(c.start(1, 0), 1, "the other device works")
	c.setStatus(0)
	if broken.status()&statusNeedsReset == 0 {
		t.Error("the reset of another device healed this one")
	}
	broken.call(broken.start(0, FeatureEventIdx), 0, "after a reset this one does, too")
}

// TestHammerBreakAndReset resets a device at any moment of breaking: the goroutine that marks it must not wait for
// the reset, which waits for it.
func TestHammerBreakAndReset(t *testing.T) {
	c := newCard(t, &echo{})
	for i := range 300 {
		d := c.start(0, 0)
		d.putAvail(uint16(16 + i))
		d.publish()
		c.ring(0)
		if i%3 == 0 {
			<-c.irqs.made[0].rings
		}
		c.setStatus(0)
		if got := c.status(); got != 0 {
			t.Fatalf("status %#x after a reset", got)
		}
		c.irqs.made[0].taken()
	}
	if _, n := c.log.take(); n == 0 || n > 300 {
		t.Errorf("%d lines in the log for 300 broken rings", n)
	}
}

func TestStartFails(t *testing.T) {
	c := newCard(t, &echo{startErr: errors.New("no disk")})
	c.negotiate(0)
	c.setStatus(15)
	if text, n := c.log.take(); c.status() != 15|statusNeedsReset || n != 1 || !strings.Contains(text, "start: no disk") {
		t.Errorf("status %#x, %d lines in the log: %s", c.status(), n, text)
	}
	c.dev.startErr = nil
	c.call(c.start(0, 0), 0, "second try")
}

func TestClosedDeviceStaysDown(t *testing.T) {
	c := newCard(t, &echo{})
	c.start(0, 0)
	if err := c.fn.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if c.dev.stops != 1 || len(c.bells.bells) != 0 {
		t.Errorf("after Close: %d stops, doorbells %v", c.dev.stops, c.bells.bells)
	}
	c.setStatus(0)
	c.negotiate(0)
	c.setUp(0, 16)
	c.setStatus(15)
	c.write(barNotify, 2, 0)
	c.config(4, 2, 0)
	c.config(4, 2, 6)
	c.tr.ConfigChanged()
	if c.dev.starts != 1 || len(c.bells.bells) != 0 {
		t.Errorf("after Close and a new driver: %d starts, doorbells %v", c.dev.starts, c.bells.bells)
	}
}

func TestNewTransportRefuses(t *testing.T) {
	m := newMemory(t)
	tests := []struct {
		name    string
		sizes   []uint16
		vectors pci.Vectors
	}{
		{"queue of size 0", []uint16{8, 0}, &irqs{}},
		{"queue of size 12", []uint16{12}, &irqs{}},
		{"256 queues", slices.Repeat([]uint16{8}, 256), &irqs{}},
		{"nobody makes vectors", []uint16{8}, nil},
	}
	for _, tt := range tests {
		if _, err := NewFunction(Config{Device: &echo{sizes: tt.sizes}, Memory: m, Vectors: tt.vectors, Name: "x"}); err == nil {
			t.Errorf("%s: NewFunction succeeds, want an error", tt.name)
		}
	}
	fn, err := NewFunction(Config{Device: &echo{sizes: slices.Repeat([]uint16{8}, 255)}, Memory: m, Vectors: &irqs{}, Name: "many"})
	if err != nil {
		t.Fatalf("NewFunction with 255 queues: %v", err)
	}
	if err := fn.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

func TestADeviceTellsOfChanges(t *testing.T) {
	c := newCard(t, &echo{})
	c.start(1, 0)
	before := c.read(regGeneration, 1)
	c.dev.changed()
	if n, now := c.irqs.made[0].taken(), c.read(regGeneration, 1); n != 1 || now == before {
		t.Errorf("%d configuration interrupts, generation %d after %d", n, now, before)
	}
}

func TestRingIsWhatTheDriverSetUp(t *testing.T) {
	c := newCard(t, &echo{})
	c.start(1, 0)
	want := Ring{Memory: c.tr.mem, Size: 16, Desc: descGPA, Avail: availGPA, Used: usedGPA, Kick: c.tr.kicks[1].FD(), Interrupt: firstIRQ + 2}
	if got := c.dev.queues[1].Ring(); got != want {
		t.Errorf("Ring() = %+v, want %+v", got, want)
	}
	c.write(regQueueSelect, 2, 1)
	c.write(regQueueVector, 2, noVector)
	if got := c.dev.queues[1].Ring(); got.Interrupt != -1 {
		t.Errorf("interrupt of a driver that polls = %d, want -1", got.Interrupt)
	}
}
