package main

import (
	"fmt"
	"slices"
)

// spread is what several rounds gave.
type spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
	N      int     `json:"n"`
}

// spreadOf is the zero spread for no values.
func spreadOf(values []float64) spread {
	n := len(values)
	if n == 0 {
		return spread{}
	}
	sorted := slices.Sorted(slices.Values(values))
	return spread{Median: (sorted[(n-1)/2] + sorted[n/2]) / 2, Min: sorted[0], Max: sorted[n-1], N: n}
}

// text writes a spread with as many decimals as asked for.
func (s spread) text(decimals int) string {
	if s.N == 0 {
		return "-"
	}
	return fmt.Sprintf("%.*f [%.*f-%.*f]", decimals, s.Median, decimals, s.Min, decimals, s.Max)
}

// scaled is every value times factor.
func (s spread) scaled(factor float64) spread {
	return spread{Median: s.Median * factor, Min: s.Min * factor, Max: s.Max * factor, N: s.N}
}
