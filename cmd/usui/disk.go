package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"

	"usui/internal/cli"
	"usui/internal/lab"
	"usui/machine/block"
	"usui/machine/virtio/blk"
	"usui/machine/vmm"
)

// diskPart are a machine's disks.
type diskPart struct{ list []lab.Disk }

func (p *diskPart) flags(f *flag.FlagSet) {
	f.Func("disk", "attach the raw image or block device `file[,ro]` as a virtio disk; may be repeated", func(text string) error {
		d, err := parseDisk(text)
		p.list = append(p.list, d)
		return err
	})
}

// maxDisks is how many a user can want; the bus has room for a few other devices beside them.
const maxDisks = 24

func (p *diskPart) check() error {
	if len(p.list) > maxDisks {
		return cli.UsageError("%d disks: a machine has at most %d", len(p.list), maxDisks)
	}
	return nil
}

// parseDisk parses file[,ro]. The name of a file that is there may hold commas.
func parseDisk(text string) (lab.Disk, error) {
	path, readOnly := strings.CutSuffix(text, ",ro")
	if _, err := os.Stat(path); path == "" || err != nil && strings.Contains(path, ",") {
		return lab.Disk{}, fmt.Errorf("%q is no disk: write FILE or FILE,ro", text)
	}
	return lab.Disk{Path: path, ReadOnly: readOnly}, nil
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
		path := d.Path
		if d.ReadOnly {
			path += ",ro"
		}
		argv = append(argv, "--disk", path)
	}
	return argv
}

func (p *diskPart) prepareLab(cfg *lab.Config) error {
	cfg.Disks = append(cfg.Disks, p.list...)
	return nil
}

func (p *diskPart) build(_ context.Context, b *builder) error {
	for i, d := range p.list {
		file, err := block.OpenFile(d.Path, block.Options{ReadOnly: d.ReadOnly})
		if err != nil {
			return err
		}
		b.res.add(file)
		disk, err := blk.New(blk.Config{Backend: file, ID: fmt.Sprintf("usui-%d", i), Log: b.cfg.Log})
		if err != nil {
			return fmt.Errorf("disk %s: %w", d.Path, err)
		}
		b.add(vmm.Virtio{Name: "disk " + d.Path, Device: disk})
		b.count("blk", d.Path, func() any { return disk.Stats() })
	}
	return nil
}
