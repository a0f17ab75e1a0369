package fsmove

import (
	"fmt"
	"net/http"
	"os"
	"time"

	"usui/internal/metrics"
	"usui/internal/metrics/scrape"
	"usui/layer/fsmove/control"
	"usui/layer/fsmove/keeper"
	"usui/layer/fsmove/migration"
)

// mostTold is how many failures, and how many things that are skipped, a status has.
const mostTold = 100

// Status is how the move is, or how it was at its end.
func (v *Move) Status() control.Status {
	v.asked.RLock()
	defer v.asked.RUnlock()
	if v.last != nil {
		return *v.last
	}
	return v.status()
}

func (v *Move) status() control.Status {
	moved, served, settings := v.migration.Stats(), v.mount.Stats(), v.migration.Settings()
	v.mu.Lock()
	phase, note := v.phase, v.note
	v.mu.Unlock()
	s := control.Status{
		Source: v.cfg.Source, Destination: v.cfg.Destination, MountPoint: v.cfg.MountPoint,
		PID: os.Getpid(), Started: v.started, Restarts: keeper.Restarts(),
		Phase: phase, Paused: settings.Paused, Finishing: v.cfg.Finish != nil, Changed: settings.Changed,
		FoldersListed: moved.FoldersListed, EntriesMade: moved.EntriesMade, FilesFetched: moved.FilesFilled, BytesFetched: moved.BytesFetched,
		FoldersWaiting: moved.Waiting.Folders, FilesWaiting: moved.Waiting.Files, BytesWaiting: moved.Waiting.Bytes,
		OpenFiles: served.Open, Passed: served.Passed, Carried: served.Carried,
		Failures: []control.Failure{}, Skipped: []control.Failure{}, Full: moved.NoRoom, Note: note,
	}
	var err error
	if s.Hot, err = v.migration.Hot(); err != nil {
		s.Note = fmt.Sprint("what clients are at cannot be told: ", err)
	}
	if !moved.Away.IsZero() {
		s.SourceAway = &moved.Away
	}
	failures := v.migration.Failures()
	for _, f := range failures[:min(len(failures), mostTold)] {
		s.Failures = append(s.Failures, control.Failure{Path: f.Path, Reason: f.Err.Error(), Since: f.Since, Tries: uint64(f.Count)})
	}
	s.MoreFailed = len(failures) - len(s.Failures)
	if s.Skipped, s.MoreSkip, err = v.skipped(); err != nil {
		s.Note = fmt.Sprint("what was skipped cannot be told: ", err)
	}
	return s
}

// skipped are the first of what the destination will not have, and how many more there are.
func (v *Move) skipped() (all []control.Failure, more int, err error) {
	all = []control.Failure{}
	for l, err := range v.migration.Skipped() {
		switch {
		case err != nil:
			return all, more, err
		case len(all) < mostTold:
			all = append(all, control.Failure{Path: l.Path, Reason: l.What})
		default:
			more++
		}
	}
	return all, more, nil
}

// gauges are metrics of which the last value counts.
type gauges struct {
	FoldersWaiting uint64 `metric:"gauge"`
	FilesWaiting   uint64 `metric:"gauge"`
	BytesWaiting   uint64 `metric:"gauge"`
	Failing        uint64 `metric:"gauge"`
	Skipped        uint64 `metric:"gauge"`
	Full           uint64 `metric:"gauge"` // 1 if the destination is
	SourceAway     uint64 `metric:"gauge"` // seconds
	Paused         uint64 `metric:"gauge"` // 1 if it is
	Restarts       uint64 `metric:"gauge"`
}

// counts are metrics that grow.
type counts struct{ FoldersListed, EntriesMade, FilesFetched, BytesFetched uint64 }

// serveMetrics answers a scrape.
func (v *Move) serveMetrics(w http.ResponseWriter, _ *http.Request) {
	moved, served := v.migration.Stats(), v.mount.Stats()
	var set metrics.Set
	label := metrics.Label{Name: "mount_point", Value: v.cfg.MountPoint}
	set.Add("usui_fsmove", counts{moved.FoldersListed, moved.EntriesMade, moved.FilesFilled, moved.BytesFetched}, label)
	set.Add("usui_fsmove", now(moved, v.migration.Settings().Paused), label)
	set.Add("usui_fsmove_clients", served, label)
	scrape.Answer(w, &set)
}

func now(s migration.Stats, paused bool) gauges {
	g := gauges{
		FoldersWaiting: s.Waiting.Folders, FilesWaiting: s.Waiting.Files, BytesWaiting: s.Waiting.Bytes,
		Failing: uint64(s.Failing), Skipped: s.Lost, Full: one(s.NoRoom), Paused: one(paused), Restarts: uint64(keeper.Restarts()),
	}
	if !s.Away.IsZero() {
		g.SourceAway = uint64(max(time.Since(s.Away), 0) / time.Second)
	}
	return g
}

func one(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}
