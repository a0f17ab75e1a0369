package main

import (
	"fmt"
	"strings"
)

// Names of the monitors, as the report has them.
const (
	usui    = "usui"
	microvm = "QEMU microvm"
	withRTC = "QEMU microvm, RTC"
	gokvm   = "gokvm"

	// The same, with vhost-net behind their network cards.
	usuiVhost = "usui, vhost"
	qemuVhost = "QEMU microvm, RTC, vhost"
)

// The machine that every monitor gives its guest.
const (
	guestMemoryMiB = 512
	guestCPUs      = "1"
)

// commonCmdline is on every guest's kernel command line.
const commonCmdline = "console=ttyS0 quiet panic=-1"

// gokvmWords are added for gokvm, which has neither ACPI tables nor a clock for its guest: without them this kernel stops while it
// looks for an interrupt controller. They are the ones among gokvm's own defaults that are not about logging, but for the rate of the
// processor's clock: gokvm's is wrong (2 MHz) and "notsc" covers it; boots with these two are no faster, and some never end. mhz is
// the rate as /proc/cpuinfo has it.
func gokvmWords(mhz string) string {
	whole, fraction, _ := strings.Cut(mhz, ".")
	return "noapic noacpi lapic tsc_early_khz=" + whole + fraction + " pci=realloc=off"
}

// system is what a monitor boots.
type system struct {
	kernel, initrd string
	words          string // added to the command line
	disks          []disk
	tap            string // behind a network card; empty: no card
	vhost          bool   // the kernel serves it
}

// disk is a raw file, attached read-only so that several devices can share it.
type disk struct {
	path string
	name string // the serial number that the guest reads; for QEMU a variant
}

// monitor is one of those compared.
type monitor struct {
	name string
	// argv is its command line for a system.
	argv func(s system) []string
	// events says that its output is usui's JSON events.
	events bool
}

func usuiMonitor(program string, extra ...string) monitor {
	return monitor{name: usui, events: len(extra) > 0, argv: func(s system) []string {
		args := append([]string{program, "run", "--no-lab"}, extra...)
		args = append(args, "--cpus", guestCPUs, "--memory", fmt.Sprintf("%dM", guestMemoryMiB),
			"--kernel", s.kernel, "--initrd", s.initrd, "--cmdline", commonCmdline+" "+s.words)
		for _, d := range s.disks {
			args = append(args, "--disk", d.path+",ro")
		}
		switch {
		case s.tap != "" && s.vhost:
			args = append(args, "--net", "tap="+s.tap+",vhost")
		case s.tap != "":
			args = append(args, "--net", "tap="+s.tap)
		}
		return args
	}}
}

// qemuMonitor is QEMU's microvm, name says which. One is without all that it can do without, as its documentation
// (docs/system/i386/microvm.rst) advises. The other keeps its real-time clock: where there is none, a kernel that is not told so
// looks for it for long.
func qemuMonitor(program, name string) monitor {
	machine := "microvm,pit=off,pic=off,rtc=off,x-option-roms=off,isa-serial=on"
	if name == withRTC || name == qemuVhost {
		machine = "microvm,pit=off,pic=off,rtc=on,x-option-roms=off,isa-serial=on"
	}
	return monitor{name: name, argv: func(s system) []string {
		args := []string{
			program, "-M", machine, "-accel", "kvm", "-cpu", "host",
			"-smp", guestCPUs, "-m", fmt.Sprintf("%dM", guestMemoryMiB), "-nodefaults", "-no-user-config", "-nographic", "-no-reboot",
			"-global", "virtio-mmio.force-legacy=false", "-serial", "stdio",
			"-kernel", s.kernel, "-initrd", s.initrd, "-append", commonCmdline + " " + s.words,
		}
		for i, d := range s.disks {
			aio, thread, _ := strings.Cut(d.name, "+")
			device := fmt.Sprintf("virtio-blk-device,drive=d%d,serial=%s", i, d.name)
			if thread != "" {
				args = append(args, "-object", fmt.Sprintf("iothread,id=t%d", i))
				device += fmt.Sprintf(",iothread=t%d", i)
			}
			args = append(args, "-drive", fmt.Sprintf("if=none,id=d%d,format=raw,readonly=on,aio=%s,file=%s", i, aio, d.path), "-device", device)
		}
		if s.tap != "" {
			vhost := "off"
			if s.vhost {
				vhost = "on"
			}
			args = append(args, "-netdev", "tap,id=n,ifname="+s.tap+",script=no,downscript=no,vhost="+vhost, "-device", "virtio-net-device,netdev=n")
		}
		return args
	}}
}

// qemuVariants are the ways in which QEMU can serve a disk through the page cache, as usui does.
func qemuVariants() []string {
	return []string{"threads", "io_uring", "threads+iothread", "io_uring+iothread"}
}

// gokvmMonitor gives its guest words of its own.
func gokvmMonitor(program, words string) monitor {
	return monitor{name: gokvm, argv: func(s system) []string {
		return []string{
			program, "boot", "-c", guestCPUs, "-m", fmt.Sprintf("%dM", guestMemoryMiB), "-k", s.kernel, "-i", s.initrd,
			"-p", strings.TrimSpace(commonCmdline + " " + words + " " + s.words),
		}
	}}
}
