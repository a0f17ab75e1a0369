package report

import (
	"fmt"
	"math"
)

// picture is a drawn histogram: times grow from left to right by their logarithm, counts upwards by theirs.
type picture struct {
	Bars      []bar
	Ticks     []tick
	At        string // place of p50
	Low, Wide string // of its interval: the lower end's place, and the width
}

// bar is one bin of a picture.
type bar struct {
	X, Width  string
	Y, Height int // pixels
	Title     string
}

// Measures of a picture. Left and right of its axis is room for half of a label.
const (
	pictureLeft, pictureRight = 9, 91 // hundredths of the width
	thinnest                  = 2     // bar, hundredths of the width
	pictureHeight             = 40    // pixels, of the highest bar
	lowestBar                 = 2     // pixels, of a bin with any sample
	pictureTicks              = 4
)

// draw draws the row's histogram; nil if it has none.
func draw(r Row) *picture {
	bins := r.Histogram
	if len(bins) == 0 {
		return nil
	}
	low, high := bins[0].Low, max(1, bins[len(bins)-1].High) // else what took no time would have an axis of next to none
	if len(bins) > 1 {                                       // the first bin goes down to the least sample, but is drawn as wide as the second
		low = max(low, bins[0].High*bins[1].Low/bins[1].High)
	}
	a := newAxis(low, high, pictureLeft, pictureRight)
	p := &picture{Ticks: a.labelled(pictureTicks, roundTime)}
	e := r.Stats.P50
	left, _ := a.at(e.Low)
	at, _ := a.at(e.Value)
	right, _ := a.at(e.High)
	p.Low, p.At, p.Wide = hundredths(left), hundredths(at), hundredths(max(right-left, 0))
	top := 1
	for _, b := range bins {
		top = max(top, b.Count)
	}
	for _, b := range bins {
		if b.Count > 0 {
			p.Bars = append(p.Bars, a.bar(b, top))
		}
	}
	return p
}

// bar draws a bin that has samples; top is the largest count.
func (a axis) bar(b Bin, top int) bar {
	left, _ := a.at(b.Low)
	right, _ := a.at(b.High)
	width := max(right-left, thinnest)
	height := lowestBar + int((pictureHeight-lowestBar)*math.Log1p(float64(b.Count))/math.Log1p(float64(top)))
	return bar{
		X: hundredths(min(left, a.right-width)), Width: hundredths(width),
		Y: pictureHeight - height, Height: height,
		Title: fmt.Sprintf("%s to %s, samples: %d", duration(b.Low), duration(b.High), b.Count),
	}
}
