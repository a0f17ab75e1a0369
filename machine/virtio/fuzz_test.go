package virtio

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"usui/machine/guestmem"
)

// TestHammerRegisters has two vCPUs make accesses of all sizes to the whole BAR and to configuration space, while a third
// brings the device up and resets it. Afterwards the device works.
func TestHammerRegisters(t *testing.T) {
	c := newCard(t, &echo{})
	c.dev.onWrite = c.tr.ConfigChanged
	home := c.base()
	window, at := c.bus.Window64(), home-window.Start
	var vcpus sync.WaitGroup
	for seed := range uint64(2) {
		vcpus.Go(func() {
			rnd := rand.New(rand.NewPCG(seed, 1))
			p := make([]byte, 16)
			for range 20_000 {
				off, n := rnd.Uint64N(6)*barPage+rnd.Uint64N(64), rnd.IntN(len(p)+1)
				binary.LittleEndian.PutUint64(p, rnd.Uint64()>>rnd.UintN(64))
				switch rnd.UintN(3) {
				case 0:
					window.Read(at+off, p[:n])
				case 1:
					window.Write(at+off, p[:n])
				case 2:
					c.bus.Config().Read(c.cfg(int(off%256)), p[:n])
				}
			}
		})
	}
	vcpus.Go(func() {
		d := attachDriver(t, c.m, 16, 0)
		for i := range 500 {
			c.setStatus(0)
			c.accept(FeatureVersion1)
			c.setStatus(11)
			c.setUp(0, 16)
			c.setStatus(15)
			d.putAvail(uint16(i % 20))
			guestmem.Store16(d.avail, 2, uint16(i))
			c.write(barNotify, 2, 0)
			c.config(4, 2, 4) // moves the doorbells
			c.config(4, 2, 6)
		}
	})
	vcpus.Wait()
	c.dev.onWrite = nil
	for i := range c.irqs.made { // the table was written, too
		c.write(barTable+16*uint64(i), 8, 0xfee00000)
		c.write(barTable+16*uint64(i)+8, 8, 0)
	}
	c.setStatus(0)
	c.irqs.made[1].taken()
	c.call(c.start(0, 0), 0, "still alive")
}

// Kinds of accesses in FuzzTransport's input. Each is eight bytes: kind, size, two of offset, and four of data.
const (
	fuzzReadBAR = iota
	fuzzWriteBAR
	fuzzReadConfig
	fuzzWriteConfig
	fuzzMemory32 // writes guest memory where the rings are
	fuzzKinds
)

// fuzzBringUp is an honest driver's way to a running device, as FuzzTransport's input.
func fuzzBringUp() []byte {
	var in []byte
	write := func(off uint16, n byte, v uint32) {
		in = append(in, fuzzWriteBAR, n)
		in = binary.LittleEndian.AppendUint16(in, off)
		in = binary.LittleEndian.AppendUint32(in, v)
	}
	write(regStatus, 1, 3)
	write(regDriverFeatureSelect, 4, 1)
	write(regDriverFeature, 4, 1)
	write(regStatus, 1, 11)
	write(regQueueSize, 2, 16)
	write(regQueueVector, 2, 1)
	write(regQueueDesc, 4, 0x1000)
	write(regQueueAvail, 4, 0x2000)
	write(regQueueUsed, 4, 0x3000)
	write(regQueueEnable, 2, 1)
	write(regStatus, 1, 15)
	write(barNotify, 2, 0)
	return in
}

// FuzzTransport makes accesses of any kind to a device and its rings. Whatever they do, calls of the device are balanced,
// doorbells are where the BAR is, and a reset brings it back.
func FuzzTransport(f *testing.F) {
	up := fuzzBringUp()
	f.Add(up)
	f.Add(slices.Concat(up, []byte{fuzzMemory32, 4, 2, 0x20, 0xff, 0xff, 0, 0, fuzzWriteBAR, 1, 0, 0x30, 0, 0, 0, 0}))
	f.Add(slices.Concat(up, []byte{fuzzWriteConfig, 4, 4, 0, 0, 0, 0, 0, fuzzWriteConfig, 4, 0x10, 0, 0, 0, 0x10, 0}))
	f.Add(slices.Concat(up, []byte{fuzzWriteBAR, 1, regStatus, 0, 0, 0, 0, 0, fuzzWriteBAR, 8, regStatus - 3, 0, 0xff, 0xff, 0xff, 0xff}))
	f.Fuzz(func(t *testing.T, in []byte) {
		c := newCard(t, &echo{})
		for len(in) >= 8 {
			kind, n, off := in[0]%fuzzKinds, int(in[1]%9), uint64(binary.LittleEndian.Uint16(in[2:]))
			v := uint64(binary.LittleEndian.Uint32(in[4:])) * 0x1_0000_0001
			in = in[8:]
			switch kind {
			case fuzzReadBAR:
				c.read(off, n)
			case fuzzWriteBAR:
				c.write(off, n, v)
			case fuzzReadConfig:
				c.readConfig(int(off%0x1000), n)
			case fuzzWriteConfig:
				c.config(int(off%0x1000), n, v)
			case fuzzMemory32:
				binary.LittleEndian.PutUint32(slice(t, c.m, off, 4), uint32(v))
			}
		}
		mapped := c.readConfig(4, 2)&2 != 0 && window.Contains(c.base(), barSize)
		if got := c.bells.at(c.base()) == "0x3000 0x3004 "; got != mapped {
			t.Errorf("the BAR is mapped: %t, its doorbells are there: %t", mapped, got)
		}
		c.config(0x10, 8, window.Start)
		c.config(4, 2, 6)
		c.setStatus(0)
		if got := c.status(); got != 0 || c.dev.running.Load() || c.dev.starts != c.dev.stops {
			t.Errorf("after a reset: status %#x, running %t, %d starts, %d stops", got, c.dev.running.Load(), c.dev.starts, c.dev.stops)
		}
	})
}
