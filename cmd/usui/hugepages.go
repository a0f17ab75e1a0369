package main

import (
	"context"
	"flag"

	"usui/internal/cli"
	"usui/internal/lab"
	"usui/machine/guestmem"
)

// hugePagesPart puts the guest's memory on huge pages of the host.
type hugePagesPart struct{ on bool }

func (p *hugePagesPart) flags(f *flag.FlagSet) {
	f.BoolVar(&p.on, "hugepages", false, "take the guest's memory from huge pages of 2 MiB that this host has set aside: fewer page faults, and all of it is there from the\n"+
		"start. --memory 512M needs 256: echo 256 > /proc/sys/vm/nr_hugepages")
}

func (p *hugePagesPart) check() error { return nil }

// checkMemory refuses memory that is no whole number of huge pages.
func (p *hugePagesPart) checkMemory(memory sizeValue) error {
	if p.on && memory%guestmem.HugePageSize != 0 {
		return cli.UsageError("--memory %s: with --hugepages it must be a multiple of 2M", &memory)
	}
	return nil
}

func (p *hugePagesPart) checkHost() error { return nil }

func (p *hugePagesPart) argv() []string {
	if !p.on {
		return nil
	}
	return []string{"--hugepages"}
}

// prepareLab has the lab set pages aside for all that is the guest's.
func (p *hugePagesPart) prepareLab(cfg *lab.Config) error {
	if p.on {
		cfg.HugePages = int((cfg.MemoryBytes - labOverhead) / guestmem.HugePageSize)
	}
	return nil
}

func (p *hugePagesPart) build(_ context.Context, b *builder) error {
	b.cfg.HugePages = p.on
	return nil
}
