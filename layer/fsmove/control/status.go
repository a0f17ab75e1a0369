package control

import "time"

// Phases of a move.
const (
	Moving    = "moving"    // something has not arrived
	Arrived   = "arrived"   // everything has; finish puts the destination in the mount's place
	Verifying = "verifying" // finish compares source and destination
	Exchanged = "exchanged" // the destination is in place; who has a file open from before is still served
	GivenUp   = "given up"  // the mount is gone, and what had arrived is removed
)

// Status is how a move is.
type Status struct {
	Source      string    `json:"source"`
	Destination string    `json:"destination"`
	MountPoint  string    `json:"mount_point"`
	PID         int       `json:"pid"`
	Started     time.Time `json:"started"`  // this process
	Restarts    int       `json:"restarts"` // how many processes before it were killed
	Phase       string    `json:"phase"`
	Paused      bool      `json:"paused"`
	Finishing   bool      `json:"finishing"` // as soon as everything has arrived
	Changed     bool      `json:"changed_by_clients"`

	FoldersListed  uint64 `json:"folders_listed"`  // since this process began
	EntriesMade    uint64 `json:"entries_made"`    // likewise
	FilesFetched   uint64 `json:"files_fetched"`   // likewise
	BytesFetched   uint64 `json:"bytes_fetched"`   // likewise
	FoldersWaiting uint64 `json:"folders_waiting"` // that are known of
	FilesWaiting   uint64 `json:"files_waiting"`   // likewise
	BytesWaiting   uint64 `json:"bytes_waiting"`   // likewise, at most
	OpenFiles      uint64 `json:"open_files"`
	Passed         uint64 `json:"opens_passed"`     // opens for which the kernel reads and writes itself
	Carried        uint64 `json:"accesses_carried"` // reads and writes that came here

	Full       bool       `json:"destination_full"` // or was a moment ago
	SourceAway *time.Time `json:"source_away_since,omitempty"`
	Failures   []Failure  `json:"failures"` // what could not be had yet; it is tried again
	MoreFailed int        `json:"more_failures"`
	Skipped    []Failure  `json:"skipped"` // what has arrived in part, or not, and will not
	MoreSkip   int        `json:"more_skipped"`
	Hot        []string   `json:"hot"` // what clients wait for, or have open before it has arrived
	Note       string     `json:"note,omitempty"`
}

// Failure is something of the source that could not be had, or be made.
type Failure struct {
	Path   string    `json:"path"` // below the source
	Reason string    `json:"reason"`
	Since  time.Time `json:"since"`
	Tries  uint64    `json:"tries"`
}

// Progress is what two looks at a move say together.
type Progress struct {
	BytesPerSecond float64        `json:"bytes_per_second"`
	FilesPerSecond float64        `json:"files_per_second"`
	Left           *time.Duration `json:"-"` // nil if that cannot be said
}

// Between says how fast a move went between two looks, and how long what is known to wait takes at that speed.
func Between(before, now Status, took time.Duration) Progress {
	if took <= 0 || before.PID != now.PID || !before.Started.Equal(now.Started) {
		return Progress{}
	}
	p := Progress{
		BytesPerSecond: float64(now.BytesFetched-min(before.BytesFetched, now.BytesFetched)) / took.Seconds(),
		FilesPerSecond: float64(now.FilesFetched-min(before.FilesFetched, now.FilesFetched)) / took.Seconds(),
	}
	var seconds float64
	switch {
	case p.BytesPerSecond > 0:
		seconds = float64(now.BytesWaiting) / p.BytesPerSecond
	case p.FilesPerSecond > 0:
		seconds = float64(now.FilesWaiting) / p.FilesPerSecond
	default:
		return p
	}
	left := time.Duration(min(seconds, 1e9) * float64(time.Second))
	p.Left = &left
	return p
}
