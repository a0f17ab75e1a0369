package virtio

import (
	"errors"
	"fmt"
	"log/slog"
	"math/bits"
	"sync"
	"sync/atomic"

	"usui/machine/guestmem"
	"usui/machine/pci"
)

// Bits of device_status (virtio 1.2 section 2.1).
const (
	statusAcknowledge = 1
	statusDriver      = 2
	statusDriverOK    = 4
	statusFeaturesOK  = 8
	statusNeedsReset  = 64
	statusFailed      = 128

	statusOfDriver = statusAcknowledge | statusDriver | statusDriverOK | statusFeaturesOK | statusFailed
)

// Bits of the ISR register (virtio 1.2 section 4.1.4.5).
const (
	isrQueue  = 1
	isrConfig = 2
)

// noVector is VIRTIO_MSI_NO_VECTOR: no interrupt wanted, or the one that was asked for does not exist.
const noVector = 0xffff

// maxQueues is bounded by the one page of MSI-X table, with one vector for configuration changes.
const maxQueues = barPage/pci.MSIXEntrySize - 1

// Config describes a device on the PCI bus.
type Config struct {
	Device    Device
	Memory    *guestmem.Memory
	Vectors   pci.Vectors
	Doorbells Doorbells // nil: each notification costs an exit to user space
	Name      string
	Log       *slog.Logger // nil: the bus's
}

// Transport shows a [Device] to the guest as a modern virtio device on PCI (virtio 1.2 section 4.1).
type Transport struct {
	dev      Device
	mem      *guestmem.Memory
	fn       *pci.Function
	offered  uint64 // features
	kicks    []*Kick
	bells    doorbells
	maxSizes []uint16

	// What device goroutines touch, which must not wait for mu: its holder may be waiting for them to stop.
	status       atomic.Uint32 // device_status; written under mu, but for NEEDS_RESET
	broken       atomic.Bool   // the queues' switch
	generation   atomic.Uint32 // of the device configuration; the lower 8 bits are shown
	isr          atomic.Uint32
	configVector atomic.Uint32
	queueVectors []atomic.Uint32

	mu           sync.Mutex // held while the device starts and stops
	closed       bool       // guarded by mu, as all below
	running      bool
	deviceSelect uint32 // which half of the features is shown
	driverSelect uint32
	accepted     uint64
	queueSelect  uint16
	queues       []queueRegisters
}

// queueRegisters is what the driver says about one queue.
type queueRegisters struct {
	size              uint16
	desc, avail, used uint64
	queue             *Queue // since queue_enable
}

// NewFunction puts a device behind a PCI function. Closing the function stops the device and frees the queues' eventfds.
func NewFunction(cfg Config) (*pci.Function, error) {
	t, err := NewTransport(cfg)
	if err != nil {
		return nil, err
	}
	return t.fn, nil
}

// NewTransport is [NewFunction] for those who need the transport. The device has at most 255
// queues; each gets an eventfd and an interrupt vector, and one vector is for configuration changes.
func NewTransport(cfg Config) (_ *Transport, err error) {
	t := &Transport{
		dev: cfg.Device, mem: cfg.Memory, maxSizes: cfg.Device.QueueSizes(),
		offered: cfg.Device.Features() | FeatureIndirectDesc | FeatureEventIdx | FeatureVersion1,
	}
	if len(t.maxSizes) > maxQueues {
		return nil, fmt.Errorf("virtio device %s: %d queues, more than %d", cfg.Name, len(t.maxSizes), maxQueues)
	}
	defer func() {
		if err != nil {
			t.closeKicks()
		}
	}()
	for i, size := range t.maxSizes {
		if bits.OnesCount16(size) != 1 {
			return nil, fmt.Errorf("virtio device %s: queue %d has size %d, not a power of two up to %d", cfg.Name, i, size, MaxQueueSize)
		}
		k, err := NewKick()
		if err != nil {
			return nil, fmt.Errorf("virtio device %s: queue %d: %w", cfg.Name, i, err)
		}
		t.kicks = append(t.kicks, k)
	}
	t.queueVectors = make([]atomic.Uint32, len(t.maxSizes))
	t.queues = make([]queueRegisters, len(t.maxSizes))
	t.clear()
	if t.fn, err = pci.NewFunction(t.function(cfg)); err != nil {
		return nil, err
	}
	if d, ok := cfg.Device.(Changing); ok {
		d.OnChange(t.ConfigChanged)
	}
	t.bells = doorbells{to: cfg.Doorbells, kicks: t.kicks, warn: t.fn.Warn, attached: make([]bool, len(t.kicks))}
	return t, nil
}

// Function is the device as the bus sees it.
func (t *Transport) Function() *pci.Function { return t.fn }

// close stops the device and frees what the transport holds. Registers answer as before, but nothing starts any more.
func (t *Transport) close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	t.stop()
	t.bells.close()
	return t.closeKicks()
}

func (t *Transport) closeKicks() error {
	var errs []error
	for _, k := range t.kicks {
		errs = append(errs, k.Close())
	}
	return errors.Join(errs...)
}

// ConfigChanged tells the driver that the device configuration is another one. It may be called from any goroutine.
func (t *Transport) ConfigChanged() {
	t.generation.Add(1)
	t.configInterrupt()
}

func (t *Transport) configInterrupt() {
	t.isr.Or(isrConfig)
	t.fn.Signal(int(t.configVector.Load())) // noVector is beyond the table and signals nothing
}

func (t *Transport) queueInterrupt(i int) {
	if !t.fn.MSIXEnabled() {
		t.isr.Or(isrQueue) // for a driver that polls; there is no interrupt line
		return
	}
	t.fn.Signal(int(t.queueVectors[i].Load()))
}

// fail marks the device as broken until it is reset (virtio 1.2 section 2.1.2). It takes no lock: a device goroutine
// may call it while a reset waits for that goroutine.
func (t *Transport) fail(err error) {
	t.broken.Store(true)
	if t.status.Or(statusNeedsReset)&statusNeedsReset == 0 {
		t.fn.Warn("virtio device is broken until it is reset", "error", err)
		t.configInterrupt()
	}
}

// writeStatus follows a write to device_status. The driver can only add bits, or reset by writing 0.
func (t *Transport) writeStatus(v uint32) {
	if v == 0 {
		t.stop()
		t.clear()
		return
	}
	added := v & statusOfDriver &^ t.status.Load()
	if added&statusFeaturesOK != 0 && (t.accepted&^t.offered != 0 || t.accepted&FeatureVersion1 == 0) {
		added &^= statusFeaturesOK // the driver reads it back and sees that it asked for too much (section 3.1.1)
	}
	now := t.status.Or(added) | added
	if added&statusDriverOK == 0 {
		return
	}
	switch {
	case now&statusFeaturesOK == 0:
		t.fail(errors.New("DRIVER_OK without FEATURES_OK"))
	case now&statusNeedsReset == 0 && !t.closed:
		t.start()
	}
}

// start gives the queues to the device. The caller holds mu.
func (t *Transport) start() {
	queues := make([]*Queue, len(t.queues))
	for i := range t.queues {
		queues[i] = t.queues[i].queue
	}
	if err := t.dev.Start(t.accepted, queues); err != nil {
		t.fail(fmt.Errorf("start: %w", err))
		return
	}
	t.running = true
}

// stop ends the device, if it runs, and returns when it has. The caller holds mu.
func (t *Transport) stop() {
	if t.running {
		t.dev.Stop()
		t.running = false
	}
}

// clear gives all registers the values of a fresh device, which is stopped. The caller holds mu, or nobody else has t.
func (t *Transport) clear() {
	t.broken.Store(false)
	t.status.Store(0)
	t.isr.Store(0)
	t.configVector.Store(noVector)
	t.deviceSelect, t.driverSelect, t.accepted, t.queueSelect = 0, 0, 0, 0
	for i := range t.queues {
		t.queues[i] = queueRegisters{size: t.maxSizes[i]}
		t.queueVectors[i].Store(noVector)
	}
}

// enableQueue follows a write of 1 to queue_enable: from here on the queue's registers are fixed. The caller holds mu.
func (t *Transport) enableQueue(i int) {
	r := &t.queues[i]
	status := t.status.Load()
	switch {
	case status&statusFeaturesOK == 0 || status&statusDriverOK != 0:
		t.fail(fmt.Errorf("queue %d: enabled with status %#x, want it after FEATURES_OK and before DRIVER_OK", i, status))
		return
	case r.size > t.maxSizes[i]:
		t.fail(fmt.Errorf("queue %d: size %d is larger than %d", i, r.size, t.maxSizes[i]))
		return
	}
	q, err := newQueue(QueueConfig{
		Memory: t.mem, Index: i, Size: r.size, Desc: r.desc, Avail: r.avail, Used: r.used,
		Features: t.accepted, Kick: t.kicks[i],
		Interrupt: func() { t.queueInterrupt(i) }, InterruptFD: func() int { return t.fn.VectorFD(int(t.queueVectors[i].Load())) },
		Broken: t.fail,
	}, &t.broken)
	if err != nil {
		t.fail(err)
		return
	}
	r.queue = q
}
