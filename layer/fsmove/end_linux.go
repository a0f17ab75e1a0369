package fsmove

import (
	"context"
	"errors"
	"fmt"

	"usui/layer/fsmove/control"
	"usui/layer/fsmove/migration"
)

// errEnds says that the process ends before it could do what it was asked for.
var errEnds = errors.New("the move's process ends; start it again to go on")

// Finish waits until everything has arrived, verifies it, and puts the destination in the mount's place. It is refused while the move is paused: it would wait for ever.
func (v *Move) Finish(ctx context.Context, how control.Consent) error {
	if v.migration.Settings().Paused {
		return fmt.Errorf("the move is paused: usui fsmove resume %s first", v.cfg.MountPoint)
	}
	return v.finish(ctx, how)
}

func (v *Move) finish(ctx context.Context, how control.Consent) error {
	select {
	case <-v.arrived:
	case <-v.ended:
		return errEnds
	case <-ctx.Done():
		return ctx.Err()
	}
	v.ending.Lock()
	defer v.ending.Unlock()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	v.stopBy(stop)
	defer v.stopBy(nil)
	select {
	case <-v.exchanged:
		return nil // somebody else was faster
	case <-v.ended:
		return errEnds
	default:
	}
	n, more, err := v.skipped()
	if err != nil {
		return err
	}
	if len(n) > 0 && !how.Skipped {
		return fmt.Errorf("%d things of the source were skipped, the first is %q (%s): usui fsmove status %s tells them, and --accept-skipped does without", len(n)+more, n[0].Path, n[0].Reason, v.cfg.MountPoint)
	}
	if err := v.verify(ctx, how.Verify); err != nil {
		v.enter(control.Arrived)
		return err
	}
	// Between the two steps a crash leaves a destination that is in its place and still has the migration's folder: the next process goes on here, and to start again removes it.
	if err := context.Cause(ctx); err != nil {
		v.enter(control.Arrived)
		return err
	}
	v.leaving.Store(true)
	if err := v.mount.Exchange(); err != nil {
		v.leaving.Store(false)
		v.enter(control.Arrived)
		return err
	}
	v.enter(control.Exchanged)
	close(v.exchanged)
	return v.migration.Finish()
}

// stopBy has a verification end when somebody gives the move up.
func (v *Move) stopBy(stop func(error)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.stop = stop
}

// finishAlone finishes without being asked.
func (v *Move) finishAlone(ctx context.Context) {
	if err := v.finish(ctx, *v.cfg.Finish); err != nil && ctx.Err() == nil && !errors.Is(err, errEnds) {
		v.logger.Error("the move cannot end: clients go on", "err", err)
	}
}

// Pause has nothing fetched that no client waits for, or everything again.
func (v *Move) Pause(paused bool) error { return v.migration.SetPaused(paused) }

// Abort takes the mount away and removes all that has arrived, if no client has changed anything.
func (v *Move) Abort(context.Context) error {
	v.mu.Lock()
	if v.stop != nil && !v.migration.Settings().Changed {
		v.stop(errors.New("the move is given up"))
	}
	v.mu.Unlock()
	v.ending.Lock()
	defer v.ending.Unlock()
	select {
	case <-v.exchanged:
		return errors.New("the destination has taken the mount's place: there is no move any more")
	case <-v.ended:
		return errEnds
	default:
	}
	err := v.migration.GiveUp()
	if errors.Is(err, migration.ErrClientsChanged) {
		return fmt.Errorf("%w: to go back would lose that; to go back all the same, have clients stop, copy what %s has to the source (rsync -aHAX --delete %s/ %s/), unmount it, and remove %s",
			err, v.cfg.MountPoint, v.cfg.MountPoint, v.cfg.Source, v.cfg.Destination)
	}
	if err != nil {
		return err
	}
	v.enter(control.GivenUp)
	v.leaving.Store(true)
	err = v.mount.Abort()
	<-v.ended
	return errors.Join(err, v.wipe()) // nobody is served, and nothing is fetched
}

// wipe removes all that has arrived.
func (v *Move) wipe() error {
	if err := v.migration.Wipe(); err != nil {
		return fmt.Errorf("the mount is gone, but not all of %s: %w", v.cfg.Destination, err)
	}
	return nil
}
