package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"

	"usui/internal/attach"
	"usui/internal/cli"
	"usui/internal/lab"
)

var labCommand = cli.Command{
	Name:  "lab",
	Usage: "[flags] [-- command [argument...]]",
	Short: "run a command on virtual bare metal: KVM, IOMMU, real devices",
	Long: `Boots a Debian kernel on a computer that QEMU emulates, processor and all, and runs a command there; without one, a
shell. The command finds this host's files, read-only, its own environment and working directory, an empty /tmp, and a
/dev/kvm with nested paging. Streams and exit status are the command's. It needs no hardware and takes about ten seconds.

  usui lab -- ls -l /dev/kvm
  usui lab --all-devices -- lspci
  usui lab --disk d.img -- mkfs.ext4 d.img       a disk is writable, at the path of its file
  usui lab --results out -- sh -c 'dmesg >$USUI_RESULTS/dmesg'
  go test -exec 'usui lab --' ./machine/kvm      a test binary of one package, by hand

Inside, USUI_LAB lists the features of the machine. What the command line or the environment names in /tmp is visible, and
changes to it are lost.
The first interrupt goes to the command, the second ends the lab; on a terminal, ^] three times ends it whatever it does.`,
	Setup: func(f *flag.FlagSet) cli.Run {
		var o labOptions
		f.IntVar(&o.CPUs, "cpus", 2, "`number` of CPUs")
		f.Func("memory", "`size` of the memory, with K, M, G or T; 4G where the host has twice that", o.setMemory)
		f.Func("disk", "attach `file[,ro]`, a raw image or a block device, as a virtio disk at its own path; may be repeated", o.addDisk)
		f.Func("nvme", "attach the image `file` to an NVMe controller; may be repeated", appendTo(&o.NVMe))
		f.Func("ahci", "attach the image `file` to an AHCI controller; may be repeated", appendTo(&o.AHCI))
		f.Func("nvdimm", "attach the image `file` as persistent memory; may be repeated", appendTo(&o.NVDIMM))
		f.BoolVar(&o.E1000E, "e1000e", false, "add an Intel network card, connected to nothing")
		f.BoolVar(&o.IOMMU, "iommu", false, "add an IOMMU, for VFIO")
		f.BoolVar(&o.Scratch, "all-devices", false, "add all of these, with empty disks where no file is given")
		f.StringVar(&o.Kernel, "kernel", "6.12", "`kind` of the Debian kernel: generic, or a series such as 6.12")
		f.StringVar(&o.Arch, "arch", "amd64", "`architecture`: amd64 or arm64")
		f.StringVar(&o.Results, "results", "", "`folder` of the host that is writable inside, at $USUI_RESULTS")
		f.DurationVar(&o.Timeout, "timeout", 0, "end a lab that takes longer than this `time`, as in 90s; 0 for none")
		f.BoolVar(&o.Update, "update", false, "fetch the newest kernel of its kind first")
		f.BoolVar(&o.verbose, "verbose", false, "print the phases of the boot and the machine's console on stderr")
		return func(ctx context.Context, env *cli.Env, args []string) error {
			if o.args = args; o.CPUs == 0 {
				return cli.UsageError("--cpus 0: a lab has at least 1") // 0 is the default in a lab.Config
			}
			return o.run(ctx, env)
		}
	},
}

// labOptions is one call of "usui lab".
type labOptions struct {
	lab.Config
	verbose bool
	args    []string
}

// setMemory parses a size.
func (o *labOptions) setMemory(text string) error {
	var size sizeValue
	if err := size.Set(text); err != nil {
		return err
	}
	if o.MemoryBytes = int64(size); size == 0 {
		return errors.New("a lab needs some, as in 2G")
	}
	return nil
}

// addDisk adds a disk of the command line.
func (o *labOptions) addDisk(text string) error {
	d, err := parseDisk(text)
	o.Disks = append(o.Disks, d)
	return err
}

// appendTo collects the values of a flag that may be repeated.
func appendTo(list *[]string) func(string) error {
	return func(path string) error {
		if path == "" {
			return errors.New("the name of a file is missing")
		}
		*list = append(*list, path)
		return nil
	}
}

// run runs the command, or a shell, and ends with its status.
func (o *labOptions) run(ctx context.Context, env *cli.Env) error {
	cfg := o.Config
	cfg.Progress = env.Stderr
	if o.verbose {
		cfg.Verbose = env.Stderr
	}
	cmd := lab.Command{Argv: o.args}
	if len(cmd.Argv) == 0 {
		cmd.Argv = []string{labShell(cfg.Arch)}
	}
	return runInLab(ctx, env, cfg, cmd)
}

// labShell is the user's shell, where the lab can run it.
func labShell(arch string) string {
	if shell := os.Getenv("SHELL"); shell != "" && arch == lab.HostArch {
		return shell
	}
	return "sh"
}

// runInLab runs cmd in a lab on the streams of env, with a terminal if there is one, and ends with its status.
func runInLab(ctx context.Context, env *cli.Env, cfg lab.Config, cmd lab.Command) error {
	// The first interrupt is for the command inside: it must not end the lab by way of ctx.
	ctx, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stop(nil)
	stdio := attach.Stdio{Stdin: env.Stdin, Stdout: env.Stdout, Stderr: env.Stderr}
	signals, end := forwardInterrupts(func(sig os.Signal) { stop(interrupted{sig}) })
	defer end()
	stdio.Signals = signals
	if isTerminal(env) {
		t := newUserTerminal(env, stop)
		defer t.close()
		t.attach(&cmd.Rows, &cmd.Cols, &stdio)
		cmd.TTY = true
	}
	status, err := lab.Run(ctx, cfg, cmd, stdio)
	var wrong lab.ConfigError
	if errors.As(err, &wrong) {
		return cli.UsageError("%s", wrong)
	}
	var (
		failure *lab.Error
		ended   interrupted
	)
	if errors.As(err, &ended) {
		return ended.status()
	}
	if errors.As(err, &failure) && failure.Console != "" {
		fmt.Fprintf(env.Stderr, "last lines of the lab's console:\n%s\n", failure.Console)
	}
	switch {
	case err != nil:
		return err
	case status != 0:
		return cli.ExitStatus(status)
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
