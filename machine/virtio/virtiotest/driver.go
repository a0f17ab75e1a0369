package virtiotest

import (
	"slices"
	"sync"
	"testing"

	"usui/machine/guestmem"
	"usui/machine/virtio"
)

// memorySize is the RAM of the guest that is not there. Only what is touched costs anything.
const memorySize = 128 << 20

// Config says what the driver does. The zero value accepts no features and enables all queues with up to 64 entries.
type Config struct {
	Features uint64 // accepted by the driver
	Size     uint16 // of queues, at most; 0 means 64
	Missing  []int  // queues that the driver does not enable

	Memory *guestmem.Memory // the guest's, from 0 on; closed by the test's end. nil: 128 MiB
}

// Driver is the driver of one device.
type Driver struct {
	Memory *guestmem.Memory
	Queues []*Queue // nil where Config.Missing says so

	t      testing.TB
	dev    virtio.Device
	config Config
	next   uint64 // guest-physical address of the first free byte

	mu     sync.Mutex
	broken []error // guarded by mu
}

// Start lays out the queues and starts the device. The test's end stops it.
func Start(t testing.TB, dev virtio.Device, c Config) *Driver {
	t.Helper()
	mem := c.Memory
	if mem == nil {
		var err error
		if mem, err = guestmem.New([]guestmem.Range{{Start: 0, Size: memorySize}}); err != nil {
			t.Fatal(err)
		}
	}
	if c.Size == 0 {
		c.Size = 64
	}
	d := &Driver{Memory: mem, t: t, dev: dev, config: c, next: 0x1000}
	t.Cleanup(func() {
		d.Stop()
		if err := mem.Close(); err != nil {
			t.Errorf("close guest memory: %v", err)
		}
	})
	d.Restart()
	return d
}

// Stop stops the device, as a reset does.
func (d *Driver) Stop() {
	d.dev.Stop()
	for _, q := range d.Queues {
		if q != nil {
			q.close()
		}
	}
	d.Queues = nil
}

// Restart resets the device and starts it again with new queues.
func (d *Driver) Restart() {
	d.t.Helper()
	d.Stop()
	var device []*virtio.Queue
	for i, size := range d.dev.QueueSizes() {
		if slices.Contains(d.config.Missing, i) {
			d.Queues, device = append(d.Queues, nil), append(device, nil)
			continue
		}
		q, dq := d.newQueue(i, min(size, d.config.Size))
		d.Queues, device = append(d.Queues, q), append(device, dq)
	}
	if err := d.dev.Start(d.config.Features, device); err != nil {
		d.t.Fatalf("Start = %v", err)
	}
}

// Broken returns what the device said about the driver's faults.
func (d *Driver) Broken() []error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.broken)
}

func (d *Driver) noteBroken(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.broken = append(d.broken, err)
	for _, q := range d.Queues {
		if q != nil {
			q.signal() // whoever waits shall see it
		}
	}
}

// Alloc takes n zeroed bytes of guest memory, aligned to 16, and returns where they are.
func (d *Driver) Alloc(n int) (gpa uint64, b []byte) {
	d.t.Helper()
	return d.alloc(n, 16)
}

func (d *Driver) alloc(n int, align uint64) (gpa uint64, b []byte) {
	d.t.Helper()
	gpa = (d.next + align - 1) &^ (align - 1)
	b, err := d.Memory.Slice(gpa, uint64(n))
	if err != nil {
		d.t.Fatalf("the test needs more guest memory: %v", err)
	}
	d.next = gpa + uint64(n)
	return gpa, b
}

// Out copies data into guest memory, for the device to read.
func (d *Driver) Out(data []byte) Buffer {
	d.t.Helper()
	gpa, b := d.Alloc(len(data))
	copy(b, data)
	return Buffer{GPA: gpa, Len: uint32(len(data))}
}

// In takes n bytes of guest memory for the device to write, filled with 0xcc.
func (d *Driver) In(n int) Buffer {
	d.t.Helper()
	gpa, b := d.Alloc(n)
	for i := range b {
		b[i] = 0xcc
	}
	return Buffer{GPA: gpa, Len: uint32(n), Write: true}
}

// Bytes are the bytes of a buffer in guest memory.
func (d *Driver) Bytes(b Buffer) []byte {
	d.t.Helper()
	p, err := d.Memory.Slice(b.GPA, uint64(b.Len))
	if err != nil {
		d.t.Fatal(err)
	}
	return p
}
