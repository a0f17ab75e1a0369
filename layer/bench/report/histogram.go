package report

import "math"

// Bin counts the samples from Low up to High, in nanoseconds; the last bin holds High, too.
type Bin struct {
	Low   float64 `json:"low"`
	High  float64 `json:"high"`
	Count int     `json:"count"`
}

// MaxBins bounds a histogram.
const MaxBins = 24

// narrowest is the least ratio of a bin's ends: a row that hardly varies gets few bins, not the noise of its
// last digit.
const narrowest = 1.02

// Bins after the first begin at lowest of the median, or at smallest nanoseconds. A sample that was as long as
// the baseline is near 0, which has no logarithm, and would take all bins for times that hardly occur.
const (
	lowest   = 0.1
	smallest = 1e-3
)

// histogram counts the samples of tidy launches in bins whose ends grow by one ratio, from the least sample
// to the largest. The first bin also takes what is far below the median.
func histogram(launches [][]float64) []Bin {
	if len(launches) == 0 {
		return nil
	}
	low, high := math.Inf(1), 0.0
	var medians []float64
	for _, l := range launches {
		low, high = min(low, l[0]), max(high, l[len(l)-1])
		medians = append(medians, l[rank(len(l), 0.5)-1])
	}
	base := max(low, lowest*median(medians), smallest)
	width := math.Log(max(high/base, 1)) // of the whole range
	n := min(MaxBins, max(1, int(math.Ceil(width/math.Log(narrowest)))))
	bins := make([]Bin, n)
	for i := range bins {
		bins[i].Low = base * math.Exp(width*float64(i)/float64(n))
		bins[i].High = base * math.Exp(width*float64(i+1)/float64(n))
	}
	bins[0].Low, bins[n-1].High = low, high // as they are, not as rounded
	for _, l := range launches {
		i := 0 // l is sorted, so the bins come in turn
		for _, v := range l {
			for i < n-1 && v >= bins[i].High {
				i++
			}
			bins[i].Count++
		}
	}
	return bins
}
