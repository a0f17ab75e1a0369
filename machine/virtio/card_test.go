package virtio

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"usui/machine/guestmem"
	"usui/machine/pci"
)

// window is where the test bus has room.
var window = guestmem.Range{Start: 64 << 30, Size: 1 << 30}

// echo is a device whose queues return what they get: the Out buffers, copied to the In buffers.
type echo struct {
	id       uint16
	features uint64
	sizes    []uint16
	config   []byte // of the device; the transport calls one method at a time
	startErr error

	changed   func()
	accepted  uint64
	queues    []*Queue
	servers   sync.WaitGroup
	starts    int
	stops     int
	running   atomic.Bool
	calls     atomic.Int32 // in progress; the transport must not overlap them
	onWrite   func()
	afterStop func()
}

var _ Changing = (*echo)(nil)

func (e *echo) OnChange(changed func()) { e.changed = changed }

func (e *echo) ID() uint16           { return e.id }
func (e *echo) Features() uint64     { return e.features }
func (e *echo) QueueSizes() []uint16 { return e.sizes }

// enter panics when calls overlap.
func (e *echo) enter() {
	if e.calls.Add(1) != 1 {
		panic("the transport calls two methods of a device at once")
	}
}

func (e *echo) leave() { e.calls.Add(-1) }

func (e *echo) ReadConfig(p []byte, off int) {
	e.enter()
	defer e.leave()
	clear(p)
	if off < len(e.config) {
		copy(p, e.config[off:])
	}
}

func (e *echo) WriteConfig(p []byte, off int) {
	e.enter()
	defer e.leave()
	if off < len(e.config) {
		copy(e.config[off:], p)
	}
	if e.onWrite != nil {
		e.onWrite()
	}
}

func (e *echo) Start(features uint64, queues []*Queue) error {
	e.enter()
	defer e.leave()
	if e.startErr != nil {
		return e.startErr
	}
	if e.running.Swap(true) {
		panic("Start of a device that runs")
	}
	e.starts++
	e.accepted, e.queues = features, queues
	for _, q := range queues {
		if q != nil {
			e.servers.Go(func() { e.serve(q) }) // ends with Stop
		}
	}
	return nil
}

func (e *echo) Stop() {
	e.enter()
	defer e.leave()
	if !e.running.Swap(false) {
		panic("Stop of a device that does not run")
	}
	e.stops++
	for _, q := range e.queues {
		if q != nil {
			q.Stop()
		}
	}
	e.servers.Wait()
	if e.afterStop != nil {
		e.afterStop()
	}
}

func (e *echo) serve(q *Queue) {
	var c Chain
	for q.Wait() {
		for again := true; again; again = q.Arm() {
			q.Disarm()
			for {
				ok, err := q.Pop(&c)
				if err != nil {
					return
				}
				if !ok {
					break
				}
				n := 0
				if len(c.Out) > 0 && len(c.In) > 0 {
					n = copy(c.In[0], c.Out[0])
				}
				q.Push(c.Head, uint32(n))
			}
			q.Notify()
		}
	}
}

const firstIRQ = 1000

// irqs makes vectors whose signals can be waited for.
type irqs struct{ made []*irq }

type irq struct {
	fd      int // no descriptor: a number to find again
	mu      sync.Mutex
	routed  bool
	signals int           // guarded by mu
	rings   chan struct{} // one place: "since you last looked"
}

func (s *irqs) NewVector() (pci.Vector, error) {
	v := &irq{fd: firstIRQ + len(s.made), rings: make(chan struct{}, 1)}
	s.made = append(s.made, v)
	return v, nil
}

func (v *irq) Route(addr uint64, _ uint32) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if addr>>20 != 0xfee {
		return errors.New("no message")
	}
	v.routed = true
	return nil
}

func (v *irq) Unroute() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.routed = false
	return nil
}

func (v *irq) FD() int { return v.fd }

func (v *irq) Close() error { return nil }

func (v *irq) Signal() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.signals++
	select {
	case v.rings <- struct{}{}:
	default:
	}
	return nil
}

// taken gives how many signals there were since the last call.
func (v *irq) taken() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	n := v.signals
	v.signals = 0
	select {
	case <-v.rings:
	default:
	}
	return n
}

// bellBoard is a KVM with ioeventfds.
type bellBoard struct {
	t       testing.TB
	mu      sync.Mutex
	bells   map[uint64]int // guarded by mu
	refuse  func(gpa uint64) bool
	changes int // guarded by mu
}

func (b *bellBoard) Attach(gpa uint64, fd int) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.changes++
	if b.refuse != nil && b.refuse(gpa) {
		return unix.ENOSPC
	}
	if _, taken := b.bells[gpa]; taken {
		b.t.Errorf("Attach(%#x): there is a doorbell already", gpa)
	}
	b.bells[gpa] = fd
	return nil
}

func (b *bellBoard) Detach(gpa uint64, fd int) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.changes++
	if have, ok := b.bells[gpa]; !ok || have != fd {
		b.t.Errorf("Detach(%#x, %d): the doorbell there is %d, %t", gpa, fd, have, ok)
	}
	delete(b.bells, gpa)
	return nil
}

// at gives the doorbells' addresses relative to base.
func (b *bellBoard) at(base uint64) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := ""
	for off := uint64(0); off < barSize; off++ {
		if _, ok := b.bells[base+off]; ok {
			s += fmt.Sprintf("%#x ", off)
		}
	}
	if n := len(b.bells); len(bytes.Fields([]byte(s))) != n {
		s += fmt.Sprintf("of %d", n)
	}
	return s
}

// ring is a guest's write to a notify address: the kernel's doorbell, or else an exit.
func (c *card) ring(i int) {
	c.bells.mu.Lock()
	fd, ok := c.bells.bells[c.base()+barNotify+4*uint64(i)]
	c.bells.mu.Unlock()
	if ok {
		if _, err := unix.Write(fd, []byte{1, 0, 0, 0, 0, 0, 0, 0}); err != nil {
			c.t.Errorf("ring the doorbell of queue %d: %v", i, err)
		}
		return
	}
	c.write(barNotify+4*uint64(i), 2, uint64(i))
}

// logBook is a log that counts its lines.
type logBook struct {
	mu   sync.Mutex
	text bytes.Buffer // guarded by mu
}

func (l *logBook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// take gives what was logged since the last call, and in how many lines.
func (l *logBook) take() (string, int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.text.Reset()
	return l.text.String(), bytes.Count(l.text.Bytes(), []byte("\n"))
}

// card is a device on a bus as a guest's driver sees it.
type card struct {
	t     testing.TB
	m     *guestmem.Memory
	bus   *pci.Bus
	dev   *echo
	tr    *Transport
	fn    *pci.Function
	irqs  *irqs
	bells *bellBoard
	log   *logBook
	slot  int
}

// newCard puts an echo device on a new bus, with memory decoding and MSI-X on and each vector routed.
func newCard(t testing.TB, dev *echo) *card {
	t.Helper()
	c := &card{t: t, m: newMemory(t), log: &logBook{}}
	c.bus = pci.NewBus(pci.BusConfig{Window64: window})
	c.plug(dev)
	return c
}

// plug adds a device to the card's bus, and makes it the one that c speaks of.
func (c *card) plug(dev *echo) {
	c.t.Helper()
	if dev.sizes == nil {
		dev.id, dev.sizes, dev.config = 2, []uint16{16, 64}, []byte("configuration")
	}
	c.dev, c.irqs, c.bells = dev, &irqs{}, &bellBoard{t: c.t, bells: map[uint64]int{}}
	tr, err := NewTransport(Config{
		Device: dev, Memory: c.m, Vectors: c.irqs, Doorbells: c.bells, Name: "echo",
		Log: slog.New(slog.NewTextHandler(c.log, nil)),
	})
	if err != nil {
		c.t.Fatal(err)
	}
	c.tr, c.fn = tr, tr.Function()
	fn, bells := c.fn, c.bells
	c.t.Cleanup(func() {
		if err := fn.Close(); err != nil {
			c.t.Errorf("Close: %v", err)
		}
		if dev.starts != dev.stops || dev.running.Load() || len(bells.bells) != 0 {
			c.t.Errorf("after Close: %d starts, %d stops, %d doorbells", dev.starts, dev.stops, len(bells.bells))
		}
	})
	if err := c.bus.Add(c.fn); err != nil {
		c.t.Fatal(err)
	}
	c.slot = len(c.bus.Functions()) - 1
	c.config(4, 2, 6) // memory, bus master
	for i := range c.irqs.made {
		c.write(barTable+16*uint64(i), 8, 0xfee00000)
		c.write(barTable+16*uint64(i)+8, 8, uint64(i))
	}
	c.config(0x42, 2, 0x8000) // MSI-X enable
}

// cfg is the offset of a register in the configuration window.
func (c *card) cfg(reg int) uint64 { return uint64(c.slot)<<15 | uint64(reg) }

func (c *card) config(reg, n int, v uint64) {
	c.bus.Config().Write(c.cfg(reg), binary.LittleEndian.AppendUint64(nil, v)[:n])
}

func (c *card) readConfig(reg, n int) uint64 {
	var p [8]byte
	c.bus.Config().Read(c.cfg(reg), p[:n])
	return binary.LittleEndian.Uint64(p[:])
}

// base is where the BAR is.
func (c *card) base() uint64 { return c.readConfig(0x10, 8) &^ 0xf }

func (c *card) write(off uint64, n int, v uint64) {
	c.bus.Window64().Write(c.base()-window.Start+off, binary.LittleEndian.AppendUint64(nil, v)[:n])
}

func (c *card) read(off uint64, n int) uint64 {
	var p [8]byte
	c.bus.Window64().Read(c.base()-window.Start+off, p[:n])
	return binary.LittleEndian.Uint64(p[:])
}

func (c *card) status() uint64     { return c.read(regStatus, 1) }
func (c *card) setStatus(v uint64) { c.write(regStatus, 1, v) }

// accept writes the driver's features.
func (c *card) accept(features uint64) {
	for half := range uint64(2) {
		c.write(regDriverFeatureSelect, 4, half)
		c.write(regDriverFeature, 4, features>>(32*half)&0xffff_ffff)
	}
}

// negotiate goes through the initialization up to FEATURES_OK.
func (c *card) negotiate(features uint64) {
	c.t.Helper()
	c.setStatus(0)
	c.setStatus(statusAcknowledge)
	c.setStatus(statusAcknowledge | statusDriver)
	c.accept(features | FeatureVersion1)
	c.setStatus(statusAcknowledge | statusDriver | statusFeaturesOK)
	if c.status()&statusFeaturesOK == 0 {
		c.t.Fatalf("FEATURES_OK is refused for %#x", features)
	}
	c.write(regConfigVector, 2, 0)
}

// setUp enables queue i with its parts at the addresses of the test driver and vector 1 + i.
func (c *card) setUp(i int, size uint16) {
	c.write(regQueueSelect, 2, uint64(i))
	c.write(regQueueSize, 2, uint64(size))
	c.write(regQueueVector, 2, uint64(1+i))
	c.write(regQueueDesc, 8, descGPA)
	c.write(regQueueAvail, 8, availGPA)
	c.write(regQueueUsed, 8, usedGPA)
	c.write(regQueueEnable, 2, 1)
}

// start brings the device up with one queue and gives its driver.
func (c *card) start(queue int, features uint64) *driver {
	c.t.Helper()
	d := attachDriver(c.t, c.m, 16, features)
	c.negotiate(features)
	c.setUp(queue, 16)
	c.setStatus(c.status() | statusDriverOK)
	if got := c.status(); got != statusAcknowledge|statusDriver|statusFeaturesOK|statusDriverOK {
		c.t.Fatalf("status %#x after DRIVER_OK", got)
	}
	return d
}

// call sends text through a queue and waits for the interrupt and the answer.
func (c *card) call(d *driver, queue int, text string) {
	c.t.Helper()
	copy(slice(c.t, c.m, bufferGPA, uint64(len(text))), text)
	d.enableInterrupts()
	if _, ok := d.add(buffer{bufferGPA, uint32(len(text)), false}, buffer{bufferGPA + page, page, true}); !ok {
		c.t.Fatal("the driver has no descriptors left")
	}
	if d.publish() {
		c.ring(queue)
	}
	for {
		<-c.irqs.made[1+queue].rings
		_, n, found, ok := d.take()
		if !ok || found && int(n) != len(text) {
			c.t.Fatalf("used entry of %d bytes, held %t, want %d bytes", n, ok, len(text))
		}
		if found {
			break
		}
	}
	if got := string(slice(c.t, c.m, bufferGPA+page, uint64(len(text)))); got != text {
		c.t.Fatalf("the device answers %q, want %q", got, text)
	}
}
