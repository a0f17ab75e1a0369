package vsock

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"usui/machine/virtio"
)

// Context identifiers, the addresses of machines (virtio 1.2 section 5.10.4). Those in between are nobody's or reserved.
const (
	hostCID = 2
	MinCID  = 3
	MaxCID  = 1<<32 - 2 // 1<<32-1 stands for any
)

// FeatureStream says that there are stream sockets (virtio 1.2 section 5.10.3).
const FeatureStream = 1 << 0

const (
	deviceID   = 19 // virtio 1.2 section 5.10.1
	queueSize  = 256
	eventQueue = 16 // Linux has 8 buffers in it
)

// MaxPath leaves room for an underscore and ten digits in the 107 bytes of a Unix socket's address.
const MaxPath = 107 - 11

// Config describes a device.
type Config struct {
	CID  uint32 // of the guest, MinCID to MaxCID
	Path string // of the Unix socket for clients of the guest, at most MaxPath bytes; its name is the beginning of the others'
}

// Vsock is a virtio socket device with Unix sockets at the host's side. It implements [virtio.Device].
type Vsock struct {
	Config
	listener int
	node     os.FileInfo // the file of the socket as New made it
	limits   limits

	stopping   atomic.Bool
	resetEvent atomic.Bool // the driver has yet to hear that all connections are gone
	running    sync.WaitGroup
	counters   counters

	mu  sync.Mutex // of mux, for those who wake it
	mux *mux       // of the last Start; guarded by mu

	// Of the mux while it runs, else of who calls Start and Close.
	pool pool
	late []late // what the host has yet to take of connections of a guest that is gone
}

// late is the end of a guest's stream whose reader is slow.
type late struct {
	fd   int
	ring ring
}

// limits are what one guest, or the host's programs, can take up. Tests choose smaller ones.
type limits struct {
	conns  int           // connections
	hellos int           // clients of the host that have not said which port they want
	hello  time.Duration // for saying it
	answer time.Duration // for the guest's answer to a request
	end    time.Duration // for the guest's last word on a connection that the host closed
	linger time.Duration // for slow readers when the machine is gone
}

var defaultLimits = limits{
	conns: 1024, hellos: 64, hello: 5 * time.Second, answer: 10 * time.Second,
	end:    8 * time.Second, // as in Linux (VSOCK_CLOSE_TIMEOUT)
	linger: time.Second,
}

// New makes the device and its socket, which listens from now on. Close removes it.
func New(c Config) (*Vsock, error) {
	if err := checkCID(c.CID); err != nil {
		return nil, err
	}
	if c.Path == "" {
		return nil, errors.New("vsock: no path for the socket")
	}
	if len(c.Path) > MaxPath {
		return nil, fmt.Errorf("vsock: socket %s: the path has %d bytes, at most %d; choose a shorter one", c.Path, len(c.Path), MaxPath)
	}
	d := &Vsock{Config: c, limits: defaultLimits}
	if c.Path[0] == '@' {
		d.Path = "./" + c.Path // a file, no abstract name
	}
	var err error
	if d.listener, d.node, err = listen(d.Path); err != nil {
		return nil, fmt.Errorf("vsock: socket %s: %w", c.Path, err)
	}
	return d, nil
}

func checkCID(cid uint32) error {
	if cid < MinCID || cid > MaxCID {
		return fmt.Errorf("vsock: CID %d: a guest's is %d to %d", cid, MinCID, uint32(MaxCID))
	}
	return nil
}

// ID implements [virtio.Device].
func (d *Vsock) ID() uint16 { return deviceID }

// Features implements [virtio.Device].
func (d *Vsock) Features() uint64 { return FeatureStream }

// QueueSizes implements [virtio.Device]: receive, transmit, event.
func (d *Vsock) QueueSizes() []uint16 { return []uint16{queueSize, queueSize, eventQueue} }

// ReadConfig implements [virtio.Device]: struct virtio_vsock_config of virtio 1.2 section 5.10.4.
func (d *Vsock) ReadConfig(p []byte, off int) { readConfig(d.CID, p, off) }

func readConfig(cid uint32, p []byte, off int) {
	var c [8]byte
	binary.LittleEndian.PutUint64(c[:], uint64(cid))
	clear(p)
	if off >= 0 && off < len(c) {
		copy(p, c[off:])
	}
}

// WriteConfig implements [virtio.Device]. There is nothing to write.
func (d *Vsock) WriteConfig(p []byte, off int) {}

// Start implements [virtio.Device].
func (d *Vsock) Start(features uint64, queues []*virtio.Queue) error {
	if want := len(d.QueueSizes()); len(queues) != want {
		return fmt.Errorf("vsock: %d queues, want %d", len(queues), want)
	}
	if queues[0] == nil || queues[1] == nil {
		return nil // nothing can be said without the one, or heard without the other
	}
	m, err := newMux(d, queues[0], queues[1], queues[2])
	if err != nil {
		return fmt.Errorf("vsock: %w", err)
	}
	d.stopping.Store(false)
	d.mu.Lock()
	d.mux = m
	d.mu.Unlock()
	d.running.Go(m.run) // ended by Stop
	return nil
}

// Stop implements [virtio.Device]. It ends all connections. What slow readers of the host have yet to take is kept for them, but not for ever:
// see Close.
func (d *Vsock) Stop() {
	d.mu.Lock()
	m := d.mux
	d.mux = nil
	d.mu.Unlock()
	if m == nil {
		return
	}
	d.stopping.Store(true)
	m.tx.Stop() // wakes the mux; its other queues need no waking
	d.running.Wait()
}

// TransportReset tells the driver that all connections are gone, though it was not reset itself: its machine was saved and goes
// on somewhere else (virtio 1.2 section 5.10.6.7).
func (d *Vsock) TransportReset() {
	d.resetEvent.Store(true)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.mux != nil {
		d.mux.tx.Wake()
	}
}

// Close stops the device, gives slow readers of the host a second to take the end of the guest's streams, and removes the socket.
func (d *Vsock) Close() error {
	d.Stop()
	d.drain()
	d.pool.close()
	if d.listener < 0 {
		return os.ErrClosed
	}
	err := os.NewSyscallError("close", unix.Close(d.listener))
	d.listener = -1
	if node, statErr := os.Lstat(d.Path); statErr == nil && os.SameFile(node, d.node) {
		err = errors.Join(err, os.Remove(d.Path))
	}
	return err
}

var _ virtio.Device = (*Vsock)(nil)
