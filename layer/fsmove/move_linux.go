package fsmove

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"usui/layer/fsmove/front"
	"usui/layer/fsmove/migration"
)

// Config is what is moved, and where.
type Config struct {
	Source, Destination string // directories
	MountPoint          string // the directory at which clients find the tree from now on
	// LeaveOut has the move end though the destination refused something: without that, clients are served until ctx ends, and can bring the missing things.
	LeaveOut bool
	Timeout  time.Duration // how long clients wait for a source that is away; 0 is for ever
	Logger   *slog.Logger
}

// Move is a tree that is used while it is on its way.
type Move struct {
	migration *migration.Migration
	mount     *front.Mount
	leaveOut  bool
	logger    *slog.Logger
}

// ErrUnmounted says that somebody else has taken the mount away.
var ErrUnmounted = errors.New("the mount was taken away before everything had arrived; start again to go on")

// New begins a move or goes on with one, and mounts it. The process's umask is 0 from then on: what clients make has the permissions that they say.
func New(cfg Config) (_ *Move, err error) {
	for _, path := range []*string{&cfg.Source, &cfg.Destination, &cfg.MountPoint} {
		if *path, err = filepath.Abs(*path); err != nil {
			return nil, err
		}
		if *path, err = filepath.EvalSymlinks(*path); err != nil {
			return nil, err
		}
	}
	if err := apart(cfg); err != nil {
		return nil, err
	}
	unix.Umask(0)
	v := &Move{leaveOut: cfg.LeaveOut, logger: cfg.Logger}
	if v.migration, err = migration.New(migration.Config{Source: cfg.Source, Destination: cfg.Destination, Timeout: cfg.Timeout, Logger: cfg.Logger}); err != nil {
		return nil, err
	}
	if v.mount, err = front.New(v.migration, cfg.MountPoint, cfg.Logger); err != nil {
		return nil, errors.Join(err, v.migration.Close())
	}
	return v, nil
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

// Run serves clients and fetches what they do not ask for, once. When everything has arrived the destination itself takes the mount's place, and Run returns nil once nobody has a
// file open that was opened before, or ctx ends. When ctx ends before that, the mount goes with all that is open in it, and another New goes on. What cannot be moved is tried
// again until ctx ends. That the journal cannot be read or written, or that something was left out, is its
// error, and has clients served until ctx ends.
func (v *Move) Run(ctx context.Context) (err error) {
	served, arrived := make(chan error, 1), make(chan error, 1)
	moving, stop := context.WithCancel(ctx)
	defer stop()
	go func() { served <- v.mount.Serve() }()          // until the mount is gone
	go func() { arrived <- v.migration.Run(moving) }() // until moving ends
	defer func() { err = errors.Join(err, v.migration.Close()) }()
	select {
	case err := <-served:
		stop()
		<-arrived
		return errors.Join(err, ErrUnmounted)
	case err = <-arrived:
	}
	if err == nil {
		err = ctx.Err()
	}
	if err == nil && !v.leaveOut {
		err = v.migration.Complete()
	}
	if err != nil && ctx.Err() == nil { // clients have nothing to do with that
		v.logger.Error("nothing more is moved: clients go on, and to start again tries again", "err", err)
		select {
		case gone := <-served:
			return errors.Join(err, gone, ErrUnmounted)
		case <-ctx.Done():
		}
	}
	if err == nil {
		if err = v.exchange(); err == nil {
			select {
			case err := <-served:
				return err
			case <-ctx.Done():
			}
		}
	}
	return errors.Join(err, v.mount.Abort(), <-served)
}

// exchange ends the move. Between its two steps a crash leaves a destination that is in its place and still has the migration's folder: to start again removes that.
func (v *Move) exchange() error {
	if err := v.mount.Exchange(); err != nil {
		return err
	}
	return v.migration.Finish()
}

// Stats is what was done so far.
func (v *Move) Stats() migration.Stats { return v.migration.Stats() }

// Close ends a move that was not run.
func (v *Move) Close() error {
	return errors.Join(v.mount.Abort(), v.mount.Serve(), v.migration.Close())
}
