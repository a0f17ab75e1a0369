package fsmove

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"usui/internal/cli"
	"usui/internal/metrics/scrape"
	"usui/layer/fsmove/compare"
	"usui/layer/fsmove/control"
	"usui/layer/fsmove/front"
	"usui/layer/fsmove/keeper"
	"usui/layer/fsmove/migration"
	"usui/layer/fsmove/survey"
)

// Commands are those of the program usui-fsmove.
func Commands() []cli.Command {
	return append([]cli.Command{survey.Command, startCommand, resumeCommand, compare.Command, workerCommand}, control.Commands()...)
}

var startCommand = cli.Command{
	Name:        "start",
	Usage:       "[--finish] SRC DST MOUNTPOINT",
	Short:       "move a tree while clients use it",
	FlagsBehind: true,
	Long: `
Mounts a tree at MOUNTPOINT, usable at once, while it moves from SRC to DST: what clients look at is fetched for them, and the rest beside that. When
everything has arrived, usui fsmove finish puts DST itself in the mount's place, with no moment between, and the command ends; nothing of it is left.

  usui fsmove start /mnt/old /srv/new /export
  usui fsmove status --watch /export
  usui fsmove finish /export
  usui fsmove start --finish /mnt/old /srv/new /export      all of that by itself

What is fetched beside clients gives way to them, and goes at full speed when there are none; --rate bounds it always, usui fsmove pause stops it.

SRC is any directory, of a local disk or of another server (NFS, CIFS, sshfs). It is never written, and nobody else may write it from now on: what has
changed since it was listed is an error. DST is an empty directory of ext4 or xfs.

Two processes do this: one that serves clients, and one that starts it again if it is killed; clients wait meanwhile, and get no error. After SIGINT, SIGTERM or a restart of the machine
usui fsmove resume DST goes on; clients have to open their files again. If the mount is where SRC is, or above it, and clients have changed something, it stays there until
then, and gives errors: SRC without that is not what they should see. It takes root.`,
	Setup: func(f *flag.FlagSet) cli.Run {
		var o options
		o.declare(f)
		return func(ctx context.Context, env *cli.Env, args []string) error { return o.start(ctx, env, args, false) }
	},
}

// workerCommand is what the keeper starts, with the arguments of start.
var workerCommand = cli.Command{
	Name: "worker", Hidden: true, FlagsBehind: true, Short: "serve clients; usui fsmove start starts this",
	Setup: func(f *flag.FlagSet) cli.Run {
		var o options
		o.declare(f)
		return o.work
	},
}

var resumeCommand = cli.Command{
	Name:        "resume",
	Usage:       "[--finish] DIRECTORY",
	Short:       "go on after pause, or with a move that was ended",
	FlagsBehind: true,
	Long: `
Of a move that is running, ends what usui fsmove pause began; DIRECTORY is its source, destination or mount point. Of one that is not, as after a restart of the machine, goes on where
it was, as usui fsmove start did; DIRECTORY is its destination.

  usui fsmove resume /export
  usui fsmove resume /srv/new`,
	Setup: func(f *flag.FlagSet) cli.Run {
		var o options
		o.declare(f)
		return o.resume
	},
}

// options are those of start.
type options struct {
	finish  bool
	how     control.FinishOptions
	timeout time.Duration
	rate    float64
	metrics string
}

// mostRate is more than any machine has, in MiB a second.
const mostRate = 1 << 30

func (o *options) declare(f *flag.FlagSet) {
	f.BoolVar(&o.finish, "finish", false, "finish as soon as everything has arrived")
	o.how.Declare(f)
	f.DurationVar(&o.timeout, "timeout", 0, "clients that wait for a source which is away get an error after `TIME`, as in 30s; 0 is never")
	f.Float64Var(&o.rate, "rate", 0, "fetch at most `MIB` MiB a second beside what clients wait for; 0 is as fast as they do not notice")
	f.StringVar(&o.metrics, "metrics-listen", "", "serve metrics for Prometheus at `ADDRESS`: HOST:PORT, or the path of a Unix socket to make")
}

// flags are the options as they were written.
func (o *options) flags() []string {
	return append(o.how.Flags(), fmt.Sprintf("--finish=%t", o.finish), fmt.Sprintf("--timeout=%v", o.timeout), fmt.Sprintf("--rate=%v", o.rate), "--metrics-listen="+o.metrics)
}

// config reads what is to be done.
func (o *options) config(env *cli.Env, args []string) (cfg Config, err error) {
	if len(args) != 3 {
		return cfg, cli.UsageError("%d arguments: say SRC, DST and MOUNTPOINT, as in: /mnt/old /srv/new /export", len(args))
	}
	how, err := o.how.Consent()
	if err != nil {
		return cfg, err
	}
	if o.timeout < 0 {
		return cfg, cli.UsageError("--timeout %v: say how long, as in 30s, or 0 for never", o.timeout)
	}
	if !(o.rate >= 0 && o.rate < mostRate) {
		return cfg, cli.UsageError("--rate %v: say how many MiB a second, as in 50, or 0 for no bound", o.rate)
	}
	if o.metrics != "" {
		if err := scrape.Check(o.metrics); err != nil {
			return cfg, cli.UsageError("--metrics-listen %v", err)
		}
	}
	cfg = Config{Source: args[0], Destination: args[1], MountPoint: args[2], Timeout: o.timeout, Rate: int64(o.rate * (1 << 20)), Metrics: o.metrics, Logger: slog.New(slog.NewTextHandler(env.Stderr, nil))}
	if o.finish {
		cfg.Finish = &how
	}
	return cfg, nil
}

// start starts a process that does all, and is its keeper.
func (o *options) start(ctx context.Context, env *cli.Env, args []string, goesOn bool) error {
	cfg, err := o.config(env, args)
	if err != nil {
		return err
	}
	if err := cfg.Resolve(goesOn); err != nil { // for the worker, whose mount may hide what a path led to
		return err
	}
	signal.Ignore(syscall.SIGPIPE) // what reads the output may end before the move does
	// The program that runs, also when another one has its name by then.
	command := append(append([]string{"/proc/self/exe", "worker"}, o.flags()...), "--", cfg.Source, cfg.Destination, cfg.MountPoint)
	status, err := keeper.Run(ctx, keeper.Config{Command: command, Source: cfg.Source, Destination: cfg.Destination, Logger: cfg.Logger})
	if !cfg.Hides() { // else clients would have the source again, without what they have changed since: they get ENOTCONN
		err = errors.Join(err, front.TakeAway(cfg.MountPoint, cfg.Logger)) // there is none, unless something went wrong
	}
	if err == nil && status != 0 {
		return cli.ExitStatus(status) // it has said why
	}
	return err
}

// resume goes on with a move that was paused, or ended.
func (o *options) resume(ctx context.Context, env *cli.Env, args []string) error {
	if len(args) != 1 {
		return cli.UsageError("%d arguments: name one directory, the destination of the move, as in: /srv/new", len(args))
	}
	c, s, err := control.Find(ctx, args[0])
	switch {
	case err == nil:
		if err := c.Pause(ctx, false); err != nil {
			return err
		}
		_, err := fmt.Fprintf(env.Stdout, "%s: everything is fetched again\n", s.MountPoint)
		return err
	case !errors.Is(err, control.ErrNone):
		return err
	}
	logger := slog.New(slog.NewTextHandler(env.Stderr, nil))
	if err := front.TakeAway(args[0], logger); err != nil {
		return err
	}
	source, mountPoint, err := migration.Where(args[0], logger)
	if err != nil {
		return err
	}
	return o.start(ctx, env, []string{source, args[0], mountPoint}, true)
}

// reportEvery is how often a move tells how far it is.
const reportEvery = time.Minute

// work serves, in a process that a keeper has started.
func (o *options) work(ctx context.Context, env *cli.Env, args []string) error {
	cfg, err := o.config(env, args)
	if err != nil {
		return err
	}
	if !keeper.Worker() {
		return cli.UsageError("this is what usui fsmove start starts: use that")
	}
	signal.Ignore(syscall.SIGPIPE) // as for the keeper
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	addProcessors()
	if cfg.Seat, err = keeper.Inherit(stop); err != nil {
		return err
	}
	if keeper.Restarts() == 0 {
		cfg.Ready = func() { fmt.Fprintf(env.Stdout, "%s is at %s, on its way to %s\n", args[0], args[2], args[1]) }
	}
	v, err := New(cfg)
	if err != nil {
		return err
	}
	return o.watch(ctx, env.Stdout, env.Stderr, v)
}

// addProcessors has Go use more processors than it needs. While none is idle, Go's monitor looks every 20 microseconds whether one whose thread waits in the kernel can be had,
// and threads that come back from there wait for one. A user's GOMAXPROCS stays.
func addProcessors() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(2*runtime.GOMAXPROCS(0) + 4)
	}
}

// watch runs a move, and tells how far it is.
func (o *options) watch(ctx context.Context, stdout, stderr io.Writer, v *Move) error {
	done := make(chan error, 1)
	go func() { done <- v.Run(ctx) }() // until the move ends, or ctx does
	ticker := time.NewTicker(reportEvery)
	defer ticker.Stop()
	arrived := v.arrived
	for {
		select {
		case <-arrived:
			arrived = nil
			if v.Status().Phase == control.Arrived && !o.finish {
				fmt.Fprintf(stdout, "everything has arrived: usui fsmove finish %s ends the move\n", v.cfg.MountPoint)
			}
		case <-ticker.C:
			fmt.Fprintln(stderr, control.Line(v.Status()))
		case err := <-done:
			if err != nil {
				return err
			}
			fmt.Fprintln(stdout, v.outcome())
			return nil
		}
	}
}

// outcome is what is to be said of a move that has ended.
func (v *Move) outcome() string {
	switch s := v.Status(); s.Phase {
	case control.Exchanged:
		return fmt.Sprintf("everything has arrived: %s is at %s", s.Destination, s.MountPoint)
	case control.GivenUp:
		return fmt.Sprintf("given up: %s is empty again", s.Destination)
	default:
		return fmt.Sprintf("the move is not at its end: usui fsmove resume %s goes on", s.Destination)
	}
}
