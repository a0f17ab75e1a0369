package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"usui/internal/attach"
	"usui/internal/cli"
	"usui/internal/guestimage"
	"usui/machine/block"
	"usui/machine/virtio/blk"
	"usui/machine/virtio/console"
	"usui/machine/virtio/rng"
	"usui/machine/vmm"
)

// heapPercent keeps the monitor's heap small: it is idle most of the time, so collecting often costs little (see RATIONALE).
const heapPercent = 20

// here runs the machine in this process.
func (o *runOptions) here(ctx context.Context, env *cli.Env, ev *events) (err error) {
	debug.SetGCPercent(heapPercent)
	var res resources
	defer func() { err = errors.Join(err, res.close()) }()
	cfg, err := o.machineConfig(ctx, env, ev, &res)
	if err != nil {
		return err
	}
	if o.ownSystem() {
		return o.serialSession(ctx, env, ev, cfg)
	}
	return o.commandSession(ctx, env, ev, cfg)
}

// resources are what a machine's configuration holds open, closed in reverse order.
type resources []io.Closer

func (r *resources) add(c io.Closer) { *r = append(*r, c) }

func (r *resources) close() error {
	var errs []error
	for i := len(*r) - 1; i >= 0; i-- {
		if err := (*r)[i].Close(); err != nil && !errors.Is(err, os.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// machineConfig opens the kernel, the initial RAM disk and the disks.
func (o *runOptions) machineConfig(ctx context.Context, env *cli.Env, ev *events, res *resources) (cfg vmm.Config, err error) {
	log := slog.New(slog.NewTextHandler(env.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	cfg = vmm.Config{CPUs: o.cpus, Memory: uint64(o.memory), Cmdline: o.cmdline, Log: log}
	kernel, initrd := o.kernel, o.initrd
	if !o.ownSystem() {
		image, err := guestimage.Default(ctx, guestimage.Options{Kernel: o.guest, Init: o.init, Progress: env.Stderr})
		if err != nil {
			return cfg, fmt.Errorf("default guest: %w", err)
		}
		kernel, initrd = image.Kernel, image.Initrd
		cfg.Cmdline = defaultCmdline + " " + o.cmdline
	} else if o.cmdline == "" {
		cfg.Cmdline = ownCmdline
	}
	if cfg.Kernel, err = openInto(res, kernel); err != nil {
		return cfg, err
	}
	if initrd != "" {
		if cfg.Initrd, err = openInto(res, initrd); err != nil {
			return cfg, err
		}
	}
	for i, d := range o.disks {
		file, err := block.OpenFile(d.path, block.Options{ReadOnly: d.readOnly})
		if err != nil {
			return cfg, err
		}
		res.add(file)
		disk, err := blk.New(blk.Config{Backend: file, ID: fmt.Sprintf("usui-%d", i), Log: cfg.Log})
		if err != nil {
			return cfg, fmt.Errorf("disk %s: %w", d.path, err)
		}
		cfg.Virtio = append(cfg.Virtio, vmm.Virtio{Name: "disk " + d.path, Device: disk})
	}
	cfg.Virtio = append(cfg.Virtio, vmm.Virtio{Name: "rng", Device: rng.New()})
	return cfg, nil
}

// Kernel command lines. A panic ends the machine at once (panic=-1) instead of leaving it hanging.
const (
	defaultCmdline = "console=ttyS0 quiet panic=-1 cryptomgr.notests" // self tests of ciphers are a third of what the kernel does before init
	ownCmdline     = "console=ttyS0 panic=-1"
)

// openInto opens path for reading and hands it to res.
func openInto(res *resources, path string) (*os.File, error) {
	f, err := os.Open(path)
	if err == nil {
		res.add(f)
	}
	return f, err
}

// start builds the machine; what the build left on the heap is given back before the guest runs.
func start(ctx context.Context, cfg vmm.Config) (*vmm.Machine, error) {
	m, err := vmm.New(ctx, cfg)
	debug.FreeOSMemory()
	return m, err
}

// serialSession runs a system that the user brought, its serial port on the standard streams.
func (o *runOptions) serialSession(ctx context.Context, env *cli.Env, ev *events, cfg vmm.Config) (err error) {
	cfg.Serial = ev.stream("serial", env.Stdout)
	m, err := start(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	if isTerminal(env) {
		t, err := openTerminal(env)
		if err != nil {
			return err
		}
		defer t.close()
	}
	run, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stop(nil)
	defer context.AfterFunc(ctx, func() { shutDown(m, ev, context.Cause(ctx), stop) })()
	go feedSerial(m, env.Stdin) // ends with the input or with the machine; a read that blocks ends with the process
	// What nobody reads is noticed when the guest writes.
	_ = ev.emit(event{Event: "boot", Boot: monitorPhases(m)})
	cause, err := m.Run(run)
	ev.ended(cause, err)
	if err != nil && run.Err() != nil {
		return ctx.Err() // so that the exit status is the signal's
	}
	return outcome(cause, err, nil)
}

// shutdownTime is what a guest gets to shut down after its power button was pressed.
const shutdownTime = 20 * time.Second

// shutDown ends a machine that a signal asked to end: an interrupt at once, a termination by its power button first.
func shutDown(m *vmm.Machine, ev *events, why error, stop func(error)) {
	if cli.CaughtSignal(why) != unix.SIGTERM {
		stop(why)
		return
	}
	m.PowerButton()
	ev.note("button", fmt.Sprintf("power button pressed; the machine ends in %v if the guest does not", shutdownTime))
	time.AfterFunc(shutdownTime, func() { stop(why) })
}

// feedSerial copies the user's input to the guest's serial port.
func feedSerial(m *vmm.Machine, in io.Reader) {
	buf := make([]byte, 4096)
	for {
		n, err := in.Read(buf)
		if m.SerialInput(buf[:n]) != nil || err != nil {
			return
		}
	}
}

// monitorPhases are the phases of a boot that the monitor sees.
func monitorPhases(m *vmm.Machine) *bootPhases {
	p := m.Phases()
	return &bootPhases{Monitor: p.Built, Image: p.Ready - p.Built}
}

// commandSession runs one command, a shell or the tour in the default guest.
func (o *runOptions) commandSession(ctx context.Context, env *cli.Env, ev *events, cfg vmm.Config) (err error) {
	kept := &tail{end: env.Stderr}
	cfg.Serial = kept
	conns, device, err := guestPorts(cfg.Log)
	if err != nil {
		return err
	}
	defer conns.Close()
	cfg.Virtio = append(cfg.Virtio, vmm.Virtio{Name: "console", Device: device})
	m, err := start(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()

	s := &commandRun{options: o, env: env, events: ev, machine: m, entered: time.Now()}
	command, stdio, finish, err := s.prepare()
	if err != nil {
		return err
	}
	defer finish()

	// The machine runs until the command has ended or it ends by itself; interrupts go to the command, so ctx must not end both.
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	signals, giveBack := forwardInterrupts(stop)
	defer giveBack()
	stdio.Signals = signals
	var machine sync.WaitGroup
	var cause vmm.Cause
	var machineErr error
	machine.Go(func() { // ends with the guest or by stop
		cause, machineErr = m.Run(run)
		conns.Close()
	})
	status, err := attach.Run(run, conns, command, stdio)
	commandEnded := err == nil
	stop()
	machine.Wait()
	finish()
	if !commandEnded {
		return s.brokenOff(err, cause, machineErr, kept)
	}
	ev.exited(status)
	if status != 0 {
		return cli.ExitStatus(status)
	}
	return nil
}

// guestPorts makes the console device with the ports that the guest's init looks for, and our ends of them.
func guestPorts(log *slog.Logger) (attach.Conns, *console.Console, error) {
	var conns attach.Conns
	var ports []console.Port
	for name, ours := range map[string]*io.ReadWriteCloser{
		"usui.control": &conns.Control, "usui.stdin": &conns.Stdin, "usui.stdout": &conns.Stdout, "usui.stderr": &conns.Stderr,
	} {
		a, b := net.Pipe()
		*ours = a
		ports = append(ports, console.Port{Name: name, Conn: b})
	}
	device, err := console.New(console.Config{Ports: ports, Log: log})
	return conns, device, err
}

// commandRun is one command in the default guest.
type commandRun struct {
	options *runOptions
	env     *cli.Env
	events  *events
	machine *vmm.Machine
	entered time.Time // when the guest's first instruction ran
	phases  bootPhases
}

// prepare decides what runs in the guest. finish restores the terminal; it may be called twice.
func (s *commandRun) prepare() (cmd attach.Command, stdio attach.Stdio, finish func(), err error) {
	finish = func() {}
	cmd = attach.Command{Argv: s.options.args}
	stdio = attach.Stdio{
		Stdin: s.env.Stdin, Stdout: s.events.stream("stdout", s.env.Stdout), Stderr: s.events.stream("stderr", s.env.Stderr),
		OnHello: s.hello,
	}
	if term := os.Getenv("TERM"); term != "" {
		cmd.Env = append(cmd.Env, "TERM="+term)
	}
	if len(cmd.Argv) > 0 {
		return cmd, stdio, finish, nil
	}
	if !isTerminal(s.env) || s.options.json {
		cmd.Argv = []string{"sh", "-c", tourScript}
		stdio.Stdin = nil
		return cmd, stdio, finish, nil
	}
	t, err := openTerminal(s.env)
	if err != nil {
		return cmd, stdio, finish, err
	}
	size := t.size()
	cmd.Argv, cmd.TTY, cmd.Rows, cmd.Cols = []string{"sh", "-l"}, true, size.Rows, size.Cols
	stdio.Winsize = t.sizes
	return cmd, stdio, sync.OnceFunc(t.close), nil
}

// hello is called when the guest's init is ready: the boot is over.
func (s *commandRun) hello(h attach.Hello) {
	up := time.Since(s.entered)
	s.phases = *monitorPhases(s.machine)
	s.phases.Init = h.Control - h.Init
	s.phases.Kernel = up - s.phases.Init
	// Output that nobody reads is noticed by the copying of the command's streams.
	_ = s.events.emit(event{Event: "boot", Boot: &s.phases, Kernel: h.Kernel, CPUs: h.CPUs, Memory: h.MemoryBytes})
	if len(s.options.args) == 0 && s.events.out == nil && !isTerminal(s.env) {
		fmt.Fprintln(s.env.Stdout, "usui     a stock Linux kernel under a thin monitor")
		s.phases.print(s.env.Stdout)
	}
}

// brokenOff explains why there is no exit status.
func (s *commandRun) brokenOff(err error, cause vmm.Cause, machineErr error, console *tail) error {
	if machineErr != nil && !errors.Is(machineErr, context.Canceled) {
		err = machineErr
	}
	if !errors.Is(err, attach.ErrEnded) {
		s.events.ended(cause, err)
		console.show()
		return err
	}
	s.events.ended(cause, nil)
	s.events.note("end", fmt.Sprintf("the guest ended by %s before the command did", cause))
	if cause == vmm.PowerOff {
		console.show()
		return cli.ExitStatus(1)
	}
	return outcome(cause, nil, console)
}
