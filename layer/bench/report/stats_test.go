package report

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// launchesOf draws samples around center: each launch has its own shift, as share of center, and its samples
// spread around it.
func launchesOf(seed uint64, launches, n int, center, between, within float64) [][]float64 {
	rng := rand.New(rand.NewPCG(seed, 7))
	all := make([][]float64, launches)
	for i := range all {
		own := center * (1 + between*rng.NormFloat64())
		for range n {
			all[i] = append(all[i], own*(1+within*rng.NormFloat64()))
		}
	}
	return all
}

// upTo returns the numbers from 1 to n in an order that is not sorted.
func upTo(n int) []float64 {
	list := make([]float64, n)
	for i := range list {
		list[i] = float64((i*7919)%n + 1) // 7919 is prime
	}
	return list
}

func TestQuantilesAreOfNearestRank(t *testing.T) {
	for _, tt := range []struct {
		n                   int
		p50, p90, p99, p999 float64
	}{
		{1, 1, 1, 1, 1},
		{2, 1, 2, 2, 2},
		{3, 2, 3, 3, 3},
		{10, 5, 9, 10, 10},
		{100, 50, 90, 99, 100},
		{999, 500, 900, 990, 999},
		{1000, 500, 900, 990, 999},
		{10000, 5000, 9000, 9900, 9990},
	} {
		s := Summarize([][]float64{upTo(tt.n)}, 1)
		got := []float64{s.P50.Value, s.P90.Value, s.P99.Value, s.P999.Value, s.Min, s.Max, s.Mean}
		want := []float64{tt.p50, tt.p90, tt.p99, tt.p999, 1, float64(tt.n), float64(tt.n+1) / 2}
		if !slices.Equal(got, want) {
			t.Errorf("n=%d: p50, p90, p99, p99.9, min, max, mean = %v, want %v", tt.n, got, want)
		}
	}
}

func TestEstimateIsTheMedianOfLaunches(t *testing.T) {
	for _, tt := range []struct {
		launches      [][]float64
		p50, low, hi  float64
		betweenMedian float64
	}{
		{[][]float64{{1}, {2}, {9}, {4}, {3}}, 3, 1, 9, 8.0 / 3}, // five: the interval spans all of them
		{[][]float64{{4}, {2}}, 3, 2, 4, 2.0 / 3},
		{[][]float64{{5, 5, 5}}, 5, 5, 5, 0},
		{[][]float64{{}, {5}, nil, {5, 5}}, 5, 5, 5, 0},
		{[][]float64{{0}, {0}, {1}}, 0, 0, 1, 0}, // a median of 0 has no relative spread
	} {
		s := Summarize(tt.launches, 1)
		if want := (Estimate{tt.p50, tt.low, tt.hi}); s.P50 != want || math.Abs(s.BetweenLaunches-tt.betweenMedian) > 1e-12 {
			t.Errorf("Summarize(%v): p50 %v, between launches %v; want %v, %v", tt.launches, s.P50, s.BetweenLaunches, want, tt.betweenMedian)
		}
	}
}

// TestIntervalCountsNoiseBetweenLaunches fails if only samples are drawn and launches are taken as given.
func TestIntervalCountsNoiseBetweenLaunches(t *testing.T) {
	quiet := Summarize(launchesOf(1, 5, 10000, 1000, 0, 0.05), 1).P50
	noisy := Summarize(launchesOf(1, 5, 10000, 1000, 0.05, 0.05), 1).P50
	if got := (quiet.High - quiet.Low) / quiet.Value; got > 0.005 {
		t.Errorf("interval of equal launches is %v of %v wide, want below 0.005", got, quiet)
	}
	if got := (noisy.High - noisy.Low) / noisy.Value; got < 0.05 {
		t.Errorf("interval of launches that differ by 5 %% is %v of %v wide, want above 0.05", got, noisy)
	}
}

// TestIntervalCountsNoiseInsideLaunches fails if only launches are drawn and their quantiles are taken as exact.
func TestIntervalCountsNoiseInsideLaunches(t *testing.T) {
	one := launchesOf(3, 1, 200, 1000, 0, 0.1)
	s := Summarize([][]float64{one[0], one[0], one[0]}, 1)
	if s.P50.Low >= s.P50.Value || s.P50.High <= s.P50.Value {
		t.Errorf("p50 of three equal launches of 200 samples = %v, want an interval around it", s.P50)
	}
}

// TestRedrawIsTheBootstrap compares the shortcut with drawing every sample.
func TestRedrawIsTheBootstrap(t *testing.T) {
	for _, tt := range []struct {
		n int
		q float64
	}{{1, 0.5}, {2, 0.5}, {5, 0.9}, {40, 0.5}, {40, 0.99}, {200, 0.9}} {
		l := upTo(tt.n)
		slices.Sort(l)
		rng := rand.New(rand.NewPCG(5, 5))
		const repeats = 4000
		short, plain, draws := make([]float64, repeats), make([]float64, repeats), make([]float64, tt.n)
		for i := range repeats {
			short[i] = redraw(l, tt.q, rng)
			for j := range draws {
				draws[j] = l[rng.IntN(tt.n)]
			}
			slices.Sort(draws)
			plain[i] = draws[rank(tt.n, tt.q)-1]
		}
		// Two samples of 4000 of one distribution are further apart than this in one experiment of 10,000.
		if d := distance(short, plain); d > 0.05 {
			t.Errorf("n=%d q=%v: the distributions are %v apart (Kolmogorov-Smirnov), want below 0.05", tt.n, tt.q, d)
		}
	}
}

// distance is the largest difference of two distribution functions.
func distance(a, b []float64) float64 {
	slices.Sort(a)
	slices.Sort(b)
	d := 0.0
	for _, v := range a {
		i, _ := slices.BinarySearch(a, math.Nextafter(v, math.Inf(1)))
		j, _ := slices.BinarySearch(b, math.Nextafter(v, math.Inf(1)))
		d = max(d, math.Abs(float64(i)/float64(len(a))-float64(j)/float64(len(b))))
	}
	return d
}

// TestIntervalHoldsTheTruth repeats an experiment whose median is known.
func TestIntervalHoldsTheTruth(t *testing.T) {
	const experiments = 200
	held := 0
	for i := range uint64(experiments) {
		e := estimate(tidy(launchesOf(100+i, 5, 50, 1000, 0.03, 0.03)), 0.5, rand.New(rand.NewPCG(i, 0)))
		if e.Low <= 1000 && 1000 <= e.High {
			held++
		}
	}
	if share := float64(held) / experiments; share < 0.9 {
		t.Errorf("the interval holds the true median in %v of experiments, want at least 0.9", share)
	}
}

func TestSummarizeIsDeterministic(t *testing.T) {
	launches := launchesOf(1, 5, 300, 1000, 0.02, 0.05)
	a, b := Row{Launches: launches}, Row{Launches: launches}
	a.Summarize(7)
	b.Summarize(7)
	if diff := cmp.Diff(a, b); diff != "" {
		t.Errorf("two summaries differ:\n%s", diff)
	}
	b.Summarize(8)
	if a.Stats == b.Stats {
		t.Error("another seed gives the same intervals: it is not used")
	}
}

func TestSummarizeLeavesItsSamplesAlone(t *testing.T) {
	r := Row{Launches: [][]float64{{3, -1, 2}, {math.NaN(), math.Inf(1), 5}}}
	r.Summarize(1)
	if want := [][]float64{{3, -1, 2}}; !slices.Equal(r.Launches[0], want[0]) {
		t.Errorf("samples are now %v, want %v", r.Launches[0], want[0])
	}
	if r.Samples != 4 || r.Stats.Min != 0 || r.Stats.Max != 5 || r.NA != "" {
		t.Errorf("samples, min, max, n/a = %v, %v, %v, %q; want 4, 0 (from -1), 5", r.Samples, r.Stats.Min, r.Stats.Max, r.NA)
	}
}

func TestSummarizeWithoutSamples(t *testing.T) {
	for _, launches := range [][][]float64{nil, {}, {{}, nil}, {{math.NaN()}}} {
		r := Row{Launches: launches}
		r.Summarize(1)
		if r.NA == "" || r.Samples != 0 || r.Histogram != nil || r.Stats != (Summary{}) {
			t.Errorf("Summarize of %v = %+v, want it n/a and empty", launches, r)
		}
	}
	r := Row{NA: "no vmcall"}
	if r.Summarize(1); r.NA != "no vmcall" {
		t.Errorf("n/a = %q, want the reason that was there", r.NA)
	}
}

func TestHistogram(t *testing.T) {
	for _, tt := range []struct {
		name string
		l    [][]float64
		want []Bin
	}{
		{"none", nil, nil},
		{"one", [][]float64{{5}}, []Bin{{5, 5, 1}}},
		{"nothing measurable", [][]float64{{0, 0}}, []Bin{{0, 0, 2}}},
		{"hardly different", [][]float64{{100, 101}, {100.5}}, []Bin{{100, 101, 3}}},
		{"one as long as the baseline", [][]float64{{0, 100, 100}}, fromZero(10, 100)},
		{"two bins", [][]float64{{100, 103}}, []Bin{{100, 100 * math.Sqrt(1.03), 1}, {100 * math.Sqrt(1.03), 103, 1}}},
	} {
		got := histogram(tt.l)
		near := cmp.Comparer(func(a, b float64) bool { return math.Abs(a-b) < 1e-9 })
		if diff := cmp.Diff(tt.want, got, near); diff != "" {
			t.Errorf("%s: histogram() differs (-want +got):\n%s", tt.name, diff)
		}
	}
}

// fromZero has one sample in the first of 24 bins from low, which begins at 0, and two in the last.
func fromZero(low, high float64) []Bin {
	bins := make([]Bin, MaxBins)
	for i := range bins {
		bins[i] = Bin{low * math.Pow(high/low, float64(i)/MaxBins), low * math.Pow(high/low, float64(i+1)/MaxBins), 0}
	}
	bins[0].Low, bins[0].Count, bins[MaxBins-1].Count = 0, 1, 2
	return bins
}

func TestHistogramIsLogarithmicAndComplete(t *testing.T) {
	for _, high := range []float64{101, 103, 150, 1000, 1e9, maxTime} {
		l := []float64{0, 100}
		if high < 1e9 {
			l = l[1:]
		}
		for v := 100.0; v <= high; v *= 1.001 {
			l = append(l, v)
		}
		l = append(l, high)
		bins := histogram([][]float64{l, {l[0], high}})
		sum := 0
		for i, b := range bins {
			sum += b.Count
			if b.Low > b.High || i > 0 && b.Low != bins[i-1].High {
				t.Errorf("up to %v: bin %d is %v after %v", high, i, b, bins[max(i, 1)-1])
			}
			if ratio := bins[len(bins)-1].High / bins[len(bins)-1].Low; i > 0 && math.Abs(b.High/b.Low/ratio-1) > 1e-6 {
				t.Errorf("up to %v: bin %d of %d grows by %v, the last one by %v", high, i, len(bins), b.High/b.Low, ratio)
			}
		}
		if sum != len(l)+2 || len(bins) > MaxBins || bins[0].Low != l[0] || bins[len(bins)-1].High != high {
			t.Errorf("up to %v: %d bins from %v to %v hold %d samples, want all %d", high, len(bins), bins[0].Low, bins[len(bins)-1].High, sum, len(l)+2)
		}
	}
}

// FuzzSummarize holds the invariants for any samples.
func FuzzSummarize(f *testing.F) {
	f.Add(uint64(1), 1.0, 2.0, math.NaN(), -5.0, uint8(3))
	f.Add(uint64(2), 0.0, 1e-300, 1e300, 0.1, uint8(0))
	f.Fuzz(func(t *testing.T, seed uint64, a, b, c, d float64, split uint8) {
		all := []float64{a, b, c, d, a, a}
		i := int(split) % len(all)
		r := Row{Name: "x", Launches: [][]float64{all[:i], all[i:], {b}}}
		r.Summarize(seed)
		if err := (&Report{Version: Version, Rows: []Row{r}}).check(); err != nil {
			t.Errorf("Summarize of %v: %v", r.Launches, err)
		}
	})
}

func BenchmarkSummarize(b *testing.B) {
	for _, launches := range []int{1, 5, 20} {
		b.Run(fmt.Sprintf("launches=%d", launches), func(b *testing.B) {
			r := Row{Launches: launchesOf(1, launches, 10000, 1000, 0.02, 0.05)}
			for b.Loop() {
				r.Summarize(1)
			}
		})
	}
}
