package report

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestAxisPlacesByLogarithm(t *testing.T) {
	a := newAxis(1, 100, 10, 90)
	for _, tt := range []struct {
		v, want float64
		on      bool
	}{
		{1, 10, true}, {10, 50, true}, {100, 90, true}, {0.99, 10, false}, {101, 90, false},
		{0, 10, false}, {-1, 10, false}, {math.NaN(), 10, false}, {math.Inf(1), 90, false}, {math.Inf(-1), 10, false},
	} {
		if got, on := a.at(tt.v); math.Abs(got-tt.want) > 1e-9 || on != tt.on {
			t.Errorf("at(%v) = %v, %v, want %v, %v", tt.v, got, on, tt.want, tt.on)
		}
	}
}

func TestAxisHasAnExtent(t *testing.T) {
	ends := []float64{math.NaN(), math.Inf(-1), -1, 0, 1e-320, smallest, 1, 1.01, 1e9, maxTime, math.MaxFloat64, math.Inf(1)}
	for _, low := range ends {
		for _, high := range ends {
			if a := newAxis(low, high, 0, 100); !(a.low > 0 && a.high/a.low > shortest-1e-9 && a.high < 2*maxTime) {
				t.Errorf("newAxis(%v, %v) goes from %v to %v", low, high, a.low, a.high)
			}
		}
	}
}

func TestTicksAreRound(t *testing.T) {
	for _, tt := range []struct {
		low, high float64
		most      int
		want      []string
	}{
		{100, 100, 4, []string{"96 ns", "98 ns", "100 ns", "102 ns", "104 ns"}},
		{1000, 1300, 4, []string{"1 µs", "1.1 µs", "1.2 µs", "1.3 µs"}},
		{0.9, 12, 4, []string{"1 ns", "2 ns", "5 ns", "10 ns"}},
		{0.9, 25, 4, []string{"1 ns", "3 ns", "10 ns"}},
		{1, 2e6, 4, []string{"1 ns", "100 ns", "10 µs", "1 ms"}},
		{1, 2e9, 4, []string{"1 ns", "1 µs", "1 ms", "1 s"}},
		{smallest, maxTime, 4, []string{"1 ns", "1 ms", "1000 s"}},
	} {
		var got []string
		for _, v := range newAxis(tt.low, tt.high, 0, 100).labelled(tt.most, roundTime) {
			got = append(got, v.Label)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("ticks from %v to %v = %q, want %q", tt.low, tt.high, got, tt.want)
		}
	}
}

// TestAnyAxisHasSomeTicks draws axes by chance, whose ticks must be told from one another.
func TestAnyAxisHasSomeTicks(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 0))
	for range 20000 {
		low := math.Pow(10, -3+17*rng.Float64())
		a := newAxis(low, low*math.Pow(10, 18*math.Pow(rng.Float64(), 4)), 0, 100)
		ticks := a.labelled(pictureTicks, roundTime)
		if len(ticks) < 2 || len(ticks) > pictureTicks+1 {
			t.Errorf("from %v to %v: %d ticks", a.low, a.high, len(ticks))
		}
		for i := range ticks[1:] {
			if ticks[i].Label == ticks[i+1].Label || ticks[i].At == ticks[i+1].At {
				t.Errorf("from %v to %v: %v is beside %v", a.low, a.high, ticks[i], ticks[i+1])
			}
		}
	}
}
