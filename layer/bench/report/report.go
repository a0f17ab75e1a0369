package report

import (
	"time"

	"usui/layer/bench/where"
)

// Version counts changes that break readers of the JSON; within one version fields are only added.
const Version = 1

// Report is what one run of the benchmark found. Times are in nanoseconds.
type Report struct {
	Version  int               `json:"version"`
	Started  time.Time         `json:"started"`
	Duration time.Duration     `json:"durationNs"` // of one case
	Launches int               `json:"launches"`   // fresh virtual machines of each case
	Where    where.Environment `json:"where"`
	Rows     []Row             `json:"rows"`
}

// Row is one case.
type Row struct {
	Name  string `json:"name"` // unique in a report
	Group string `json:"group"`
	Doc   string `json:"doc"`

	// NA says why this KVM or this machine cannot do the case; then all below is empty.
	NA string `json:"na,omitempty"`

	Method    string      `json:"method"`    // as in "host clock, amortised"
	Launches  [][]float64 `json:"-"`         // samples of each launch, less the baseline
	Samples   int         `json:"samples"`   // of all launches
	Exits     float64     `json:"exits"`     // KVM exits an operation, as KVM's statistics count them
	ExitsWant float64     `json:"exitsWant"` // what the case asserts
	Stats     Summary     `json:"stats"`

	// ExitHalf and EntryHalf are there where the guest's counter allows; else Halves says why not.
	ExitHalf  *Summary `json:"exitHalf,omitempty"`
	EntryHalf *Summary `json:"entryHalf,omitempty"`
	Halves    string   `json:"halves,omitempty"`

	Histogram []Bin `json:"histogram"` // at most MaxBins, of growing times
}
