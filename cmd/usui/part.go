package main

import (
	"context"
	"flag"
	"io"
	"log/slog"
	"sync"

	"usui/internal/attach"
	"usui/internal/cli"
	"usui/internal/lab"
	"usui/machine/virtio"
	"usui/machine/vmm"
)

// part is a kind of devices that "usui run" can give a machine, with the flags that describe them. Its zero value has none.
type part interface {
	// flags declares the flags.
	flags(f *flag.FlagSet)

	// check refuses what makes no sense on any host, with a usage error.
	check() error

	// checkHost refuses what this host cannot give, before anything is fetched or started.
	checkHost() error

	// argv are the flags again, for the same call inside a lab.
	argv() []string

	// prepareLab gives the lab what the part needs of its host.
	prepareLab(cfg *lab.Config) error

	// build opens what the devices need and adds them to the machine.
	build(ctx context.Context, b *builder) error
}

// builder is a machine's configuration in the making.
type builder struct {
	cfg *vmm.Config
	res *resources // closed after the machine
	env *cli.Env
	ev  *events

	sources []source            // what others can watch
	steps   []attach.Step       // for the default guest, before its command starts
	left    func(device string) // is told of devices that left the machine; set before it runs
}

// attach puts a virtio device into the next slot and lets others watch its counters. What is behind it, if anything, is closed when the
// device has left the machine, which the guest may have it do at any time, or else after the machine.
func (b *builder) attach(name string, d virtio.Device, behind io.Closer, watched ...source) {
	end := func() error { return nil }
	if behind != nil {
		end = sync.OnceValue(behind.Close)
		b.res.add(closer(end))
	}
	b.cfg.Virtio = append(b.cfg.Virtio, vmm.Virtio{Name: name, Device: d, Gone: func() {
		if b.left != nil {
			b.left(name)
		}
		closeBehind(name, end, b.cfg.Log)
	}})
	for _, s := range watched {
		s.device = name
		b.sources = append(b.sources, s)
	}
}

// closeBehind closes what was behind a device that left the machine: nothing is in flight any more.
func closeBehind(device string, end func() error, log *slog.Logger) {
	if err := end(); err != nil {
		log.Warn("close what was behind a device", "device", device, "error", err)
	}
}

// closer is a function as an io.Closer.
type closer func() error

// Close implements io.Closer.
func (c closer) Close() error { return c() }

// parts are all of them, in the order of their slots.
func (o *runOptions) parts() []part {
	return []part{
		&o.live,
		&o.huge,
		&o.disks,
		&o.nets,
		&o.balloon,
		&o.shares,
		&o.vsock,
	}
}

// maxDevices leaves slots of the one PCI bus for the console and the random number generator.
const maxDevices = 29
