package report

import (
	"fmt"
	"math"
)

// axis maps values to places by their logarithm. Made by newAxis, it takes any number.
type axis struct {
	low, high   float64 // values at its ends: 0 < low < high
	left, right float64 // places of its ends, in hundredths of a drawing's width
}

// shortest is the least ratio of an axis' ends: round values with three digits, as the ticks have, still differ on it.
const shortest = 1.1

// newAxis returns an axis from low to high between two places. The ends are kept to times that a report can hold and
// that have a logarithm; where they are all but equal, they are moved apart.
func newAxis(low, high, left, right float64) axis {
	low = bounded(low)
	high = max(low, bounded(high))
	if high/low < shortest {
		middle := math.Sqrt(low * high)
		low, high = middle/math.Sqrt(shortest), middle*math.Sqrt(shortest)
	}
	return axis{low, high, left, right}
}

// bounded returns v, or what is next to it from smallest to maxTime; NaN becomes smallest.
func bounded(v float64) float64 {
	if !(v > smallest) {
		return smallest
	}
	return min(v, maxTime)
}

// at returns the place of v. What lies beyond an end is at it, NaN at the left one; on tells it from the others.
func (a axis) at(v float64) (place float64, on bool) {
	share := math.Log(v/a.low) / math.Log(a.high/a.low)
	const rounding = 1e-9
	on = share >= -rounding && share <= 1+rounding
	if !(share > 0) {
		share = 0
	}
	return a.left + (a.right-a.left)*min(share, 1), on
}

// ticks returns round values on the axis, two or more, that grow. There are at most as many as wanted, which is 4 or more;
// but see multiples.
func (a axis) ticks(most int) []float64 {
	if a.high/a.low < 5 { // else there are two or more of 1, 2, 5, 10 and so on
		return a.multiples(most)
	}
	for _, try := range []struct {
		digits []float64
		every  int // decades
	}{{[]float64{1, 2, 5}, 1}, {[]float64{1, 3}, 1}, {[]float64{1}, 1}, {[]float64{1}, 2}, {[]float64{1}, 3}} {
		if found := a.decades(try.digits, try.every); len(found) <= most {
			return found
		}
	}
	return a.decades([]float64{1}, 6) // of 18 decades, from smallest to maxTime
}

// multiples returns the multiples on the axis of 1, 2 or 5 times a power of ten: two at least, for which there may be
// one more than wanted.
func (a axis) multiples(most int) []float64 {
	step := math.Pow10(int(math.Floor(math.Log10((a.high - a.low) / float64(most)))))
	var finer []float64
	for _, factor := range []float64{2, 2.5, 2, 2} { // 1, 2, 5, 10
		var found []float64
		for i := math.Ceil(a.low / step); i*step <= a.high; i++ {
			found = append(found, i*step)
		}
		if len(found) < 2 {
			break
		}
		if finer = found; len(found) <= most {
			break
		}
		step *= factor
	}
	return finer
}

// decades returns the values on the axis of those digits and a power of ten whose exponent is a multiple of every.
func (a axis) decades(digits []float64, every int) []float64 {
	var found []float64
	for e := int(math.Floor(math.Log10(a.low))); e <= int(math.Log10(a.high))+1; e++ {
		for _, d := range digits {
			if v := d * math.Pow10(e); e%every == 0 && v >= a.low && v <= a.high {
				found = append(found, v)
			}
		}
	}
	return found
}

// tick is a mark of an axis. Odd ones give way where the drawing is narrow.
type tick struct {
	At, Label string
	Odd       bool
}

// labelled returns the axis' ticks.
func (a axis) labelled(most int, label func(float64) string) []tick {
	var found []tick
	for i, v := range a.ticks(most) {
		place, _ := a.at(v)
		found = append(found, tick{At: hundredths(place), Label: label(v), Odd: i%2 == 1})
	}
	return found
}

// hundredths formats a place as SVG wants it.
func hundredths(place float64) string { return fmt.Sprintf("%.2f%%", place) }
