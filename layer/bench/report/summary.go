package report

import (
	"math"
	"math/rand/v2"
	"slices"
)

// Summary describes samples, in nanoseconds.
type Summary struct {
	P50  Estimate `json:"p50"`
	P90  Estimate `json:"p90"`
	P99  Estimate `json:"p99"`
	P999 Estimate `json:"p999"`
	Min  float64  `json:"min"`
	Max  float64  `json:"max"`
	Mean float64  `json:"mean"` // of all samples

	// BetweenLaunches is the spread of the launches' medians: (max-min)/median, 0 if that is 0.
	BetweenLaunches float64 `json:"betweenLaunches"`
}

// Estimate is a value with its 95 % interval: Low <= Value <= High.
type Estimate struct {
	Value float64 `json:"value"`
	Low   float64 `json:"low"`
	High  float64 `json:"high"`
}

// maxTime bounds times in nanoseconds, some 11 days: sums and ratios of such cannot overflow.
const maxTime = 1e15

// Summarize fills in Samples, Stats and Histogram from Launches. The same samples and seed give the same
// result. A row without samples becomes n/a.
func (r *Row) Summarize(seed uint64) {
	launches := tidy(r.Launches)
	r.Samples = 0
	for _, l := range launches {
		r.Samples += len(l)
	}
	if r.Samples == 0 && r.NA == "" {
		r.NA = "it gave no samples"
	}
	r.Stats, r.Histogram = summarize(launches, seed), histogram(launches)
}

// Summarize describes the samples of some launches, such as those of one half of an exit.
func Summarize(launches [][]float64, seed uint64) Summary { return summarize(tidy(launches), seed) }

// tidy returns sorted copies of the launches that have samples. What took less than the baseline took no
// time; what is no number was not measured.
func tidy(launches [][]float64) [][]float64 {
	var all [][]float64
	for _, l := range launches {
		kept := make([]float64, 0, len(l))
		for _, v := range l {
			if !math.IsNaN(v) && !math.IsInf(v, 0) {
				kept = append(kept, min(max(v, 0), maxTime))
			}
		}
		if len(kept) > 0 {
			slices.Sort(kept)
			all = append(all, kept)
		}
	}
	return all
}

// summarize describes tidy launches.
func summarize(launches [][]float64, seed uint64) Summary {
	if len(launches) == 0 {
		return Summary{}
	}
	rng := rand.New(rand.NewPCG(seed, 0))
	var s Summary
	for i, e := range []*Estimate{&s.P50, &s.P90, &s.P99, &s.P999} {
		*e = estimate(launches, quantiles[i], rng)
	}
	s.Min, s.Max = launches[0][0], 0
	var medians []float64
	var sum, n float64
	for _, l := range launches {
		s.Min, s.Max = min(s.Min, l[0]), max(s.Max, l[len(l)-1])
		medians = append(medians, l[rank(len(l), 0.5)-1])
		for _, v := range l {
			sum += v
		}
		n += float64(len(l))
	}
	s.Mean = min(max(sum/n, s.Min), s.Max) // the sum is rounded
	if s.P50.Value > 0 {
		s.BetweenLaunches = min((slices.Max(medians)-slices.Min(medians))/s.P50.Value, maxTime)
	}
	return s
}
