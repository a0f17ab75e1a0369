package net

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"usui/host/eventfd"
	"usui/machine/limit"
	"usui/machine/virtio"
)

// Feature bits (virtio 1.2 section 5.1.3). HOST is the work that the driver may leave to us, GUEST what we may leave to it.
const (
	FeatureCsum          = 1 << 0
	FeatureGuestCsum     = 1 << 1
	FeatureMTU           = 1 << 3
	FeatureMAC           = 1 << 5
	FeatureGuestTSO4     = 1 << 7
	FeatureGuestTSO6     = 1 << 8
	FeatureGuestECN      = 1 << 9
	FeatureHostTSO4      = 1 << 11
	FeatureHostTSO6      = 1 << 12
	FeatureHostECN       = 1 << 13
	FeatureMrgRxBuf      = 1 << 15
	FeatureStatus        = 1 << 16
	FeatureCtrlVQ        = 1 << 17
	FeatureGuestAnnounce = 1 << 21
	FeatureMQ            = 1 << 22
	FeatureGuestUSO4     = 1 << 54
	FeatureGuestUSO6     = 1 << 55
	FeatureHostUSO       = 1 << 56
)

// OffloadFeatures are those that a [Backend] decides on.
const OffloadFeatures = FeatureCsum | FeatureGuestCsum | FeatureGuestTSO4 | FeatureGuestTSO6 | FeatureGuestECN |
	FeatureHostTSO4 | FeatureHostTSO6 | FeatureHostECN | FeatureGuestUSO4 | FeatureGuestUSO6 | FeatureHostUSO

const (
	deviceID         = 1   // virtio 1.2 section 5.1.1
	queueSize        = 256 // QEMU's
	controlQueueSize = 64
)

// MaxPairs bounds the queue pairs of a card.
const MaxPairs = 16

// Limits of an MTU (virtio 1.2 section 5.1.4.1).
const (
	MinMTU = 68
	MaxMTU = 65535
)

// Config describes a network card.
type Config struct {
	Name    string  // of what is behind the card, for the log
	Backend Backend // stays the caller's, who closes it after the device stopped
	MAC     [6]byte
	MTU     int          // that the driver is told; 0: none
	Vhost   bool         // the host's kernel serves the queues; the backend is a tap
	Receive limit.Pair   // of the frames to the guest, over all queue pairs
	Send    limit.Pair   // of those from it
	Log     *slog.Logger // nil: discard
}

// Net is a virtio network card. It implements [virtio.Device] and [virtio.Changing].
type Net struct {
	name    string
	backend Backend
	mac     [6]byte
	mtu     uint16
	log     *slog.Logger
	pairs   []*pair
	changed func()  // tells the driver that the configuration is another one
	kernel  *kernel // serves the queues; nil: goroutines do
	receive limit.Pair
	send    limit.Pair

	unplugged  atomic.Bool // the backend has gone, for good
	announcing atomic.Bool // the driver is asked to tell the network where it is
	accepted   atomic.Uint64
	refused    atomic.Uint64 // commands

	stopping atomic.Bool
	stop     *eventfd.FD     // ends waits for the backend; nil while stopped
	queues   []*virtio.Queue // of the last Start
	running  sync.WaitGroup
}

// pair is a queue to the guest and one from it, with one descriptor of the backend behind both.
type pair struct {
	fd     int
	on     atomic.Bool // the driver uses it
	spill  []byte      // see receiver
	toward towardGuest
	from   fromGuest
}

// New makes the device.
func New(c Config) (*Net, error) {
	if c.Backend == nil {
		return nil, errors.New("virtio-net: no backend")
	}
	fds := c.Backend.Queues()
	switch {
	case len(fds) < 1 || len(fds) > MaxPairs:
		return nil, fmt.Errorf("virtio-net: %d queue pairs, want 1 to %d", len(fds), MaxPairs)
	case c.MTU != 0 && (c.MTU < MinMTU || c.MTU > MaxMTU):
		return nil, fmt.Errorf("virtio-net: an MTU of %d, want %d to %d", c.MTU, MinMTU, MaxMTU)
	case c.MAC == [6]byte{} || c.MAC[0]&1 != 0:
		return nil, fmt.Errorf("virtio-net: %x is no address of one card", c.MAC)
	}
	d := &Net{name: c.Name, backend: c.Backend, mac: c.MAC, mtu: uint16(c.MTU), log: c.Log, changed: func() {}, receive: c.Receive, send: c.Send}
	if d.log == nil {
		d.log = slog.New(slog.DiscardHandler)
	}
	if c.Vhost {
		if c.Receive.Limited() || c.Send.Limited() {
			return nil, errors.New("virtio-net: vhost: the kernel moves the frames and keeps no limit")
		}
		if err := checkKernel(); err != nil {
			return nil, fmt.Errorf("virtio-net: %w", err)
		}
		d.kernel = &kernel{}
	}
	for i, fd := range fds {
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
		if err != nil || flags&unix.O_NONBLOCK == 0 {
			return nil, fmt.Errorf("virtio-net: queue pair %d: descriptor %d is not non-blocking (flags %#x, %v)", i, fd, flags, err)
		}
		d.pairs = append(d.pairs, &pair{fd: fd, spill: make([]byte, spillSize)})
	}
	return d, nil
}

// MAC is the card's address.
func (d *Net) MAC() net.HardwareAddr { return net.HardwareAddr(d.mac[:]) }

// ID implements [virtio.Device].
func (d *Net) ID() uint16 { return deviceID }

// Features implements [virtio.Device].
func (d *Net) Features() uint64 {
	f := uint64(FeatureMAC | FeatureMrgRxBuf | FeatureStatus | FeatureCtrlVQ | FeatureGuestAnnounce)
	if d.mtu != 0 {
		f |= FeatureMTU
	}
	if len(d.pairs) > 1 {
		f |= FeatureMQ
	}
	return f | d.backend.Offloads()&OffloadFeatures
}

// QueueSizes implements [virtio.Device]: a queue to the guest and one from it for each pair, then the control queue. A driver
// without F_MQ uses one pair and has the control queue behind that (virtio 1.2 section 5.1.2).
func (d *Net) QueueSizes() []uint16 {
	var sizes []uint16
	for range d.pairs {
		sizes = append(sizes, queueSize, queueSize)
	}
	return append(sizes, controlQueueSize)
}

// ReadConfig implements [virtio.Device]: struct virtio_net_config of virtio 1.2 section 5.1.4.
func (d *Net) ReadConfig(p []byte, off int) {
	var c [12]byte
	copy(c[0:], d.mac[:])
	binary.LittleEndian.PutUint16(c[6:], d.status())
	binary.LittleEndian.PutUint16(c[8:], uint16(len(d.pairs)))
	binary.LittleEndian.PutUint16(c[10:], d.mtu)
	clear(p)
	if off >= 0 && off < len(c) {
		copy(p, c[off:])
	}
}

// WriteConfig implements [virtio.Device]. There is nothing to write: the address can be read only, without a legacy driver.
func (d *Net) WriteConfig(p []byte, off int) {}

// OnChange implements [virtio.Changing].
func (d *Net) OnChange(changed func()) { d.changed = changed }

// Start implements [virtio.Device]. The driver has one queue pair until it asks for more.
func (d *Net) Start(features uint64, queues []*virtio.Queue) error {
	if want := len(d.QueueSizes()); len(queues) != want {
		return fmt.Errorf("virtio-net: %d queues, want %d", len(queues), want)
	}
	stop, err := eventfd.New()
	if err != nil {
		return fmt.Errorf("virtio-net: %w", err)
	}
	d.stop, d.queues = stop, queues
	d.stopping.Store(false)
	d.accepted.Store(features)
	pairs, control := d.pairs, 2*len(d.pairs)
	if features&FeatureMQ == 0 {
		pairs, control = pairs[:1], 2
	}
	if err := d.usePairs(1); err != nil {
		d.unplug(err)
	}
	// From here on the queues belong to goroutines, which Stop ends, or to the kernel.
	if d.kernel != nil {
		if err := d.kernel.start(features, pairs, queues); err != nil {
			_ = stop.Close() // nobody else has it
			d.stop, d.queues = nil, nil
			return fmt.Errorf("virtio-net: vhost: %w", err)
		}
		pairs = nil
	}
	for i, p := range pairs {
		if q := queues[2*i]; q != nil {
			d.running.Go(newReceiver(d, p, q).run)
		}
		if q := queues[2*i+1]; q != nil {
			d.running.Go(newTransmitter(d, p, q).run)
		}
	}
	if q := queues[control]; q != nil && features&FeatureCtrlVQ != 0 {
		d.running.Go(func() { d.control(q) })
	}
	return nil
}

// Stop implements [virtio.Device]. A frame that the backend does not take at once is dropped.
func (d *Net) Stop() {
	if d.stop == nil {
		return
	}
	d.stopping.Store(true)
	if d.kernel != nil {
		_ = d.kernel.stop() // the ends of files, of which nobody could do anything
	}
	for _, q := range d.queues {
		if q != nil {
			q.Stop()
		}
	}
	_ = d.stop.Signal() // fails only when closed
	d.running.Wait()
	_ = d.stop.Close() // nobody else has it
	d.stop, d.queues = nil, nil
	d.accepted.Store(0)
	d.announcing.Store(false)
}

var _ virtio.Changing = (*Net)(nil)
