package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"usui/internal/attach"
	"usui/internal/cli"
	"usui/internal/guestimage"
	"usui/internal/lab"
	"usui/internal/tail"
	"usui/machine/virtio/console"
	"usui/machine/virtio/rng"
	"usui/machine/vmm"
)

// heapPercent keeps the monitor's heap small: it is idle most of the time, so collecting often costs little (see RATIONALE).
const heapPercent = 20

// here runs the machine in this process.
func (o *runOptions) here(ctx context.Context, env *cli.Env, ev *events) (err error) {
	debug.SetGCPercent(heapPercent)
	// A vCPU in the guest, or a card that waits for frames, must not keep a device's goroutine from running.
	runtime.GOMAXPROCS(runtime.NumCPU() + o.cpus + o.nets.waiters())
	// Without this Go ends the process when the reader of its standard output goes away, and the guest with it, disks and all.
	broken := make(chan os.Signal, 1)
	signal.Notify(broken, unix.SIGPIPE)
	defer signal.Stop(broken)
	err = o.once(ctx, env, ev)
	if errors.Is(err, errBeforeInit) {
		ev.note("again", "the guest ended by a triple fault before its init ran, as the lab's processor has it now and then: once more")
		o.again = true
		err = o.once(ctx, env, ev)
	}
	return err
}

// errBeforeInit says that a guest in a lab faulted before it did anything that a second boot would repeat.
var errBeforeInit = errors.New("the guest ended before its init ran")

// once builds the machine and runs it to its end.
func (o *runOptions) once(ctx context.Context, env *cli.Env, ev *events) (err error) {
	var res resources
	defer func() { err = errors.Join(err, res.close()) }()
	b, err := o.machineConfig(ctx, env, ev, &res)
	if err != nil {
		return err
	}
	if o.ownSystem() {
		return o.serialSession(ctx, b)
	}
	return o.commandSession(ctx, b)
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

// machineConfig opens the kernel, the initial RAM disk and what the devices need.
func (o *runOptions) machineConfig(ctx context.Context, env *cli.Env, ev *events, res *resources) (b *builder, err error) {
	log := slog.New(slog.NewTextHandler(env.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	cfg := &vmm.Config{CPUs: o.cpus, Memory: uint64(o.memory), Cmdline: o.cmdline, Log: log}
	b = &builder{cfg: cfg, res: res, env: env, ev: ev}
	kernel, initrd := o.kernel, o.initrd
	if kernel == "" {
		image, err := guestimage.Default(ctx, guestimage.Options{Kernel: o.guest, Init: o.init, Progress: env.Stderr})
		if err != nil {
			return nil, fmt.Errorf("default guest: %w", err)
		}
		if kernel = image.Kernel; initrd == "" {
			initrd = image.Initrd
		}
	}
	switch {
	case !o.ownSystem():
		cfg.Cmdline = defaultCmdline + " " + o.cmdline
	case o.cmdline == "":
		cfg.Cmdline = ownCmdline
	}
	if cfg.Kernel, err = openInto(res, kernel); err != nil {
		return nil, err
	}
	if initrd != "" {
		if cfg.Initrd, err = openInto(res, initrd); err != nil {
			return nil, err
		}
	}
	for _, p := range o.parts() {
		if err := p.build(ctx, b); err != nil {
			return nil, err
		}
	}
	random := rng.New()
	b.attach("rng", random, nil, source{Kind: "rng", Name: "rng", stats: func() any { return random.Stats() }})
	if n := len(cfg.Virtio); n > maxDevices {
		return nil, fmt.Errorf("%d devices: a machine has at most %d", n, maxDevices)
	}
	return b, nil
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
func (o *runOptions) serialSession(ctx context.Context, b *builder) (err error) {
	env, ev := b.env, b.ev
	run, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stop(nil)
	out := &serialOut{out: ev.stream("serial", env.Stdout), broken: make(chan struct{})}
	said := &lastWords{tail.New(consoleBytes, out), io.Discard} // the user has seen them
	b.cfg.Serial = said
	m, err := start(run, *b.cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	unpublish, err := o.publish(b, m)
	if err != nil {
		return err
	}
	defer unpublish()
	signals, giveBack := forwardInterrupts(func(sig os.Signal) { stop(interrupted{sig}) })
	defer giveBack()
	in := env.Stdin
	if isTerminal(env) && !o.json {
		t := newUserTerminal(env, stop)
		defer t.close()
		if err := t.open(); err != nil {
			return err
		}
		in = t.input()
	}
	ended := make(chan struct{})
	defer close(ended)
	go shutDown(m, ev, signals, out.broken, ended, stop)
	go feedSerial(m, in) // ends with the input or with the machine; a read that blocks ends with the process
	// Output that nobody reads is noticed by serialOut.
	_ = ev.emit(event{Event: "boot", Boot: monitorPhases(m)})
	cause, err := m.Run(run)
	cause = said.cause(cause)
	ev.ended(cause, err)
	var by interrupted
	if errors.As(err, &by) {
		return by.status()
	}
	return outcome(cause, err, said)
}

// serialOut is the output of a serial port. broken is closed when nobody reads it any more.
type serialOut struct {
	out    io.Writer
	broken chan struct{}
	failed bool
}

// Write implements io.Writer.
func (o *serialOut) Write(p []byte) (int, error) {
	n, err := o.out.Write(p)
	if err != nil && !o.failed {
		o.failed = true
		close(o.broken)
	}
	return n, err
}

// shutdownTime is what a guest gets to shut down after its power button was pressed.
const shutdownTime = 20 * time.Second

// shutDown waits for the user's wish to end the machine, until ended is closed: an interrupt ends it at once, another signal or an output
// that lost its reader presses the power button first.
func shutDown(m *vmm.Machine, ev *events, signals <-chan os.Signal, broken, ended <-chan struct{}, stop context.CancelCauseFunc) {
	why := interrupted{unix.SIGPIPE}
	select {
	case why.signal = <-signals:
	case <-broken:
	case <-ended:
		return
	}
	if why.signal == unix.SIGINT {
		stop(why)
		return
	}
	m.PowerButton()
	ev.note("button", fmt.Sprintf("power button pressed; the machine ends in %v if the guest does not", shutdownTime))
	patience := time.NewTimer(shutdownTime)
	defer patience.Stop()
	select {
	case <-patience.C:
		stop(why)
	case <-ended:
	}
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
func (o *runOptions) commandSession(ctx context.Context, b *builder) (err error) {
	env, ev := b.env, b.ev
	kept := &lastWords{tail.New(consoleBytes, nil), env.Stderr}
	b.cfg.Serial = kept
	conns, device, err := guestPorts(b.cfg.Log)
	if err != nil {
		return err
	}
	defer conns.Close()
	b.attach("console", device, nil, portSources(device)...)
	m, err := start(ctx, *b.cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	unpublish, err := o.publish(b, m)
	if err != nil {
		return err
	}
	defer unpublish()

	s := &commandRun{options: o, env: env, events: ev, machine: m, entered: time.Now()}
	command, stdio := s.prepare()
	command.Steps = b.steps
	// The machine runs until the command has ended or it ends by itself; interrupts go to the command, so ctx must not end both.
	run, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stop(nil)
	signals, giveBack := forwardInterrupts(func(sig os.Signal) { stop(interrupted{sig}) })
	defer giveBack()
	stdio.Signals = signals
	endTerminal := func() {}
	if len(command.Argv) == 0 {
		t := newUserTerminal(env, stop)
		endTerminal = sync.OnceFunc(t.close)
		defer endTerminal()
		t.attach(&command.Rows, &command.Cols, &stdio)
		command.Argv, command.TTY = []string{"sh", "-l"}, true
	}
	var machine sync.WaitGroup
	var cause vmm.Cause
	var machineErr error
	machine.Go(func() { // ends with the guest or by stop
		cause, machineErr = m.Run(run)
		conns.Close()
	})
	status, err := attach.Run(run, conns, command, stdio)
	why := context.Cause(run) // before our own stop
	stop(nil)
	machine.Wait()
	endTerminal()
	ev.flush()
	if err != nil {
		return s.brokenOff(err, why, cause, machineErr, kept)
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

// portSources are a console's ports, to be watched.
func portSources(d *console.Console) (list []source) {
	for i, p := range d.Stats().Ports {
		list = append(list, source{Kind: "console", Name: p.Name, stats: func() any { return d.Stats().Ports[i] }})
	}
	return list
}

// commandRun is one command in the default guest.
type commandRun struct {
	options *runOptions
	env     *cli.Env
	events  *events
	machine *vmm.Machine
	entered time.Time // when the guest's first instruction ran
	up      bool      // the guest's init has said hello
	phases  bootPhases
}

// prepare decides what runs in the guest: the user's command, the tour, or with an empty Argv a shell on the terminal.
func (s *commandRun) prepare() (cmd attach.Command, stdio attach.Stdio) {
	cmd = attach.Command{Argv: s.options.args}
	stdio = attach.Stdio{
		Stdin: s.env.Stdin, Stdout: s.events.stream("stdout", s.env.Stdout), Stderr: s.events.stream("stderr", s.env.Stderr),
		OnHello: s.hello,
	}
	if term := os.Getenv("TERM"); term != "" {
		cmd.Env = append(cmd.Env, "TERM="+term)
	}
	if len(cmd.Argv) == 0 && s.tour() {
		cmd.Argv = []string{"sh", "-c", tourScript}
		stdio.Stdin = nil
	}
	return cmd, stdio
}

// tour says that nobody asked for a command and nobody is there for a shell.
func (s *commandRun) tour() bool {
	return len(s.options.args) == 0 && (s.options.json || !isTerminal(s.env))
}

// hello is called when the guest's init is ready: the boot is over.
func (s *commandRun) hello(h attach.Hello) {
	s.up = true
	up := time.Since(s.entered)
	s.phases = *monitorPhases(s.machine)
	s.phases.Init = h.Control - h.Init
	s.phases.Kernel = up - s.phases.Init
	// Output that nobody reads is noticed by the copying of the command's streams.
	_ = s.events.emit(event{Event: "boot", Boot: &s.phases, Kernel: h.Kernel, CPUs: h.CPUs, Memory: h.MemoryBytes})
	if s.tour() && !s.options.json {
		fmt.Fprintln(s.env.Stdout, "usui     a stock Linux kernel under a thin monitor")
		s.phases.print(s.env.Stdout)
	}
}

// brokenOff explains why there is no exit status: why is the cause of an end from outside, if there was one.
func (s *commandRun) brokenOff(err, why error, cause vmm.Cause, machineErr error, console *lastWords) error {
	var by interrupted
	if errors.As(why, &by) {
		s.events.ended(cause, by)
		return by.status()
	}
	if machineErr != nil && !errors.Is(machineErr, context.Canceled) {
		err = machineErr
	}
	cause = console.cause(cause)
	if cause == vmm.TripleFault && !s.up && !s.options.again && os.Getenv(lab.EnvFeatures) != "" {
		return errBeforeInit
	}
	if !errors.Is(err, attach.ErrEnded) {
		s.events.ended(cause, err)
		console.show()
		return err
	}
	s.events.ended(cause, nil)
	s.events.note("end", fmt.Sprintf("the guest ended by %s before the command did", cause))
	switch {
	case cause == vmm.PowerOff:
		return cli.ExitStatus(1)
	case cause == vmm.Reset && !s.up:
		console.show() // it says why
	}
	return outcome(cause, nil, console)
}
