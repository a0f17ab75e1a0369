package report

import (
	"math"
	"math/rand/v2"
	"slices"
)

// resamples is how often the bootstrap repeats the experiment: a 95 % interval lies between the 25th and the
// 975th of them.
const resamples = 1000

// quantiles are those of a Summary.
var quantiles = [...]float64{0.5, 0.9, 0.99, 0.999}

// rank returns the place, counted from 1, of the nearest-rank quantile q among n sorted samples: the smallest
// one that at least the share q does not exceed. With fewer than 1000 samples p99.9 is the largest.
func rank(n int, q float64) int {
	return max(1, int(math.Ceil(q*float64(n)-1e-9))) // 0.999*1000 is a little more than 999
}

// estimate returns the median over the launches of their quantiles q, with its interval. launches are sorted
// and none is empty.
func estimate(launches [][]float64, q float64, rng *rand.Rand) Estimate {
	own := make([]float64, len(launches))
	for i, l := range launches {
		own[i] = l[rank(len(l), q)-1]
	}
	e := Estimate{Value: median(own)}
	repeated := make([]float64, resamples)
	for i := range repeated {
		for j := range own {
			own[j] = redraw(launches[rng.IntN(len(launches))], q, rng)
		}
		repeated[i] = median(own)
	}
	slices.Sort(repeated)
	// Few launches may have a median that their resamples seldom repeat.
	e.Low = min(e.Value, repeated[rank(resamples, 0.025)-1])
	e.High = max(e.Value, repeated[rank(resamples, 0.975)-1])
	return e
}

// redraw returns the quantile q of as many samples as l has, drawn from l with replacement. Drawing them is
// not needed: a draw is l[n*U] with U uniform in [0, 1), l is sorted, so the k-th smallest draw comes from the
// k-th smallest of n uniform numbers, and that has the distribution Beta(k, n+1-k).
func redraw(l []float64, q float64, rng *rand.Rand) float64 {
	n := len(l)
	k := rank(n, q)
	x, y := gamma(float64(k), rng), gamma(float64(n+1-k), rng)
	return l[min(n-1, int(float64(n)*x/(x+y)))]
}

// gamma draws from the gamma distribution of a shape of at least 1: Marsaglia and Tsang, "A simple method for
// generating gamma variables", ACM TOMS 26 (2000).
func gamma(shape float64, rng *rand.Rand) float64 {
	d := shape - 1.0/3
	c := 1 / math.Sqrt(9*d)
	for {
		x := rng.NormFloat64()
		v := 1 + c*x
		if v <= 0 {
			continue
		}
		v *= v * v
		if math.Log(1-rng.Float64()) < x*x/2+d-d*v+d*math.Log(v) {
			return d * v
		}
	}
}

// median sorts values and returns the one in the middle, or the mean of the two there.
func median(values []float64) float64 {
	slices.Sort(values)
	half := len(values) / 2
	if len(values)%2 == 1 {
		return values[half]
	}
	return values[half-1] + (values[half]-values[half-1])/2 // the sum could overflow
}
