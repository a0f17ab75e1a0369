package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

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
The first interrupt goes to the command, the second ends the lab.`,
	Setup: func(f *flag.FlagSet) cli.Run {
		var o labOptions
		f.IntVar(&o.CPUs, "cpus", 2, "`number` of CPUs")
		f.Func("memory", "`size` of the memory, with K, M or G; 4G where the host has twice that", o.setMemory)
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

// addDisk parses file[,ro].
func (o *labOptions) addDisk(text string) error {
	path, option, found := strings.Cut(text, ",")
	if path == "" || found && option != "ro" {
		return fmt.Errorf("%q is no disk: write FILE or FILE,ro", text)
	}
	o.Disks = append(o.Disks, lab.Disk{Path: path, ReadOnly: found})
	return nil
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
	signals, end := forwardInterrupts(func() { stop(errInterrupted) })
	defer end()
	stdio.Signals = signals
	if isTerminal(env) {
		t := &labTerminal{env: env, sizes: make(chan attach.Winsize), ended: make(chan struct{})}
		defer t.close()
		size := (&terminal{fd: int(env.Stdin.(*os.File).Fd())}).size()
		cmd.TTY, cmd.Rows, cmd.Cols = true, size.Rows, size.Cols
		stdio.Winsize = t.sizes
		stdio.OnStarted = func(int) { stopOnError(stop, t.open()) }
	}
	status, err := lab.Run(ctx, cfg, cmd, stdio)
	var wrong lab.ConfigError
	if errors.As(err, &wrong) {
		return cli.UsageError("%s", wrong)
	}
	var failure *lab.Error
	if errors.As(err, &failure) && failure.Console != "" && !errors.Is(err, errInterrupted) {
		fmt.Fprintf(env.Stderr, "last lines of the lab's console:\n%s\n", failure.Console)
	}
	switch {
	case errors.Is(err, errInterrupted):
		return cli.ExitStatus(128 + int(syscall.SIGINT))
	case err != nil:
		return err
	case status != 0:
		return cli.ExitStatus(status)
	}
	return nil
}

// labTerminal is the user's terminal. It becomes raw when the command inside starts: until then ^C is for us.
type labTerminal struct {
	env   *cli.Env
	raw   *terminal // nil before open
	sizes chan attach.Winsize
	ended chan struct{}
}

// open makes the terminal raw and begins to pass on its sizes.
func (t *labTerminal) open() (err error) {
	if t.raw, err = openTerminal(t.env); err != nil {
		return err
	}
	go func() { // ended by close
		for size := t.raw.size(); ; { // the first one may have changed while the lab booted
			select {
			case t.sizes <- size:
			case <-t.ended:
				return
			}
			select {
			case size = <-t.raw.sizes:
			case <-t.ended:
				return
			}
		}
	}()
	return nil
}

// close gives the terminal back as it was.
func (t *labTerminal) close() {
	close(t.ended)
	if t.raw != nil {
		t.raw.close()
	}
}

func stopOnError(stop context.CancelCauseFunc, err error) {
	if err != nil {
		stop(err)
	}
}

var errInterrupted = errors.New("interrupted twice")

// forwardInterrupts returns a channel with the signals that are meant for the command inside. At the second interrupt or
// termination it calls stop. end gives the signals back.
func forwardInterrupts(stop func()) (forward <-chan os.Signal, end func()) {
	caught, out, ended := make(chan os.Signal, 4), make(chan os.Signal, 4), make(chan struct{})
	for _, sig := range []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT} {
		if !signal.Ignored(sig) {
			signal.Notify(caught, sig)
		}
	}
	go func() { // ended by end
		for asked := 0; ; {
			select {
			case sig := <-caught:
				if asked++; asked > 1 {
					stop()
				}
				select {
				case out <- sig:
				default: // a command that takes no signals needs no fifth
				}
			case <-ended:
				return
			}
		}
	}()
	return out, func() {
		signal.Stop(caught)
		close(ended)
	}
}
