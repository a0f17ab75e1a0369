package net

import (
	"errors"
	"fmt"
	"io/fs"
	"sync"

	"usui/host/eventfd"
	"usui/host/vhost"
	"usui/machine/virtio"
)

// kernelFeatures are those of the card that its server has to know, because they say how frames lie in the queues.
const kernelFeatures = FeatureMrgRxBuf | virtio.FeatureIndirectDesc | virtio.FeatureEventIdx | virtio.FeatureVersion1

// kernel is the host's vhost-net, which serves the queue pairs of a card: frames go between the guest and the tap without this process.
type kernel struct {
	devices []vhost.Net // of the pairs that are served
	fault   *eventfd.FD // signalled when the driver breaks the protocol; nil while nothing is served
	faults  sync.WaitGroup
}

// checkKernel says why vhost-net cannot serve a card here.
func checkKernel() error {
	k, err := vhost.OpenNet()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w; modprobe vhost_net, or leave vhost out", err)
	case err != nil:
		return err
	}
	defer k.Close()
	if lacking := kernelFeatures &^ k.Features(); lacking != 0 {
		return fmt.Errorf("the kernel's vhost-net lacks the features %#x", lacking)
	}
	return nil
}

// start has the kernel serve those pairs whose queues the driver set up. When it fails, nothing is served.
func (k *kernel) start(features uint64, pairs []*pair, queues []*virtio.Queue) (err error) {
	if k.fault, err = eventfd.New(); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, k.stop())
		}
	}()
	var served *virtio.Queue
	for i, p := range pairs {
		rx, tx := queues[2*i], queues[2*i+1]
		if rx == nil || tx == nil {
			continue
		}
		d, err := vhost.OpenNet()
		if err != nil {
			return err
		}
		k.devices = append(k.devices, d)
		c := vhost.Config{Features: features, Fault: int(k.fault.Fd())}
		for _, r := range rx.Memory().Regions() {
			c.Memory = append(c.Memory, vhost.Region{Start: r.Start, Size: r.Size, HostAddr: r.HostAddr})
		}
		for _, q := range []*virtio.Queue{rx, tx} {
			r := q.Ring()
			c.Rings = append(c.Rings, vhost.Ring{Size: r.Size, Desc: r.Desc, Avail: r.Avail, Used: r.Used, Kick: r.Kick, Interrupt: r.Interrupt})
		}
		if err := d.Start(c, p.fd); err != nil {
			return fmt.Errorf("queue pair %d: %w", i, err)
		}
		served = rx
	}
	if served != nil {
		fault := k.fault
		k.faults.Go(func() { // ended by stop
			if fault.Wait() == nil {
				served.Break(errors.New("the kernel, which serves it, met an error in its rings"))
			}
		})
	}
	return nil
}

// stop ends what start began: then the kernel touches no guest memory.
func (k *kernel) stop() error {
	var errs []error
	for _, d := range k.devices {
		errs = append(errs, d.Close())
	}
	k.devices = nil
	if k.fault != nil {
		errs = append(errs, k.fault.Close())
		k.faults.Wait()
		k.fault = nil
	}
	return errors.Join(errs...)
}
