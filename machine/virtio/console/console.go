package console

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"

	"usui/machine/virtio"
)

// Feature bits (virtio 1.2 section 5.3.3).
const (
	FeatureSize      = 1 << 0
	FeatureMultiport = 1 << 1
)

const deviceID = 3 // virtio 1.2 section 5.3.1

// Sizes of the queues. Linux fills the receive queue of a port with pages: 64 take one Read of this package four times.
const (
	portQueue    = 64
	controlQueue = 32
)

// MaxPorts and MaxName bound what a Config can have: a driver takes two queues a port.
const (
	MaxPorts = 30
	MaxName  = 64 // bytes of a port's name
)

// Port is one stream.
type Port struct {
	Name    string // what the guest finds in /sys/class/virtio-ports/*/name; a console needs none
	Console bool   // a terminal (hvc0...) instead of /dev/vportNpM

	// Conn is the host's end, owned by the console from New on. When Read ends, the guest sees the port closed. When
	// Write fails too, what the guest sends is dropped.
	//
	// Stop must be able to end a Read and a Write: by SetReadDeadline and SetWriteDeadline, as connections and pipes
	// have them, or else by Close, and then the port stays closed. A Conn that honours neither keeps Stop from returning.
	Conn io.ReadWriteCloser

	// Opened, if not nil, hears when the guest opens and closes the port. It must not block.
	Opened func(open bool)
}

// Config describes a console device.
type Config struct {
	Ports      []Port
	Cols, Rows uint16       // of consoles; 0: not known
	Log        *slog.Logger // nil: discard
}

// Console is a virtio console device. It implements [virtio.Device].
type Console struct {
	log   *slog.Logger
	ports []*port // by number; nil where there is none

	mu         sync.Mutex
	cols, rows uint16        // guarded by mu
	control    *virtio.Queue // guarded by mu; the queue of messages to the driver, nil while stopped or without F_MULTIPORT

	stopping atomic.Bool
	queues   []*virtio.Queue // of the last Start
	running  sync.WaitGroup
	ignored  atomic.Uint64

	complained atomic.Bool
}

// New makes the device. It owns the connections when it succeeds.
func New(c Config) (*Console, error) {
	if len(c.Ports) > MaxPorts {
		return nil, fmt.Errorf("console: %d ports, at most %d", len(c.Ports), MaxPorts)
	}
	d := &Console{log: c.Log, cols: c.Cols, rows: c.Rows, ports: make([]*port, 1)}
	if d.log == nil {
		d.log = slog.New(slog.DiscardHandler)
	}
	names := map[string]bool{}
	for i, p := range c.Ports {
		if err := check(p, names); err != nil {
			return nil, fmt.Errorf("console: port %d: %w", i, err)
		}
		n := &port{Port: p, device: d, hostOpen: true}
		if p.Console && d.ports[0] == nil {
			d.ports[0] = n
			continue
		}
		n.id = uint32(len(d.ports))
		d.ports = append(d.ports, n)
	}
	return d, nil
}

func check(p Port, names map[string]bool) error {
	switch {
	case p.Conn == nil:
		return errors.New("no connection")
	case len(p.Name) > MaxName:
		return fmt.Errorf("name of %d bytes, at most %d", len(p.Name), MaxName)
	case strings.ContainsAny(p.Name, "\x00/\n"):
		return fmt.Errorf("name %q", p.Name)
	case p.Name == "" && !p.Console:
		return errors.New("no name")
	case p.Name != "" && names[p.Name]:
		return fmt.Errorf("name %q is there already", p.Name)
	}
	names[p.Name] = true
	return nil
}

// ID implements [virtio.Device].
func (d *Console) ID() uint16 { return deviceID }

// Features implements [virtio.Device].
func (d *Console) Features() uint64 { return FeatureSize | FeatureMultiport }

// QueueSizes implements [virtio.Device]: receive and transmit of port 0, the same of control, and then of the other ports.
func (d *Console) QueueSizes() []uint16 {
	sizes := []uint16{portQueue, portQueue, controlQueue, controlQueue}
	for range d.ports[1:] {
		sizes = append(sizes, portQueue, portQueue)
	}
	return sizes
}

// ReadConfig implements [virtio.Device]: struct virtio_console_config of virtio 1.2 section 5.3.4.
func (d *Console) ReadConfig(p []byte, off int) {
	var c [12]byte
	d.mu.Lock()
	binary.LittleEndian.PutUint16(c[0:], d.cols)
	binary.LittleEndian.PutUint16(c[2:], d.rows)
	d.mu.Unlock()
	binary.LittleEndian.PutUint32(c[4:], uint32(len(d.ports)))
	clear(p)
	if off >= 0 && off < len(c) {
		copy(p, c[off:])
	}
}

// WriteConfig implements [virtio.Device]. There is nothing to write.
func (d *Console) WriteConfig(p []byte, off int) {}

// Start implements [virtio.Device].
func (d *Console) Start(features uint64, queues []*virtio.Queue) error {
	if want := len(d.QueueSizes()); len(queues) != want {
		return fmt.Errorf("console: %d queues, want %d", len(queues), want)
	}
	d.stopping.Store(false)
	d.queues = queues
	if features&FeatureMultiport == 0 {
		if p := d.ports[0]; p != nil {
			p.start(queues[0], queues[1])
			p.setGuestOpen(true)
		}
		return nil
	}
	d.mu.Lock()
	d.control = queues[2]
	d.mu.Unlock()
	for _, p := range d.ports {
		if p != nil {
			rx := receiveQueue(p.id)
			p.start(queues[rx], queues[rx+1])
		}
	}
	d.startControl(queues[2], queues[3])
	return nil
}

// receiveQueue is the number of a port's first queue; its transmit queue follows (virtio 1.2 section 5.3.2).
func receiveQueue(id uint32) int {
	if id == 0 {
		return 0
	}
	return 2 + 2*int(id)
}

// Stop implements [virtio.Device].
func (d *Console) Stop() {
	if d.queues == nil {
		return
	}
	d.stopping.Store(true)
	for _, q := range d.queues {
		if q != nil {
			q.Stop()
		}
	}
	for _, p := range d.ports {
		if p != nil {
			p.interrupt()
		}
	}
	d.running.Wait()
	d.mu.Lock()
	d.control = nil
	d.mu.Unlock()
	for _, p := range d.ports {
		if p != nil {
			p.reset()
		}
	}
	d.queues = nil
}

// Close stops the device and closes the connections.
func (d *Console) Close() error {
	d.Stop()
	var errs []error
	for _, p := range d.ports {
		if p != nil && !p.closed {
			p.closed = true
			errs = append(errs, p.Conn.Close())
		}
	}
	return errors.Join(errs...)
}

// Resize tells the driver that the terminals have another size.
func (d *Console) Resize(cols, rows uint16) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cols, d.rows = cols, rows
	for _, p := range d.ports {
		if p != nil && p.Console && p.ready {
			d.say(p, sayResize)
		}
	}
}

// serve hands the chains of q to handle, which returns how many bytes it wrote, until the queue stops or breaks.
// The driver hears of each one at once: handle may block on the next.
func (d *Console) serve(q *virtio.Queue, handle func(*virtio.Chain) uint32) {
	var c virtio.Chain
	for !d.stopping.Load() { // a driver that goes on while it is reset does not keep us here
		ok, err := q.Pop(&c)
		switch {
		case err != nil:
			return
		case ok:
			q.Push(c.Head, handle(&c))
			q.Notify()
		case q.Arm() || q.Wait():
			q.Disarm()
		default:
			return
		}
	}
}

var _ virtio.Device = (*Console)(nil)
