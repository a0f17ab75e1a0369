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

	Method   string      `json:"method"`  // as in "host clock, amortised"
	Launches [][]float64 `json:"-"`       // samples of each launch, less the baseline
	Samples  int         `json:"samples"` // of all launches
	Stats    Summary     `json:"stats"`

	// Exits is what KVM's statistics have counted for an operation: exits of the guest to KVM, or on a software KVM, to which
	// each instruction of the guest's kernel is one, instructions that it emulated. The case asserts that it lies from
	// ExitsLeast to ExitsMost, of which the second is nil if there is no bound; ExitsWant is the number there that is closest.
	Exits      float64  `json:"exits"`
	ExitsWant  float64  `json:"exitsWant"`
	ExitsLeast float64  `json:"exitsLeast"`
	ExitsMost  *float64 `json:"exitsMost,omitempty"`

	// ExitHalf and EntryHalf are there where the guest's counter allows; else Halves says why not.
	ExitHalf  *Summary `json:"exitHalf,omitempty"`
	EntryHalf *Summary `json:"entryHalf,omitempty"`
	Halves    string   `json:"halves,omitempty"`

	Histogram []Bin `json:"histogram"` // at most MaxBins, of growing times
}
