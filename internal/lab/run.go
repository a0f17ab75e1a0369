package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"usui/internal/attach"
	"usui/internal/debian"
	"usui/internal/guestimage"
)

// Environment variables that the lab sets for the command inside.
const (
	EnvFeatures = "USUI_LAB"     // the features, with commas between
	EnvResults  = "USUI_RESULTS" // the results folder inside, if there is one
)

// Command is what is to run inside.
type Command struct {
	Argv []string // the program is looked for in PATH, inside
	TTY  bool     // give it a terminal of this size
	Rows uint16
	Cols uint16
}

// ErrTimeout is wrapped by the error of [Run] when Config.Timeout was not enough.
var ErrTimeout = errors.New("time limit")

// Error is the error of a lab that was started and did not end with its command. It wraps [ErrTimeout], the cause of the context,
// or [attach.ErrEnded] when the machine ended by itself.
type Error struct {
	Err     error
	QEMU    string // QEMU's own words, a few lines; may be empty
	Console string // the last lines of the guest's serial port; may be empty
}

// Error leaves out the console.
func (e *Error) Error() string {
	if e.QEMU == "" {
		return e.Err.Error()
	}
	return e.Err.Error() + ": QEMU says: " + e.QEMU
}

// Unwrap returns e.Err.
func (e *Error) Unwrap() error { return e.Err }

// Run boots a lab, runs a command in it and returns the command's exit status as a shell's. It returns when QEMU is gone.
//
// An error means that there is no such status, and is an [*Error] if the machine was started.
func Run(ctx context.Context, cfg Config, cmd Command, stdio attach.Stdio) (int, error) {
	l := &boot{began: time.Now()}
	var err error
	if l.cfg, err = cfg.complete(); err != nil {
		return -1, err
	}
	defer func() { closeAll(l.scratch) }()
	if status, err := l.prepareUntilSignal(ctx, stdio.Signals); status != 0 || err != nil {
		return status, err
	}
	run, err := l.command(cmd)
	if err != nil {
		return -1, err
	}
	if l.cfg.Verbose != nil {
		l.cfg.Verbose = &oneAtATime{w: l.cfg.Verbose} // the console and the phases write to it
	}
	l.phase("prepared")
	if l.cfg.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, l.cfg.Timeout, ErrTimeout)
		defer cancel()
	}
	return l.run(ctx, run, stdio)
}

// boot is one lab on its way.
type boot struct {
	cfg     Config
	began   time.Time
	program string // QEMU
	kernel  debian.Kernel
	start   start
	scratch []*os.File  // inherited by QEMU behind its ends of the ports
	started atomic.Bool // the command
}

// prepareUntilSignal is prepare, which a signal ends with the status of a shell for it, as attach.Run ends before there is a command.
func (l *boot) prepareUntilSignal(ctx context.Context, signals <-chan os.Signal) (int, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	prepared := make(chan error, 1)
	go func() { prepared <- l.prepare(ctx) }() // always waited for below
	for {
		select {
		case err := <-prepared:
			return 0, err
		case sig := <-signals:
			if n, ok := sig.(syscall.Signal); ok {
				cancel()
				<-prepared
				return 128 + int(n), nil
			}
		}
	}
}

// prepare gets all that QEMU needs: the kernel and the initramfs may have to be fetched and built.
func (l *boot) prepare(ctx context.Context) error {
	var err error
	if l.program, err = findProgram(machines(l.cfg.Arch)); err != nil {
		return err
	}
	cacheDir := l.cfg.CacheDir
	if cacheDir == "" {
		if cacheDir, err = debian.Dir(); err != nil {
			return err
		}
	}
	cache := debian.Open(debian.Config{Dir: cacheDir, Progress: l.cfg.Progress, Refresh: l.cfg.Update})
	if l.kernel, err = cache.Kernel(ctx, l.cfg.Kernel, l.cfg.Arch); err != nil {
		return err
	}
	program := l.cfg.Init
	if program == "" {
		if program, err = guestimage.FindInit(l.cfg.Arch); err != nil {
			return err
		}
	}
	sizes, err := nvdimmSizes(l.cfg.NVDIMM)
	if err != nil {
		return err
	}
	if l.cfg.Scratch {
		if l.cfg, l.scratch, err = l.cfg.withScratch(firstFile + len(portNames)); err != nil {
			return err
		}
		if len(l.cfg.NVDIMM) > len(sizes) {
			sizes = append(sizes, scratchSize)
		}
	}
	l.start = start{cfg: l.cfg, ports: map[string]int{}, sizes: sizes, delayLoops: delayLoops(l.cfg.Arch)}
	parts := imageParts{kernel: l.kernel, init: program}
	if !l.cfg.runsHostPrograms() {
		if parts.busybox, err = cache.Busybox(ctx, l.cfg.Arch); err != nil {
			return err
		}
	}
	if l.start.initrd, err = l.cfg.image(ctx, cacheDir, parts); err != nil {
		return err
	}
	l.start.kernel, err = l.cfg.bootable(cacheDir, l.kernel)
	return err
}

// command is what the guest is asked to do.
func (l *boot) command(cmd Command) (attach.Command, error) {
	dir, err := workingDir()
	if err != nil {
		return attach.Command{}, err
	}
	named := append([]string{dir}, cmd.Argv...)
	for _, e := range os.Environ() {
		_, value, _ := strings.Cut(e, "=")
		named = append(named, filepath.SplitList(value)...) // such as TMPDIR, and each folder of PATH
	}
	steps, err := l.cfg.steps(l.kernel, named)
	if err != nil {
		return attach.Command{}, err
	}
	env := append(os.Environ(), EnvFeatures+"="+strings.Join(l.cfg.features(), ","))
	if l.cfg.Results != "" {
		env = append(env, EnvResults+"="+guestResults)
	}
	argv := append([]string{l.cfg.programInside(cmd.Argv[0])}, cmd.Argv[1:]...)
	return attach.Command{
		Steps: steps, Argv: argv, Env: env, Dir: l.cfg.inside(dir), TTY: cmd.TTY, Rows: cmd.Rows, Cols: cmd.Cols,
	}, nil
}

// run starts QEMU, runs the command and ends QEMU.
func (l *boot) run(ctx context.Context, cmd attach.Command, stdio attach.Stdio) (int, error) {
	conns, files, err := l.connect()
	if err != nil {
		return -1, err
	}
	qemu, err := startProcess(l.program, l.start.arguments(), append(files, l.scratch...), l.cfg.Verbose)
	closeAll(files) // QEMU has its own, if it runs: when it ends, the ports must
	if err != nil {
		conns.Close()
		return -1, err
	}
	defer qemu.stop()
	l.phase("QEMU started")
	stdio.OnHello = l.tellHello(stdio.OnHello)
	stdio.OnStarted = l.tellStarted(stdio.OnStarted)
	stdio.OnLog = l.tellLog(stdio.OnLog)
	status, err := attach.Run(ctx, conns, cmd, stdio)
	l.phase("command ended")
	if err != nil {
		err = l.failure(qemu, err)
	}
	return status, err
}

// failure collects what is known about a lab that did not end with its command.
func (l *boot) failure(qemu *process, err error) *Error {
	f := &Error{Err: err}
	switch {
	case errors.Is(err, ErrTimeout) && l.started.Load():
		f.Err = fmt.Errorf("%w: the command ran for longer than %v", err, l.cfg.Timeout)
	case errors.Is(err, ErrTimeout):
		f.Err = fmt.Errorf("%w: the lab did not come up within %v", err, l.cfg.Timeout)
	case errors.Is(err, attach.ErrEnded) && qemu.ended(endGrace):
		f.QEMU = qemu.stderr.String() // of interest only if it was not we who ended it
	}
	qemu.stop() // then its last output is there
	f.Console = qemu.console.String()
	return f
}

// oneAtATime is a writer for several goroutines.
type oneAtATime struct {
	mu sync.Mutex
	w  io.Writer // guarded by mu
}

// Write implements io.Writer.
func (o *oneAtATime) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.w.Write(p)
}

// connect makes the ports and notes which descriptors QEMU's ends will be.
func (l *boot) connect() (attach.Conns, []*os.File, error) {
	var (
		ours  []net.Conn
		files []*os.File
	)
	for i, name := range portNames {
		conn, file, err := portPair()
		if err != nil {
			closeAll(files)
			for _, c := range ours {
				c.Close()
			}
			return attach.Conns{}, nil, err
		}
		ours, files = append(ours, conn), append(files, file)
		l.start.ports[name] = firstFile + i
	}
	return attach.Conns{Control: ours[0], Stdin: ours[1], Stdout: ours[2], Stderr: ours[3]}, files, nil
}

// phase tells how long it took to get so far.
func (l *boot) phase(format string, args ...any) {
	if l.cfg.Verbose != nil {
		fmt.Fprintf(l.cfg.Verbose, "usui: lab: %6.3f s: %s\n", time.Since(l.began).Seconds(), fmt.Sprintf(format, args...))
	}
}

func (l *boot) tellHello(next func(attach.Hello)) func(attach.Hello) {
	return func(h attach.Hello) {
		l.phase("kernel %s is up: init at %.3f s of its clock, mounts %.3f s, modules %.3f s, ports %.3f s", h.Kernel,
			h.Init.Seconds(), h.Mounts.Seconds(), h.Modules.Seconds(), h.Control.Seconds())
		if next != nil {
			next(h)
		}
	}
}

func (l *boot) tellStarted(next func(int)) func(int) {
	return func(pid int) {
		l.started.Store(true)
		l.phase("command started as process %d", pid)
		if next != nil {
			next(pid)
		}
	}
}

func (l *boot) tellLog(next func(string)) func(string) {
	return func(message string) {
		l.phase("guest: %s", message)
		if next != nil {
			next(message)
		}
	}
}

// nvdimmAlignment is what Linux wants of a persistent memory region, in bytes.
const nvdimmAlignment = 2 << 20

// nvdimmSizes are the sizes of the files, which QEMU wants to be told.
func nvdimmSizes(files []string) ([]int64, error) {
	var sizes []int64
	for _, path := range files {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		size, err := f.Seek(0, io.SeekEnd) // works for block devices too
		f.Close()
		if err != nil {
			return nil, err
		}
		if size == 0 || size%nvdimmAlignment != 0 {
			return nil, fmt.Errorf("NVDIMM %s: %d bytes are no multiple of %d MiB", path, size, nvdimmAlignment>>20)
		}
		sizes = append(sizes, size)
	}
	return sizes, nil
}
