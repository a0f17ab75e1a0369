package rng

import (
	"crypto/rand"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"usui/internal/metrics"
	"usui/machine/virtio"
)

const (
	deviceID  = 4 // virtio 1.2 section 5.4.1
	queueSize = 8 // Linux has one buffer in flight

	maxBytes = 64 << 10 // for one chain
)

// Rng is a virtio entropy device. It implements [virtio.Device].
type Rng struct {
	stopping atomic.Bool
	queue    *virtio.Queue // of the last Start
	running  sync.WaitGroup

	requests, bytes atomic.Uint64
	time            metrics.Histogram
}

// New makes the device.
func New() *Rng { return &Rng{} }

// ID implements [virtio.Device].
func (d *Rng) ID() uint16 { return deviceID }

// Features implements [virtio.Device]. There are none.
func (d *Rng) Features() uint64 { return 0 }

// QueueSizes implements [virtio.Device].
func (d *Rng) QueueSizes() []uint16 { return []uint16{queueSize} }

// ReadConfig implements [virtio.Device]. There is no configuration.
func (d *Rng) ReadConfig(p []byte, off int) { clear(p) }

// WriteConfig implements [virtio.Device].
func (d *Rng) WriteConfig(p []byte, off int) {}

// Start implements [virtio.Device].
func (d *Rng) Start(features uint64, queues []*virtio.Queue) error {
	if len(queues) != 1 {
		return fmt.Errorf("virtio-rng: %d queues, want 1", len(queues))
	}
	if d.queue = queues[0]; d.queue == nil {
		return nil
	}
	d.stopping.Store(false)
	d.running.Go(d.serve) // ended by Stop
	return nil
}

// Stop implements [virtio.Device].
func (d *Rng) Stop() {
	if d.queue == nil {
		return
	}
	d.stopping.Store(true)
	d.queue.Stop()
	d.running.Wait()
	d.queue = nil
}

// serve runs until Stop, or until the driver breaks the queue.
func (d *Rng) serve() {
	q := d.queue
	var c virtio.Chain
	for !d.stopping.Load() { // a driver that goes on while it is reset does not keep us here
		ok, err := q.Pop(&c)
		switch {
		case err != nil:
			return
		case ok:
			start := time.Now()
			n := fill(c.In)
			q.Push(c.Head, uint32(n))
			d.time.Observe(time.Since(start))
			d.bytes.Add(uint64(n))
			d.requests.Add(1)
		default:
			q.Notify()
			if !q.Arm() && !q.Wait() {
				return
			}
			q.Disarm()
		}
	}
}

// fill writes random bytes to the first bufs and returns how many. crypto/rand never fails: without a source of the
// system it ends the process.
func fill(bufs [][]byte) int {
	n := 0
	for _, b := range bufs {
		b = b[:min(len(b), maxBytes-n)]
		_, _ = rand.Read(b)
		n += len(b)
	}
	return n
}

// Stats counts what the device gave.
type Stats struct {
	Requests, Bytes uint64

	// From when a request was taken off the queue until it was filled.
	Fill metrics.Latency
}

// Stats returns the counters as they are now.
func (d *Rng) Stats() Stats { return Stats{d.requests.Load(), d.bytes.Load(), d.time.Snapshot()} }

var _ virtio.Device = (*Rng)(nil)
