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
	Duration time.Duration     `json:"durationNs"` // bound of one case
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

// Summary describes samples, in nanoseconds.
type Summary struct {
	P50  Estimate `json:"p50"`
	P90  Estimate `json:"p90"`
	P99  Estimate `json:"p99"`
	P999 Estimate `json:"p999"`
	Min  float64  `json:"min"`
	Max  float64  `json:"max"`
	Mean float64  `json:"mean"`

	// BetweenLaunches is the spread of the launches' medians: (max-min)/median, 0 if that is 0.
	BetweenLaunches float64 `json:"betweenLaunches"`
}

// Estimate is a value with its 95 % interval: Low <= Value <= High.
type Estimate struct {
	Value float64 `json:"value"`
	Low   float64 `json:"low"`
	High  float64 `json:"high"`
}

// Bin counts the samples from Low up to High, in nanoseconds.
type Bin struct {
	Low   float64 `json:"low"`
	High  float64 `json:"high"`
	Count int     `json:"count"`
}

// MaxBins bounds a histogram.
const MaxBins = 24

// Summarize fills in Samples, Stats and Histogram from Launches. The same samples and seed give the same
// result.
func (r *Row) Summarize(seed uint64) {}

// Summarize describes the samples of some launches, such as those of one half of an exit.
func Summarize(launches [][]float64, seed uint64) Summary { return Summary{} }
