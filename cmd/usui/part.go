package main

import (
	"context"
	"flag"

	"usui/internal/attach"
	"usui/internal/cli"
	"usui/internal/lab"
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

	sources []source      // what others can watch
	steps   []attach.Step // for the default guest, before its command starts
}

// add puts a virtio device into the next slot.
func (b *builder) add(v vmm.Virtio) { b.cfg.Virtio = append(b.cfg.Virtio, v) }

// count lets others watch the counters of something. stats returns a plain struct as internal/metrics wants it, from any goroutine. kind is
// part of metrics' names.
func (b *builder) count(kind, name string, stats func() any) {
	b.sources = append(b.sources, source{Kind: kind, Name: name, stats: stats})
}

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
