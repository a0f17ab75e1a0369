package report

import (
	"fmt"
	"math"
)

// plot is a drawing of values with their intervals below one another on one axis.
type plot struct {
	Height int // pixels
	Foot   int // of the axis, pixels from the top
	Ticks  []tick
	One    string // place of the ratio 1, or empty
	Marks  []mark
}

// mark is a line of a plot: a value, or a group's heading, which has no places.
type mark struct {
	Y             int    // middle, in pixels from the top
	Name          string // of the row or the group
	Value, Title  string
	Row           int // in the table, from 0
	Class         Verdict
	Low, At, High string // places of the value and its interval
	Beyond        bool   // the value is not on the axis
}

// Measures of a plot. Names and values stand left of its axis, in a letter's width of about a hundredth of it on a phone.
const (
	plotLeft, plotRight = 40, 97 // hundredths of the width
	plotTop             = 22     // pixels, for labels; as many below
	lineHeight          = 18     // pixels
	plotName            = 26     // characters
	plotTicks           = 10
)

// leastShown is where the axis of a suite begins at the lowest, in nanoseconds: what takes less than a third of a cycle
// took about nothing, and a logarithm would make much of it.
const leastShown = 0.1

// medians draws the p50 of all rows; nil if there are none.
func medians(rows []Row) *plot {
	low, high := math.Inf(1), 0.0
	for i := range rows {
		if e := rows[i].median(); e != nil {
			low, high = min(low, max(e.Low, leastShown)), max(high, e.High)
		}
	}
	p := newPlot(newAxis(low, high, plotLeft, plotRight), roundTime)
	for i := range rows {
		if e := rows[i].median(); e != nil {
			r := &rows[i]
			p.add(mark{Row: i, Name: r.Name, Value: duration(e.Value), Title: interval(*e, duration)}, r.Group, *e)
		}
	}
	return p.finish()
}

// widestRatio bounds the axis of a comparison, so that one row does not hide what became of the others.
const widestRatio = 8

// ratios draws the rows that have one; nil if none has.
func ratios(changes []Change) *plot {
	far := 1.0
	for _, c := range changes {
		if c.Ratio != nil {
			far = max(far, c.Ratio.High, 1/c.Ratio.Low)
		}
	}
	far = min(far, widestRatio)
	p := newPlot(newAxis(1/far, far, plotLeft, plotRight), roundRatio)
	one, _ := p.axis.at(1)
	p.One = hundredths(one)
	for i, c := range changes {
		if c.Ratio != nil {
			m := mark{Row: i, Name: c.Name, Value: times(c.Ratio.Value) + "×", Title: string(c.Verdict) + ", " + interval(*c.Ratio, times), Class: c.Verdict}
			p.add(m, c.Group, *c.Ratio)
		}
	}
	return p.finish()
}

// plotter lays out a plot.
type plotter struct {
	plot
	axis  axis
	y     int
	group string
}

func newPlot(a axis, label func(float64) string) *plotter {
	return &plotter{plot: plot{Ticks: a.labelled(plotTicks, label)}, axis: a, y: plotTop + lineHeight/2}
}

// add draws a value, below the name of its group where a new one begins.
func (p *plotter) add(m mark, group string, e Estimate) {
	if len(p.Marks) == 0 || group != p.group {
		p.group = group
		p.line(mark{Name: cut(group, 2*plotName)})
	}
	low, _ := p.axis.at(e.Low)
	at, on := p.axis.at(e.Value)
	high, _ := p.axis.at(e.High)
	m.Title = m.Name + ": " + m.Title
	m.Name = cut(m.Name, plotName)
	m.Low, m.At, m.High, m.Beyond = hundredths(low), hundredths(at), hundredths(high), !on
	p.line(m)
}

func (p *plotter) line(m mark) {
	m.Y = p.y
	p.y += lineHeight
	p.Marks = append(p.Marks, m)
}

func (p *plotter) finish() *plot {
	if len(p.Marks) == 0 {
		return nil
	}
	p.Foot = p.y - lineHeight/2
	p.Height = p.Foot + plotTop
	return &p.plot
}

// interval formats an estimate with both ends.
func interval(e Estimate, format func(float64) string) string {
	return fmt.Sprintf("%s (%s to %s)", format(e.Value), format(e.Low), format(e.High))
}
