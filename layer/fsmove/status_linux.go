package fsmove

import (
	"os"

	"usui/layer/fsmove/control"
	"usui/layer/fsmove/keeper"
)

// Status is how the move is.
func (v *Move) Status() control.Status {
	moved, served, settings := v.migration.Stats(), v.mount.Stats(), v.migration.Settings()
	v.mu.Lock()
	phase := v.phase
	v.mu.Unlock()
	return control.Status{
		Source: v.cfg.Source, Destination: v.cfg.Destination, MountPoint: v.cfg.MountPoint,
		PID: os.Getpid(), Started: v.started, Restarts: keeper.Restarts(),
		Phase: phase, Paused: settings.Paused, Finishing: v.cfg.Finish != "", Changed: settings.Changed,
		FoldersListed: moved.FoldersListed, EntriesMade: moved.EntriesMade, FilesFetched: moved.FilesFilled, BytesFetched: moved.BytesFetched,
		OpenFiles: served.Open, Passed: served.Passed, Carried: served.Carried,
	}
}
