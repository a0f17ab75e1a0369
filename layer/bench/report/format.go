package report

import (
	"fmt"
	"math"
	"strconv"
)

// duration formats nanoseconds with three digits.
func duration(ns float64) string {
	v, unit := scaled(ns)
	return fmt.Sprintf("%.*f %s", digits(v), v, unit)
}

// roundTime formats nanoseconds with at most three digits: no zeros stand at the end.
func roundTime(ns float64) string {
	v, unit := scaled(ns)
	return strconv.FormatFloat(v, 'f', -1, 64) + " " + unit
}

// roundRatio formats a ratio likewise.
func roundRatio(v float64) string { return fmt.Sprintf("%.3g×", v) }

// scaled rounds nanoseconds to three digits and returns them in the unit that is to be shown.
func scaled(ns float64) (v float64, unit string) {
	v, _ = strconv.ParseFloat(strconv.FormatFloat(ns, 'e', 2, 64), 64) // round first: 999.9 ns are 1.00 µs
	unit = "ns"
	for _, next := range []string{"µs", "ms", "s"} {
		if v < 1000 {
			break
		}
		v, unit = v/1000, next
	}
	return v, unit
}

// digits returns how many of three digits stand behind the point.
func digits(v float64) int {
	switch {
	case v < 10:
		return 2
	case v < 100:
		return 1
	}
	return 0
}

// spread formats the larger side of an interval as a share of the value.
func spread(e Estimate) string {
	side := max(e.High-e.Value, e.Value-e.Low)
	switch share := 100 * side / e.Value; {
	case side == 0:
		return "0%"
	case share >= 999.5: // also of a value of 0
		return ">999%"
	case share >= 99.5:
		return fmt.Sprintf("%.0f%%", share)
	default:
		return fmt.Sprintf("%.1f%%", share)
	}
}

// times formats a ratio with three digits.
func times(ratio float64) string {
	if ratio < 0.1 || ratio >= 1000 {
		return fmt.Sprintf("%.3g", ratio)
	}
	return fmt.Sprintf("%.*f", digits(ratio), ratio)
}

// percent formats a share.
func percent(share float64) string { return fmt.Sprintf("%.1f %%", 100*share) }

// blocks are bars of growing height; a bin with any sample has one.
const blocks = " ▁▂▃▄▅▆▇█"

// bars draws a histogram of at most width characters, merging neighbours if there are more bins.
func bars(bins []Bin, width int) string {
	n := min(len(bins), width)
	counts := make([]float64, n)
	top := 1.0
	for i := range counts {
		for _, b := range bins[i*len(bins)/n : (i+1)*len(bins)/n] {
			counts[i] += float64(b.Count)
		}
		top = max(top, counts[i])
	}
	heights := []rune(blocks)
	line := make([]rune, n)
	for i, c := range counts {
		line[i] = heights[0]
		if c > 0 {
			line[i] = heights[1+int(math.Round(7*math.Log(c)/math.Log1p(top)))]
		}
	}
	return string(line)
}
