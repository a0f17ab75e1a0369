package virtio

import (
	"log/slog"
	"math"
	"strings"
	"testing"

	"usui/machine/guestmem"
	"usui/machine/pci"
)

func TestDoorbells(t *testing.T) {
	c := newCard(t, &echo{})
	home := c.base()
	if got := c.bells.at(home); got != "0x3000 0x3004 " {
		t.Errorf("doorbells at %s, want 0x3000 0x3004", got)
	}
	d := c.start(1, 0)
	move := window.Start + 1<<20
	c.config(0x10, 8, move)
	if got := c.bells.at(move); c.base() != move || got != "0x3000 0x3004 " {
		t.Errorf("after a move: BAR at %#x, doorbells at %s", c.base(), got)
	}
	c.call(d, 1, "after the move")
	c.config(4, 2, 4) // memory decoding off
	if len(c.bells.bells) != 0 {
		t.Errorf("doorbells %v while memory decoding is off", c.bells.bells)
	}
	c.bells.refuse = func(gpa uint64) bool { return gpa == move+barNotify+4 }
	c.config(4, 2, 6)
	if got := c.bells.at(move); got != "0x3000 " {
		t.Errorf("doorbells at %s, want 0x3000 alone", got)
	}
	if text, n := c.log.take(); n != 1 || !strings.Contains(text, "doorbell") {
		t.Errorf("%d lines in the log, want one about the doorbell: %s", n, text)
	}
	c.call(d, 1, "without a doorbell")
	before := c.bells.changes
	c.config(4, 2, 2) // bus master: no move
	if c.bells.changes != before {
		t.Error("doorbells change without a move")
	}
}

// TestNotifyArea writes where no doorbell is: every size and offset, and where no queue is.
func TestNotifyArea(t *testing.T) {
	c := newCard(t, &echo{})
	c.negotiate(0)
	c.setUp(1, 16)
	q := c.tr.queues[1].queue
	for off := uint64(4); off < 8; off++ {
		for n := 1; n <= 8; n++ {
			c.write(barNotify+off, n, math.MaxUint64)
			if !q.Wait() {
				t.Fatal("Wait = false")
			}
		}
	}
	for _, off := range []uint64{8, 0xffc, 0xfff} {
		c.write(barNotify+off, 1, 0)
		if got := c.read(barNotify+off, 1); got != 0 {
			t.Errorf("read of the notify area at %#x = %#x, want 0", off, got)
		}
	}
	c.bus.Window64().Write(c.base()-window.Start+barNotify, nil)
}

// TestWithoutDoorbells has neither doorbells nor a log.
func TestWithoutDoorbells(t *testing.T) {
	dev := &echo{id: 4, sizes: []uint16{8}}
	fn, err := NewFunction(Config{Device: dev, Memory: newMemory(t), Vectors: &irqs{}, Name: "plain"})
	if err != nil {
		t.Fatal(err)
	}
	bus := pci.NewBus(pci.BusConfig{Window32: guestmem.Range{Start: 3 << 30, Size: 1 << 20}, Log: slog.New(slog.DiscardHandler)})
	if err := bus.Add(fn); err != nil {
		t.Fatal(err)
	}
	bus.Config().Write(1<<15|4, []byte{6, 0})
	bus.Window32().Write(barNotify, []byte{0, 0})
	if err := fn.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}
