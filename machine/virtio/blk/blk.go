package blk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/bits"
	"sync"
	"sync/atomic"

	"usui/machine/block"
	"usui/machine/limit"
	"usui/machine/virtio"
)

// Feature bits (virtio 1.2 section 5.2.3).
const (
	FeatureSegMax      = 1 << 2
	FeatureReadOnly    = 1 << 5
	FeatureBlkSize     = 1 << 6
	FeatureFlush       = 1 << 9
	FeatureTopology    = 1 << 10
	FeatureMQ          = 1 << 12
	FeatureDiscard     = 1 << 13
	FeatureWriteZeroes = 1 << 14
)

const (
	deviceID   = 2   // virtio 1.2 section 5.2.1
	sectorSize = 512 // of the interface, whatever the disk has
	queueSize  = 256
	segMax     = queueSize - 2 // with header and status a request fits the queue even without indirect tables
	pageSize   = 4096          // the piece that file systems of host and guest handle best

	maxRange = 1 << 22 // sectors of one discard or write-zeroes request: 2 GiB
)

// MaxID is the length of the name that the driver can ask for (virtio 1.2 section 5.2.6).
const MaxID = 20

// Config describes a disk.
type Config struct {
	Backend block.Backend // stays the caller's, who closes it after the device stopped
	ID      string        // serial number, at most MaxID bytes
	Queues  int           // 1 to MaxQueues; 0 is 1. A driver uses at most one for each of its CPUs
	Limit   limit.Pair    // of the requests that move or clear data
	Log     *slog.Logger  // nil: discard
}

// MaxQueues is the largest number of queues of a disk.
const MaxQueues = 16

// Blk is a virtio block device. It implements [virtio.Device].
type Blk struct {
	backend  block.Backend
	waiter   block.Waiter // the backend, if it is one
	geometry block.Geometry
	id       [MaxID]byte
	limit    limit.Pair
	sizes    []uint16 // of the queues
	log      *slog.Logger
	logged   atomic.Int32
	counters counters

	stopping atomic.Bool
	queues   []*queue // of the last Start
	running  sync.WaitGroup
}

// New makes the device.
func New(c Config) (*Blk, error) {
	if c.Backend == nil {
		return nil, errors.New("virtio-blk: no backend")
	}
	if c.Queues < 0 || c.Queues > MaxQueues {
		return nil, fmt.Errorf("virtio-blk: %d queues, want 1 to %d", c.Queues, MaxQueues)
	}
	if len(c.ID) > MaxID {
		return nil, fmt.Errorf("virtio-blk: ID %q has %d bytes, at most %d", c.ID, len(c.ID), MaxID)
	}
	d := &Blk{backend: c.Backend, geometry: c.Backend.Geometry(), limit: c.Limit, log: c.Log}
	for range max(1, c.Queues) {
		d.sizes = append(d.sizes, queueSize)
	}
	if g := d.geometry; g.Size <= 0 || g.Depth < 1 || g.BlockSize < sectorSize || g.Size%sectorSize != 0 {
		return nil, fmt.Errorf("virtio-blk: no disk can have the geometry %+v", g)
	}
	d.waiter, _ = c.Backend.(block.Waiter)
	copy(d.id[:], c.ID)
	if d.log == nil {
		d.log = slog.New(slog.DiscardHandler)
	}
	return d, nil
}

// ID implements [virtio.Device].
func (d *Blk) ID() uint16 { return deviceID }

// Features implements [virtio.Device].
func (d *Blk) Features() uint64 {
	f := uint64(FeatureSegMax | FeatureBlkSize | FeatureFlush | FeatureTopology)
	if len(d.sizes) > 1 {
		f |= FeatureMQ
	}
	if d.geometry.ReadOnly {
		return f | FeatureReadOnly
	}
	if d.geometry.Discard {
		f |= FeatureDiscard
	}
	if d.geometry.Zero {
		f |= FeatureWriteZeroes
	}
	return f
}

// QueueSizes implements [virtio.Device].
func (d *Blk) QueueSizes() []uint16 { return d.sizes }

// ReadConfig implements [virtio.Device]: struct virtio_blk_config of virtio 1.2 section 5.2.4.
func (d *Blk) ReadConfig(p []byte, off int) {
	var c [60]byte
	le := binary.LittleEndian
	block := d.geometry.BlockSize
	page := max(pageSize, block)
	le.PutUint64(c[0:], uint64(d.geometry.Size/sectorSize)) // capacity
	le.PutUint32(c[12:], segMax)
	le.PutUint32(c[20:], uint32(block))                   // blk_size
	c[24] = uint8(bits.TrailingZeros(uint(page / block))) // topology: a physical block is 1<<this logical ones
	le.PutUint16(c[26:], uint16(page/block))              // min_io_size
	c[32] = 1                                             // writeback, of no meaning without F_CONFIG_WCE
	le.PutUint16(c[34:], uint16(len(d.sizes)))            // num_queues, likewise without F_MQ
	le.PutUint32(c[36:], maxRange)                        // max_discard_sectors
	le.PutUint32(c[40:], 1)                               // max_discard_seg
	le.PutUint32(c[44:], uint32(page/sectorSize))         // discard_sector_alignment
	le.PutUint32(c[48:], maxRange)                        // max_write_zeroes_sectors
	le.PutUint32(c[52:], 1)                               // max_write_zeroes_seg
	clear(p)
	if off >= 0 && off < len(c) {
		copy(p, c[off:])
	}
}

// WriteConfig implements [virtio.Device]. There is nothing to write.
func (d *Blk) WriteConfig(p []byte, off int) {}

// Start implements [virtio.Device].
func (d *Blk) Start(features uint64, queues []*virtio.Queue) error {
	if len(queues) != len(d.sizes) {
		return fmt.Errorf("virtio-blk: %d queues, want %d", len(queues), len(d.sizes))
	}
	d.stopping.Store(false)
	used := 0
	for _, vq := range queues {
		if vq != nil {
			used++
		}
	}
	for _, vq := range queues {
		if vq == nil {
			continue
		}
		q := newQueue(d, vq, features, max(1, d.geometry.Depth/used))
		d.queues = append(d.queues, q)
		d.running.Go(q.serve) // ended by Stop
	}
	return nil
}

// Stop implements [virtio.Device]. It waits for the backend to complete what is in flight.
func (d *Blk) Stop() {
	d.stopping.Store(true)
	for _, q := range d.queues {
		q.vq.Stop()
	}
	d.running.Wait()
	for _, q := range d.queues {
		q.drain()
		q.timer.Stop()
	}
	d.queues = nil
}

// maxLogged bounds the lines that failing storage writes to the log.
const maxLogged = 10

func (d *Blk) failed(err error) {
	d.counters.errors.Add(1)
	if n := d.logged.Load(); n < maxLogged && d.logged.CompareAndSwap(n, n+1) {
		d.log.Warn("virtio-blk: a request failed", "error", err)
	}
}

var _ virtio.Device = (*Blk)(nil)
