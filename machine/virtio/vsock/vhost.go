package vsock

import (
	"errors"
	"fmt"
	"io/fs"
	"sync"

	"golang.org/x/sys/unix"

	"usui/host/eventfd"
	"usui/host/vhost"
	"usui/machine/virtio"
)

// ringFeatures are those that the transport offers for every device, so the kernel must know them.
const ringFeatures = virtio.FeatureIndirectDesc | virtio.FeatureEventIdx | virtio.FeatureVersion1

// FeatureSeqPacket says that there are SOCK_SEQPACKET sockets (virtio 1.2 section 5.10.3).
const FeatureSeqPacket = 1 << 1

// Vhost is a virtio socket device that the host's kernel serves: programs of the host have AF_VSOCK sockets. It implements [virtio.Device].
type Vhost struct {
	cid      uint32
	features uint64 // of the kernel's device

	kernel *vhost.Vsock // nil since a Stop: the next Start opens another one, so that no connection outlives the driver
	fault  *eventfd.FD  // while it runs, as is what follows
	queue  *virtio.Queue
	faults sync.WaitGroup
}

// NewVhost makes the device and takes the guest's CID, MinCID to MaxCID, which no other machine of the host has.
func NewVhost(cid uint32) (*Vhost, error) {
	if err := checkCID(cid); err != nil {
		return nil, err
	}
	d := &Vhost{cid: cid}
	if err := d.open(); err != nil {
		return nil, err
	}
	if d.features = d.kernel.Features(); d.features&ringFeatures != ringFeatures {
		return nil, errors.Join(fmt.Errorf("vsock: the kernel's device has the features %#x and lacks some of %#x", d.features, uint64(ringFeatures)), d.Close())
	}
	return d, nil
}

// open takes a device of the kernel's, with the guest's CID.
func (d *Vhost) open() error {
	k, err := vhost.OpenVsock()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("vsock: %w; modprobe vhost_vsock, or use Unix sockets", err)
	case err != nil:
		return fmt.Errorf("vsock: %w", err)
	}
	err = k.SetCID(d.cid)
	if errors.Is(err, unix.EADDRINUSE) {
		err = fmt.Errorf("CID %d: another machine of this host has it; choose another one", d.cid)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("vsock: %w", err), k.Close())
	}
	d.kernel = &k
	return nil
}

// ID implements [virtio.Device].
func (d *Vhost) ID() uint16 { return deviceID }

// Features implements [virtio.Device]: those of the specification that the kernel knows.
func (d *Vhost) Features() uint64 { return d.features & FeatureSeqPacket }

// QueueSizes implements [virtio.Device].
func (d *Vhost) QueueSizes() []uint16 { return []uint16{queueSize, queueSize, eventQueue} }

// ReadConfig implements [virtio.Device].
func (d *Vhost) ReadConfig(p []byte, off int) { readConfig(d.cid, p, off) }

// WriteConfig implements [virtio.Device]. There is nothing to write.
func (d *Vhost) WriteConfig(p []byte, off int) {}

// Start implements [virtio.Device].
func (d *Vhost) Start(features uint64, queues []*virtio.Queue) (err error) {
	if want := len(d.QueueSizes()); len(queues) != want {
		return fmt.Errorf("vsock: %d queues, want %d", len(queues), want)
	}
	if queues[0] == nil || queues[1] == nil {
		return nil // nothing can be said without the one, or heard without the other
	}
	if d.kernel == nil {
		if err := d.open(); err != nil {
			return err
		}
	}
	if d.fault, err = eventfd.New(); err != nil {
		return fmt.Errorf("vsock: %w", err)
	}
	c := vhost.Config{Features: features, Fault: int(d.fault.Fd())}
	for _, r := range queues[0].Memory().Regions() {
		c.Memory = append(c.Memory, vhost.Region{Start: r.Start, Size: r.Size, HostAddr: r.HostAddr})
	}
	for _, q := range queues[:2] {
		r := q.Ring()
		c.Rings = append(c.Rings, vhost.Ring{Size: r.Size, Desc: r.Desc, Avail: r.Avail, Used: r.Used, Kick: r.Kick, Interrupt: r.Interrupt})
	}
	if err := d.kernel.Start(c); err != nil {
		return errors.Join(fmt.Errorf("vsock: %w", err), d.Close())
	}
	d.queue = queues[0]
	d.faults.Go(d.watch) // ended by Stop
	return nil
}

// watch tells of a driver that broke the protocol.
func (d *Vhost) watch() {
	if d.fault.Wait() == nil {
		d.queue.Break(errors.New("the kernel, which serves it, met an error in its rings or its packets"))
	}
}

// Stop implements [virtio.Device]. Programs of the host see the ends of their connections.
func (d *Vhost) Stop() {
	// The file's end stops the kernel, too; nobody is there to hear of an error.
	_ = d.Close()
}

// Close stops the device and gives the CID back.
func (d *Vhost) Close() error {
	var errs []error
	if d.kernel != nil {
		if d.queue != nil {
			_, err := d.kernel.Stop()
			errs = append(errs, err)
		}
		errs = append(errs, d.kernel.Close())
		d.kernel = nil
	}
	if d.fault != nil {
		errs = append(errs, d.fault.Close())
		d.faults.Wait()
		d.fault, d.queue = nil, nil
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("vsock: %w", err)
	}
	return nil
}

var _ virtio.Device = (*Vhost)(nil)
