package vhostuser

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"

	"usui/host/vhostuser"
	"usui/machine/guestmem"
	"usui/machine/virtio"
)

// Config describes a device that a back end serves.
type Config struct {
	Name       string            // of the device, in messages
	Client     *vhostuser.Client // the connection; stays owned by the caller
	ID         uint16            // device type
	Features   uint64            // of the device type; those that the back end has too are offered
	QueueSizes []uint16
	Space      []byte // device configuration, which nobody changes

	// End makes the back end's process end and returns when it has: called when the back end may still use guest memory that it must not
	// use any more, perhaps several times. nil: nobody can.
	End func()

	// Refuse closes a request of queue i with an error, and returns how many bytes of the answer it wrote. It is called when the back end
	// is gone, from one goroutine a queue. nil: such a device needs a reset.
	Refuse func(i int, c *virtio.Chain) (written uint32)

	// Open says whether a request may be one that the back end has taken and not given back; see [virtio.Queue.Inherit].
	Open func(c *virtio.Chain) bool

	Log *slog.Logger // nil: discard
}

// Device is a virtio device whose queues somebody else serves. It implements [virtio.Device].
type Device struct {
	cfg    Config
	served []*virtio.Queue // since Start; nil where the driver enabled none
	stop   chan struct{}   // closed by Stop
	watch  sync.WaitGroup
	told   sync.Once // that the back end is gone

	starts, losses, refused atomic.Uint64
}

// needed is what the transport offers to every driver.
const needed = virtio.FeatureVersion1 | virtio.FeatureIndirectDesc | virtio.FeatureEventIdx

// New makes the device. It fails when the back end cannot serve it.
func New(cfg Config) (*Device, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	has := cfg.Client.Features()
	if lacks := needed &^ has; lacks != 0 {
		return nil, fmt.Errorf("%s: the back end lacks the features %#x of %#x", cfg.Name, lacks, uint64(needed))
	}
	if n := cfg.Client.Queues(); n != 0 && n < len(cfg.QueueSizes) {
		return nil, fmt.Errorf("%s: the back end serves %d queues, want %d", cfg.Name, n, len(cfg.QueueSizes))
	}
	cfg.Features &= has
	return &Device{cfg: cfg}, nil
}

// ID implements [virtio.Device].
func (d *Device) ID() uint16 { return d.cfg.ID }

// Features implements [virtio.Device].
func (d *Device) Features() uint64 { return d.cfg.Features }

// QueueSizes implements [virtio.Device].
func (d *Device) QueueSizes() []uint16 { return slices.Clone(d.cfg.QueueSizes) }

// ReadConfig implements [virtio.Device].
func (d *Device) ReadConfig(p []byte, off int) {
	clear(p)
	if off < len(d.cfg.Space) {
		copy(p, d.cfg.Space[off:])
	}
}

// WriteConfig implements [virtio.Device]. Nothing can be written.
func (d *Device) WriteConfig(p []byte, off int) {}

// Start implements [virtio.Device].
func (d *Device) Start(features uint64, queues []*virtio.Queue) error {
	if len(queues) != len(d.cfg.QueueSizes) {
		return fmt.Errorf("%s: %d queues, want %d", d.cfg.Name, len(queues), len(d.cfg.QueueSizes))
	}
	session, err := d.session(features, queues)
	if err != nil {
		return fmt.Errorf("%s: %w", d.cfg.Name, err)
	}
	if len(session.Rings) == 0 {
		return nil
	}
	d.starts.Add(1)
	// What goes wrong here ends the connection, which the watcher notices too.
	if err := d.cfg.Client.Start(session); err != nil && d.cfg.Refuse == nil {
		d.lost()
		return fmt.Errorf("%s: %w", d.cfg.Name, err)
	}
	d.served, d.stop = slices.Clone(queues), make(chan struct{})
	d.watch.Go(d.guard) // ended by Stop
	return nil
}

// session is what the back end has to know of the driver's queues.
func (d *Device) session(features uint64, queues []*virtio.Queue) (s vhostuser.Session, err error) {
	s.Features = features
	for i, q := range queues {
		if q == nil {
			continue
		}
		r := q.Ring()
		if s.Regions == nil {
			s.Memory, s.Regions = int(r.Memory.File().Fd()), regions(r.Memory)
		}
		ring := vhostuser.Ring{Index: i, Size: r.Size, Kick: r.Kick, Call: r.Interrupt}
		for _, a := range []struct {
			guest uint64
			user  *uint64
		}{{r.Desc, &ring.Desc}, {r.Avail, &ring.Avail}, {r.Used, &ring.Used}} {
			var ok bool
			if *a.user, ok = userAddress(s.Regions, a.guest); !ok {
				return s, fmt.Errorf("queue %d: %#x is %w", i, a.guest, guestmem.ErrOutside)
			}
		}
		s.Rings = append(s.Rings, ring)
	}
	return s, nil
}

// regions are the guest's memory in the words of the protocol.
func regions(m *guestmem.Memory) (rs []vhostuser.Region) {
	for _, r := range m.Regions() {
		rs = append(rs, vhostuser.Region{Guest: r.Start, Size: r.Size, User: uint64(r.HostAddr), Offset: uint64(r.FileOffset)})
	}
	return rs
}

// userAddress is where an address of the guest is in this process: that is how rings are named.
func userAddress(regions []vhostuser.Region, guest uint64) (uint64, bool) {
	for _, r := range regions {
		if guest-r.Guest < r.Size {
			return r.User + guest - r.Guest, true
		}
	}
	return 0, false
}

// Stop implements [virtio.Device].
func (d *Device) Stop() {
	if d.served == nil {
		return
	}
	close(d.stop)
	d.watch.Wait()
	d.served = nil
	if err := d.cfg.Client.Stop(); err != nil {
		d.lost()
	}
}

// guard waits for the end of the back end, and takes its place then. It runs until Stop. As long as the back end has the kicks, nothing
// here touches them: it could make that wait.
func (d *Device) guard() {
	select {
	case <-d.stop:
		return
	case <-d.cfg.Client.Lost():
	}
	d.lost()
	var servers sync.WaitGroup
	var heirs []*virtio.Queue
	for i, q := range d.served {
		switch {
		case q == nil:
		case d.cfg.Refuse == nil:
			q.Break(fmt.Errorf("%s: %w", d.cfg.Name, errGone))
		case d.inherit(i, q) == nil:
			heirs = append(heirs, q)
			servers.Go(func() { d.refuse(i, q) }) // ended below
		}
	}
	<-d.stop
	for _, q := range heirs {
		q.Stop()
	}
	servers.Wait()
}

var errGone = errors.New("the process that served it is gone")

// lost makes sure that the back end touches nothing any more, and tells of it once.
func (d *Device) lost() {
	if d.cfg.End != nil {
		d.cfg.End()
	}
	d.told.Do(func() {
		d.losses.Add(1)
		d.cfg.Log.Warn("the process that served a device is gone; the device refuses all requests from now on", "device", d.cfg.Name, "error", d.cfg.Client.Err())
	})
}

// inherit answers what the back end had taken from queue i.
func (d *Device) inherit(i int, q *virtio.Queue) error {
	return q.Inherit(func(c *virtio.Chain) (uint32, bool) {
		if !d.cfg.Open(c) {
			return 0, false
		}
		d.refused.Add(1)
		return d.cfg.Refuse(i, c), true
	})
}

// refuse serves queue i in place of the back end, until Stop or until the driver breaks the queue.
func (d *Device) refuse(i int, q *virtio.Queue) {
	var c virtio.Chain
	for !d.stopping() { // a driver that goes on while it is reset does not keep us here
		ok, err := q.Pop(&c)
		switch {
		case err != nil:
			return
		case ok:
			q.Push(c.Head, d.cfg.Refuse(i, &c))
			d.refused.Add(1)
		default:
			q.Notify()
			if !q.Arm() && !q.Wait() {
				return
			}
			q.Disarm()
		}
	}
}

func (d *Device) stopping() bool {
	select {
	case <-d.stop:
		return true
	default:
		return false
	}
}

var _ virtio.Device = (*Device)(nil)
