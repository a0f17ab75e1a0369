package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"

	"usui/internal/cli"
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
  usui run --share src --share /usr,ro -- ls /share/src /share/usr
  usui run --net user --publish 8080:80 -- httpd -f -h /
  usui run --net tap=t0 -- sh -c 'ip addr add 10.0.0.2/24 dev eth0; ip link set eth0 up; ping -c 1 10.0.0.1'
  usui run --kernel vmlinuz --initrd initrd.img --disk root.img --cmdline 'console=ttyS0 root=/dev/vda1'

With --kernel or --initrd the machine's serial port COM1 is on the standard streams and nothing of ours runs inside: mount a
shared folder by its tag, which is its own name unless PATH:TAG gives another one: mount -t virtiofs src /mnt

--net user is a network that needs no privilege: TCP and UDP over IPv4 to wherever this host gets to, names by its resolvers, and ports
of the host that lead into the guest by --publish. The guest is 10.0.2.15 (the default guest has that; others ask DHCP) and this host is
10.0.2.2, also by the name host.usui.internal. What listens on this host's loopback trusts its own programs, and through 10.0.2.2 the
guest is one of them: --net user,noloopback forbids that, and --net user,restrict everything but --publish. Words beside these are
subnet=CIDR (10.0.2.0/24), mtu=BYTES (1500), mac=MAC and queues=N.

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
		for _, p := range o.parts() {
			p.flags(f)
		}
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
	live    livePart
	huge    hugePagesPart
	balloon balloonPart
	disks   diskPart
	shares  sharePart
	nets    netPart
	vsock   vsockPart
	guest   string
	json    bool
	noLab   bool
	prepare bool
	args    []string // the command in the guest; empty for a shell or the tour
	init    string   // path of usui-init for tests, which have none beside them
	again   bool     // the first boot ended before the guest's init ran
}

// leastMemory is what a Linux kernel needs to start.
const leastMemory = 32 << 20

// check refuses calls that make no sense on any host.
func (o *runOptions) check() error {
	switch {
	case o.cpus < 1 || o.cpus > vmm.MaxCPUs:
		return cli.UsageError("--cpus %d: a machine has 1 to %d", o.cpus, vmm.MaxCPUs)
	case o.memory < leastMemory:
		return cli.UsageError("--memory %s: a Linux kernel needs at least 32M", &o.memory)
	case o.memory%4096 != 0:
		return cli.UsageError("--memory %s: must be a multiple of 4K", &o.memory)
	case o.ownSystem() && len(o.args) > 0:
		return cli.UsageError("command %q: with --kernel or --initrd nothing of usui runs in the guest that could start it; put it into --cmdline or leave --kernel and --initrd out", o.args[0])
	case o.prepare && (o.kernel != "" || len(o.args) > 0):
		return cli.UsageError("--prepare: fetches the default guest and runs nothing; leave --kernel and the command out")
	case o.guest != "cloud" && o.guest != "generic":
		return cli.UsageError("--guest %q: must be cloud or generic", o.guest)
	}
	for _, p := range o.parts() {
		if err := p.check(); err != nil {
			return err
		}
	}
	if err := o.huge.checkMemory(o.memory); err != nil {
		return err
	}
	return o.balloon.checkMemory(o.memory)
}

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
	for _, p := range o.parts() {
		if err := p.checkHost(); err != nil {
			return err
		}
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
