package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"time"

	"usui/internal/cli"
	"usui/internal/lab"
	"usui/machine/block"
	"usui/machine/limit"
	"usui/machine/virtio/blk"
)

// diskPart are a machine's disks.
type diskPart struct{ list []disk }

// disk is one of them. 0 is no limit, or a queue for each of the machine's CPUs.
type disk struct {
	lab.Disk
	options string // what followed the file, for the lab; empty, or with a comma in front
	queues  int
	iops    uint64
	bytes   uint64 // a second
}

func (p *diskPart) flags(f *flag.FlagSet) {
	f.Func("disk", "attach the raw image or block device `file[,ro][,queues=N][,iops=N][,bw=SIZE]` as a virtio disk, with at most so many requests and\n"+
		"bytes a second; may be repeated", func(text string) error {
		d, err := parseMachineDisk(text)
		p.list = append(p.list, d)
		return err
	})
}

// parseMachineDisk parses a file and its options. The name of a file that is there may hold commas.
func parseMachineDisk(text string) (d disk, err error) {
	d.Path = text
	for {
		path, option, found := cutLast(d.Path, ",")
		if _, err := os.Stat(d.Path); err == nil || !found {
			break
		}
		name, value, _ := strings.Cut(option, "=")
		switch name {
		case "ro":
			d.ReadOnly = true
		case "queues":
			d.queues, err = strconv.Atoi(value)
			if err != nil || d.queues < 1 || d.queues > blk.MaxQueues {
				return d, fmt.Errorf("%q in %q: a disk has 1 to %d queues", option, text, blk.MaxQueues)
			}
		case "iops":
			if d.iops, err = countASecond(name, value, "requests"); err != nil {
				return d, fmt.Errorf("%q: %w", text, err)
			}
		case "bw":
			if d.bytes, err = bytesASecond(name, value); err != nil {
				return d, fmt.Errorf("%q: %w", text, err)
			}
		default:
			return d, fmt.Errorf("%q in %q: no file of this name, and no option of a disk; write FILE[,ro][,queues=N][,iops=N][,bw=SIZE]", option, text)
		}
		d.Path, d.options = path, ","+option+d.options
	}
	if d.Path == "" {
		return d, fmt.Errorf("%q is no disk: write FILE[,ro][,queues=N][,iops=N][,bw=SIZE]", text)
	}
	return d, nil
}

// cutLast cuts s around the last sep.
func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// savedUp is for how long a device may save up what its limits allow.
const savedUp = 100 * time.Millisecond

// newLimit makes the buckets for so many operations and bytes a second; 0 is no limit.
func newLimit(ops, bytes uint64) (p limit.Pair, err error) {
	if ops > 0 {
		if p.Ops, err = limit.New(ops, savedUp); err != nil {
			return p, err
		}
	}
	if bytes > 0 {
		p.Bytes, err = limit.New(bytes, savedUp)
	}
	return p, err
}

// maxDisks is how many a user can want; the bus has room for a few other devices beside them.
const maxDisks = 24

func (p *diskPart) check() error {
	if len(p.list) > maxDisks {
		return cli.UsageError("%d disks: a machine has at most %d", len(p.list), maxDisks)
	}
	return nil
}

// checkHost refuses disks that are not there, and those that two devices would write.
func (p *diskPart) checkHost() error {
	var seen []os.FileInfo
	for _, d := range p.list {
		info, err := os.Stat(d.Path)
		switch {
		case errors.Is(err, os.ErrNotExist):
			return fmt.Errorf("--disk: %w; truncate -s 1G %s makes an empty disk", err, d.Path)
		case err != nil:
			return fmt.Errorf("--disk: %w", err)
		case info.IsDir():
			return fmt.Errorf("--disk %s: a folder; a disk is a file or a block device", d.Path)
		}
		for i, other := range seen {
			if os.SameFile(info, other) && !(d.ReadOnly && p.list[i].ReadOnly) {
				return cli.UsageError("--disk %s: given twice, and not read-only each time", d.Path)
			}
		}
		seen = append(seen, info)
	}
	return nil
}

func (p *diskPart) argv() (argv []string) {
	for _, d := range p.list {
		argv = append(argv, "--disk", d.Path+d.options)
	}
	return argv
}

func (p *diskPart) prepareLab(cfg *lab.Config) error {
	for _, d := range p.list {
		cfg.Disks = append(cfg.Disks, d.Disk)
	}
	return nil
}

func (p *diskPart) build(_ context.Context, b *builder) error {
	for i, d := range p.list {
		file, device, err := d.open(i, b.cfg.CPUs, b.cfg.Log)
		if err != nil {
			return err
		}
		b.attach(diskName(i), device, file, diskSource(diskName(i), d.Path, device))
	}
	return nil
}

// diskName is the name of a machine's disk number i, in messages and for usui unplug. The guest knows it as virtio-usui-i.
func diskName(i int) string { return fmt.Sprintf("disk%d", i) }

// diskSource are the counters of a disk.
func diskSource(name, path string, d *blk.Blk) source {
	return source{Kind: "blk", Name: name, Detail: path, stats: func() any { return d.Stats() }}
}

// open makes the device of disk number i.
func (d *disk) open(i, cpus int, log *slog.Logger) (file *block.File, device *blk.Blk, err error) {
	limits, err := newLimit(d.iops, d.bytes)
	if err != nil {
		return nil, nil, err
	}
	if file, err = block.OpenFile(d.Path, block.Options{ReadOnly: d.ReadOnly}); err != nil {
		return nil, nil, err
	}
	device, err = blk.New(blk.Config{
		Backend: file, ID: fmt.Sprintf("usui-%d", i), Queues: cmp.Or(d.queues, min(cpus, blk.MaxQueues)), Limit: limits, Log: log,
	})
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("disk %s: %w", d.Path, err), file.Close())
	}
	return file, device, nil
}
