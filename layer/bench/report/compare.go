package report

import (
	"fmt"
	"math"
	"strings"
	"time"

	"usui/layer/bench/where"
)

// Verdict says what became of a row.
type Verdict string

// A row is faster or slower only if the intervals of the two medians are disjoint.
const (
	Same   Verdict = "same"
	Faster Verdict = "faster"
	Slower Verdict = "slower"
	Gone   Verdict = "gone" // only the first report has it
	New    Verdict = "new"  // only the second report has it
	NA     Verdict = "n/a"  // Change.Why says why
)

// Comparison is what differs between two reports.
type Comparison struct {
	Version     int                `json:"version"`
	Before      Run                `json:"before"`
	After       Run                `json:"after"`
	Refused     []string           `json:"refused"`     // why the verdicts may mislead
	Differences []where.Difference `json:"differences"` // of what the two ran on
	Rows        []Change           `json:"rows"`
}

// Run names one of the two reports.
type Run struct {
	Started  time.Time         `json:"started"`
	Launches int               `json:"launches"`
	Where    where.Environment `json:"-"` // in JSON, Differences says enough
}

// Change is one row in both reports.
type Change struct {
	Name    string  `json:"name"`
	Group   string  `json:"group"`
	Verdict Verdict `json:"verdict"`
	Why     string  `json:"why,omitempty"`

	// Before and After are the medians in nanoseconds; nil where a report has none.
	Before *Estimate `json:"before,omitempty"`
	After  *Estimate `json:"after,omitempty"`

	// Ratio is After to Before. Its interval spans all ratios of values in theirs, so it leaves out 1
	// exactly if they are disjoint. It is nil if there is none, as with a median of 0.
	Ratio *Estimate `json:"ratio,omitempty"`
}

// StealLimit is the share of steal time above which a report is not compared: a hypervisor below that takes a
// hundredth of the time has made some samples a hundred times as long.
const StealLimit = 0.01

// leastLaunches is the number of launches below which two equal machines differ by chance in more than one row of
// twenty: all medians of the one lie beyond all of the other in 2 of 20 ways with 3 launches, in 2 of 70 with 4.
const leastLaunches = 4

// Refusal is the error of a comparison that would mislead.
type Refusal struct{ Reasons []string }

// Error implements error.
func (r *Refusal) Error() string {
	return "the reports do not compare: " + strings.Join(r.Reasons, "; ") + " (--force compares all the same)"
}

// Compare compares report b with report a that came before it. With a *[Refusal] the comparison is complete
// all the same, for a caller who was told to force it.
func Compare(a, b Report) (Comparison, error) {
	a, b = a.plain(), b.plain()
	c := Comparison{
		Version: Version,
		Before:  Run{a.Started, a.Launches, a.Where}, After: Run{b.Started, b.Launches, b.Where},
		Refused:     refusals(a, b),
		Differences: append([]where.Difference{}, a.Where.Differences(b.Where)...), // no null in JSON
		Rows:        changes(a, b),
	}
	if len(c.Refused) > 0 {
		return c, &Refusal{c.Refused}
	}
	return c, nil
}

// refusals says why two reports do not compare.
func refusals(a, b Report) []string {
	found := []string{}
	for i, r := range []Report{a, b} {
		if s := r.Where.Steal; !(s <= StealLimit) {
			found = append(found, fmt.Sprintf("steal time of %s in the %s, above %s", percent(s), nth(i), percent(StealLimit)))
		}
		if r.Launches < leastLaunches {
			found = append(found, fmt.Sprintf("launches of the %s: %d, below %d, so equal machines differ by chance", nth(i), r.Launches, leastLaunches))
		}
	}
	if a.Where.Kind != b.Where.Kind {
		found = append(found, fmt.Sprintf("the first ran on a KVM of kind %s, the second on one of kind %s", known(a.Where.Kind), known(b.Where.Kind)))
	}
	if a.Where.CPU != b.Where.CPU {
		found = append(found, fmt.Sprintf("the first ran on %s, the second on %s", known(a.Where.CPU), known(b.Where.CPU)))
	}
	return found
}

func nth(i int) string { return [...]string{"first report", "second report"}[i] }

// changes has the rows of a in their order, then those that only b has.
func changes(a, b Report) []Change {
	after := map[string]*Row{}
	for i := range b.Rows {
		after[b.Rows[i].Name] = &b.Rows[i]
	}
	list := []Change{}
	for i := range a.Rows {
		row := &a.Rows[i]
		list = append(list, change(row, after[row.Name]))
		delete(after, row.Name)
	}
	for i := range b.Rows {
		if row := &b.Rows[i]; after[row.Name] == row {
			list = append(list, Change{Name: row.Name, Group: row.Group, Verdict: New, Why: row.NA, After: row.median()})
		}
	}
	return list
}

// median returns the row's p50, nil if it has none.
func (r *Row) median() *Estimate {
	if r.NA != "" {
		return nil
	}
	e := r.Stats.P50
	return &e
}

// change judges one row; b is nil if the second report does not have it.
func change(a, b *Row) Change {
	c := Change{Name: a.Name, Group: a.Group, Verdict: NA, Before: a.median()}
	if b == nil {
		c.Verdict, c.Why = Gone, a.NA
		return c
	}
	c.After = b.median()
	switch {
	case a.NA != "" && b.NA != "":
		c.Why = a.NA
	case a.NA != "":
		c.Why = "before: " + a.NA
	case b.NA != "":
		c.Why = "after: " + b.NA
	case a.Method != b.Method:
		c.Why = fmt.Sprintf("before by %s, after by %s", known(a.Method), known(b.Method))
	default:
		c.Verdict, c.Ratio = judge(*c.Before, *c.After)
		if math.Abs(a.Exits-b.Exits) > exitsDiffer {
			c.Why = fmt.Sprintf("KVM counted %.3g an operation, then %.3g", a.Exits, b.Exits)
		}
	}
	return c
}

// exitsDiffer is a change of exits an operation that explains a change of time: more than the timer's exits
// that a run has by chance.
const exitsDiffer = 0.05

// judge compares two medians.
func judge(a, b Estimate) (Verdict, *Estimate) {
	verdict := Same
	switch {
	case b.High < a.Low:
		verdict = Faster
	case b.Low > a.High:
		verdict = Slower
	}
	ratio := Estimate{Value: b.Value / a.Value, Low: b.Low / a.High, High: b.High / a.Low}
	if a.Low == 0 || math.IsInf(ratio.High, 0) {
		return verdict, nil
	}
	return verdict, &ratio
}
