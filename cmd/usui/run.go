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
	"usui/internal/physmem"
	"usui/machine/vmm"
)

// Exit statuses of "usui run" for machines that end otherwise than by power-off or with a command's own status. They lie where
// programs rarely have theirs.
const (
	statusReset       cli.ExitStatus = 120
	statusPanic       cli.ExitStatus = 121
	statusTripleFault cli.ExitStatus = 122
)

var runCommand = cli.Command{
	Name:  "run",
	Usage: "[flags] [-- command [argument...]]",
	Short: "boot a Linux kernel in a thin virtual machine",
	Long: `Boots a virtual machine. Without --kernel and --initrd it is the default guest: a stock Debian cloud kernel and
a small initramfs, fetched and built on first use.

  usui run                          a shell in the default guest; without a terminal, a short tour of the machine
  usui run -- uname -a              one command: its streams and its exit status are the command's
  usui run --disk d.img -- sh -c 'mount /dev/vda /mnt && ls /mnt'
  usui run --kernel vmlinuz --initrd initrd.img --disk root.img --cmdline 'console=ttyS0 root=/dev/vda1'

With --kernel or --initrd the machine's serial port COM1 is on the standard streams and nothing of ours runs inside.

Where /dev/kvm cannot run a stock kernel, the machine runs inside the lab, an emulated computer that can ("usui help lab").
"usui doctor" says what this host can do.

The first interrupt goes to the command in the guest, the second ends the machine; with --kernel or --initrd the first ends it, and a
termination presses its power button. On a terminal, ^] three times ends the machine whatever it does.

Exit status: that of the command; 120 after a reset, 121 after a kernel panic, 122 after a triple fault; 2 for a wrong call, 1 for the
rest, such as a guest that powered off before its command ended. With --kernel or --initrd a power-off is 0.`,
	Setup: func(f *flag.FlagSet) cli.Run {
		o := runOptions{memory: 512 << 20}
		f.IntVar(&o.cpus, "cpus", 1, "`number` of virtual CPUs")
		f.Var(&o.memory, "memory", "`size` of the guest's memory, with K, M, G or T")
		f.StringVar(&o.kernel, "kernel", "", "boot the kernel in `file`: bzImage, vmlinux, or an ELF image with a PVH entry")
		f.StringVar(&o.initrd, "initrd", "", "give the kernel the initial RAM disk in `file`")
		f.StringVar(&o.cmdline, "cmdline", "", "the kernel's command line; with the default guest, `words` added to it")
		f.Func("disk", "attach the raw image or block device `file[,ro]` as a virtio disk; may be repeated", o.addDisk)
		f.StringVar(&o.guest, "guest", "cloud", "`kind` of the default guest's Debian kernel: cloud or generic")
		f.BoolVar(&o.json, "json", false, "print events, and what the guest writes, as JSON lines on stdout")
		f.BoolVar(&o.prepare, "prepare", false, "fetch and build the default guest, and stop: for a host that will be offline")
		f.BoolVar(&o.noLab, "no-lab", false, "refuse to go on inside the lab where /dev/kvm cannot run a stock kernel")
		return func(ctx context.Context, env *cli.Env, args []string) error {
			o.args = args
			if err := o.check(); err != nil {
				return err
			}
			return o.run(ctx, env)
		}
	},
}

// runOptions is one call of "usui run".
type runOptions struct {
	cpus    int
	memory  sizeValue
	kernel  string
	initrd  string
	cmdline string
	disks   []lab.Disk
	guest   string
	json    bool
	noLab   bool
	prepare bool
	args    []string // the command in the guest; empty for a shell or the tour
	init    string   // path of usui-init for tests, which have none beside them
	again   bool     // the first boot ended before the guest's init ran
}

// addDisk adds a disk of the command line.
func (o *runOptions) addDisk(text string) error {
	d, err := parseDisk(text)
	o.disks = append(o.disks, d)
	return err
}

// parseDisk parses file[,ro]. The name of a file that is there may hold commas.
func parseDisk(text string) (lab.Disk, error) {
	path, readOnly := strings.CutSuffix(text, ",ro")
	if _, err := os.Stat(path); path == "" || err != nil && strings.Contains(path, ",") {
		return lab.Disk{}, fmt.Errorf("%q is no disk: write FILE or FILE,ro", text)
	}
	return lab.Disk{Path: path, ReadOnly: readOnly}, nil
}

// check refuses calls that make no sense on any host.
func (o *runOptions) check() error {
	switch {
	case o.cpus < 1 || o.cpus > vmm.MaxCPUs:
		return cli.UsageError("--cpus %d: a machine has 1 to %d", o.cpus, vmm.MaxCPUs)
	case o.memory < 32<<20:
		return cli.UsageError("--memory %s: a Linux kernel needs at least 32M", &o.memory)
	case o.memory%4096 != 0:
		return cli.UsageError("--memory %s: must be a multiple of 4K", &o.memory)
	case len(o.disks) > maxDisks:
		return cli.UsageError("%d disks: a machine has at most %d", len(o.disks), maxDisks)
	case o.ownSystem() && len(o.args) > 0:
		return cli.UsageError("command %q: with --kernel or --initrd nothing of usui runs in the guest that could start it; put it into --cmdline or leave --kernel and --initrd out", o.args[0])
	case o.prepare && (o.kernel != "" || len(o.args) > 0):
		return cli.UsageError("--prepare: fetches the default guest and runs nothing; leave --kernel and the command out")
	case o.guest != "cloud" && o.guest != "generic":
		return cli.UsageError("--guest %q: must be cloud or generic", o.guest)
	}
	return nil
}

// maxDisks leaves slots of the one PCI bus for the console and the random number generator.
const maxDisks = 24

// ownSystem says that the user brought the system to boot, so that nothing of ours runs in it.
func (o *runOptions) ownSystem() bool { return o.kernel != "" || o.initrd != "" }

// run chooses where the machine runs.
func (o *runOptions) run(ctx context.Context, env *cli.Env) error {
	if err := o.checkHost(); err != nil {
		return err
	}
	if o.prepare {
		return o.fetch(ctx, env)
	}
	ev := newEvents(env, o.json)
	state := kvmState()
	if state.Usable() {
		return o.here(ctx, env, ev)
	}
	if o.noLab {
		return fmt.Errorf("%s; --no-lab forbids to go on inside the lab", state.Reason)
	}
	ev.note("lab", state.Reason+": going on inside the lab")
	return o.inLab(ctx, env)
}

// checkHost refuses what this host cannot give, before anything is fetched or started.
func (o *runOptions) checkHost() error {
	if total, err := physmem.Total(); err == nil && uint64(o.memory) > uint64(total) {
		return fmt.Errorf("--memory %s: this host has %d MiB", &o.memory, total>>20)
	}
	for flag, path := range map[string]string{"--kernel": o.kernel, "--initrd": o.initrd} {
		if path == "" {
			continue
		}
		info, err := os.Stat(path)
		if err != nil {
			return fmt.Errorf("%s: %w; name a file that is there, or leave it out for the default guest's", flag, err)
		}
		if !info.Mode().IsRegular() {
			return fmt.Errorf("%s %s: not a regular file", flag, path)
		}
	}
	return o.checkDisks()
}

// checkDisks refuses disks that are not there, and those that two devices would write.
func (o *runOptions) checkDisks() error {
	var seen []os.FileInfo
	for _, d := range o.disks {
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
			if os.SameFile(info, other) && !(d.ReadOnly && o.disks[i].ReadOnly) {
				return cli.UsageError("--disk %s: given twice, and not read-only each time", d.Path)
			}
		}
		seen = append(seen, info)
	}
	return nil
}

// outcome turns the end of a machine into the command's result.
func outcome(cause vmm.Cause, err error, console *lastWords) error {
	if err != nil {
		console.show()
		return err
	}
	switch cause {
	case vmm.PowerOff:
		return nil
	case vmm.Reset:
		return statusReset
	case vmm.Panic:
		console.show()
		return statusPanic
	case vmm.TripleFault:
		console.show()
		return statusTripleFault
	}
	return errors.New("the machine ended for no known cause")
}
