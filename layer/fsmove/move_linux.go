package fsmove

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"usui/internal/metrics/scrape"
	"usui/layer/fsmove/control"
	"usui/layer/fsmove/front"
	"usui/layer/fsmove/keeper"
	"usui/layer/fsmove/migration"
	"usui/layer/fsmove/tree"
)

// Config is what is moved, and where.
type Config struct {
	Source, Destination string // directories
	MountPoint          string // the directory at which clients find the tree from now on
	// Finish says that the destination takes the mount's place as soon as everything has arrived, with what it says. Nil: when somebody asks for that.
	Finish  *control.Consent
	Timeout time.Duration // how long clients wait for a source that is away before they get an error; 0 is for ever
	Rate    int64         // bounds what is fetched beside clients, in bytes a second; 0 is no bound
	Metrics string        // is served to Prometheus there; may be empty
	Seat    *keeper.Seat  // outlives this process; nil: nothing does
	Ready   func()        // is called when the move can be asked; may be nil
	Logger  *slog.Logger
}

// Move is a tree that is used while it is on its way.
type Move struct {
	cfg       Config
	migration *migration.Migration
	mount     *front.Mount
	server    *http.Server // nil before Run
	metrics   *http.Server // nil if nobody wants any
	logger    *slog.Logger
	started   time.Time

	arrived   chan struct{} // closed when everything has
	exchanged chan struct{} // closed when the destination is in place
	ended     chan struct{} // closed when nobody is served any more, and nothing is fetched
	ending    sync.Mutex    // held by who ends the move, one way or the other
	leaving   atomic.Bool   // the mount is about to go, as it is to

	asked sync.RWMutex    // held while the migration is asked how it is
	last  *control.Status // guarded by asked; nil before the end

	mu    sync.Mutex
	phase string      // guarded by mu
	stop  func(error) // guarded by mu; ends a verification that is under way, may be nil
	note  string      // guarded by mu; of the phase, or what the last one came to
}

// ErrUnmounted says that somebody else has taken the mount away.
var ErrUnmounted = errors.New("the mount was taken away before everything had arrived; start again to go on")

// New begins a move or goes on with one, and mounts it. The process's umask is 0 from then on: what clients make has the permissions that they say.
func New(cfg Config) (_ *Move, err error) {
	if cfg.Seat == nil {
		if err := cfg.Resolve(false); err != nil {
			return nil, err
		}
		if cfg.Seat, err = keeper.New(cfg.Source, cfg.Destination); err != nil {
			return nil, err
		}
	}
	unix.Umask(0)
	v := &Move{
		cfg: cfg, logger: cfg.Logger, started: time.Now(), phase: control.Moving,
		arrived: make(chan struct{}), exchanged: make(chan struct{}), ended: make(chan struct{}),
	}
	if err := v.open(); err != nil {
		return nil, errors.Join(err, cfg.Seat.Close())
	}
	if v.mount, err = front.New(v.migration, cfg.Seat, cfg.MountPoint, cfg.Logger); err != nil {
		return nil, errors.Join(err, v.migration.Close())
	}
	return v, nil
}

// Resolve makes paths absolute and free of links, so that they mean the same for ever. A mount that a process left which nobody kept is taken away. The source's path is not looked at if
// it is that of a move which goes on: the source may be away.
func (c *Config) Resolve(goesOn bool) (err error) {
	paths := []*string{&c.Destination, &c.MountPoint}
	if !goesOn {
		paths = append(paths, &c.Source)
	}
	for _, path := range paths {
		if err := front.TakeAway(*path, c.Logger); err != nil {
			return err
		}
		if *path, err = filepath.Abs(*path); err != nil {
			return err
		}
		if *path, err = filepath.EvalSymlinks(*path); err != nil {
			return err
		}
	}
	return apart(*c)
}

// apart refuses directories in each other: a tree that has its own copy or mount in it has no end. The mount may hide the source or the destination.
func apart(cfg Config) error {
	for _, pair := range [][2]string{{cfg.Source, cfg.Destination}, {cfg.Destination, cfg.Source}, {cfg.Source, cfg.MountPoint}, {cfg.Destination, cfg.MountPoint}} {
		in, err := filepath.Rel(pair[0], pair[1])
		if err != nil {
			return err
		}
		if in == "." && pair[1] != cfg.MountPoint || in != "." && filepath.IsLocal(in) {
			return fmt.Errorf("%s is in %s: choose directories that are not in each other", pair[1], pair[0])
		}
	}
	return nil
}

// open opens the migration. A process before this one may have ended it, and left clients with files open.
func (v *Move) open() (err error) {
	cfg := migration.Config{Source: v.cfg.Source, Destination: v.cfg.Destination, Timeout: v.cfg.Timeout, Logger: v.logger}
	seat := v.cfg.Seat
	if cfg.DestinationRoot, err = tree.From(seat.Destination, v.cfg.Destination); err != nil {
		return err
	}
	if seat.Table.State().Load() == keeper.Gone {
		begun, err := migration.Begun(cfg.DestinationRoot)
		if err == nil && !begun {
			err = migration.RemoveEnded(cfg.DestinationRoot)
		}
		if err != nil || !begun {
			v.migration = migration.Ended(cfg.DestinationRoot, v.logger)
			return err
		}
	}
	if v.cfg.Hides() {
		cfg.SourceFd = seat.Source
	}
	if v.migration, err = migration.New(cfg); err != nil {
		return err
	}
	v.migration.Pacer().SetCap(v.cfg.Rate)
	if err := v.migration.SetMountPoint(v.cfg.MountPoint); err != nil {
		return errors.Join(err, v.migration.Close())
	}
	return nil
}

// Hides says that clients who look past the mount see the source.
func (c *Config) Hides() bool {
	in, err := filepath.Rel(c.MountPoint, c.Source)
	return err == nil && filepath.IsLocal(in)
}

// Run serves clients and fetches what they do not ask for, once, and lets the move be asked and told by package control. It returns nil when the destination has taken the mount's place
// and nobody has a file open that was opened before, when the move is given up, and when ctx ends. In that last case the mount goes with all that is open in it, and another New goes on.
func (v *Move) Run(ctx context.Context) (err error) {
	served, over := make(chan error, 1), make(chan error, 1)
	moving, stop := context.WithCancel(ctx)
	defer stop()
	gone := v.mount.Gone() // a process before this one has seen to it
	if gone {
		v.leaving.Store(true)
		v.enter(control.Exchanged)
		close(v.exchanged)
	}
	go func() { served <- v.mount.Serve() }()       // until the mount is gone
	go func() { over <- v.migrate(moving, gone) }() // until moving ends
	if v.mount.Exchanging() {                       // so it was verified
		v.cfg.Finish = &control.Consent{Verify: control.None, Skipped: true}
	}
	if v.cfg.Finish != nil {
		go v.finishAlone(moving) // until moving ends
	}
	if err = v.listen(); err != nil {
		stop()
		return errors.Join(err, v.mount.Abort(), <-served, <-over, v.migration.Close())
	}
	if v.cfg.Ready != nil {
		v.cfg.Ready()
	}
	select {
	case err = <-served:
		if !v.leaving.Load() {
			err = errors.Join(err, ErrUnmounted)
		}
	case <-ctx.Done():
		end := v.mount.Abort
		if v.cfg.Hides() && !v.leaving.Load() && v.migration.Settings().Changed {
			end = v.mount.Sever // the source without what clients have changed is not what they should see
		}
		err = errors.Join(end(), <-served)
	}
	stop()
	err = errors.Join(err, <-over)
	close(v.ended)
	v.ending.Lock() // who ends the move has answered
	defer v.ending.Unlock()
	err = errors.Join(err, v.shutdown())
	v.asked.Lock() // who asks later asks nothing that is closed
	defer v.asked.Unlock()
	last := v.status()
	v.last = &last
	return errors.Join(err, v.migration.Close())
}

// listen begins to answer those who ask.
func (v *Move) listen() (err error) {
	again := keeper.Restarts() > 0 // clients go before those who ask
	if v.server, err = control.Serve(v, v.cfg.MountPoint, v.logger); err != nil {
		if again {
			v.logger.Error("the move cannot be asked until it is started again", "err", err)
			return nil
		}
		return err
	}
	if v.cfg.Metrics == "" {
		return nil
	}
	l, err := scrape.Listen(v.cfg.Metrics)
	if err != nil {
		if again {
			v.logger.Error("there are no metrics until the move is started again", "err", err)
			return nil
		}
		return errors.Join(err, v.server.Close())
	}
	v.metrics = scrape.Serve(l, http.HandlerFunc(v.serveMetrics), v.logger)
	return nil
}

// shutdown ends the servers once whoever asks has got an answer.
func (v *Move) shutdown() error {
	ctx, stop := context.WithTimeout(context.Background(), shutdownTime)
	defer stop()
	var err error
	if v.server != nil {
		err = errors.Join(v.server.Shutdown(ctx), v.server.Close())
	}
	if v.metrics != nil {
		err = errors.Join(err, v.metrics.Close())
	}
	return err
}

// shutdownTime is how long who waits for an answer may take to read it.
const shutdownTime = 2 * time.Second

// migrate fetches everything, or does what is left of a move that has ended but for that.
func (v *Move) migrate(ctx context.Context, ended bool) error {
	if ended {
		close(v.arrived)
		return v.migration.Finish()
	}
	err := v.migration.Run(ctx)
	switch {
	case err == nil:
		v.enter(control.Arrived)
		close(v.arrived)
	case ctx.Err() != nil:
		err = nil
	default: // clients have nothing to do with that
		v.logger.Error("nothing more is moved: clients go on, and to start again tries again", "err", err)
	}
	return err
}

// enter is the beginning of a phase.
func (v *Move) enter(phase string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.phase = phase
}

// Close ends a move that was not run.
func (v *Move) Close() error {
	return errors.Join(v.mount.Abort(), v.mount.Serve(), v.migration.Close())
}
