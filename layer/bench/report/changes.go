package report

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Print writes what differs as a table of at most 100 columns: rows that are the same, or n/a in both
// reports, are only counted.
func (c Comparison) Print(w io.Writer) error {
	t := &table{width: defaultWidth}
	t.facts(c.facts(), 11)
	t.WriteByte('\n')
	for _, r := range c.Rows {
		if r.differs() {
			t.name = min(maxName, max(t.name, utf8.RuneCountInString(r.Name)))
		}
	}
	for _, r := range c.Rows {
		if r.differs() {
			t.change(r)
		}
	}
	t.line("", c.count())
	_, err := io.WriteString(w, t.String())
	return err
}

// facts says what was compared, and what to think of it.
func (c Comparison) facts() []fact {
	facts := []fact{{Label: "before", Text: c.Before.String()}, {Label: "after", Text: c.After.String()}}
	for _, d := range c.Differences {
		facts = append(facts, fact{Label: "differs", Text: fmt.Sprintf("%s: %s, then %s", d.Name, present(d.Before), present(d.After))})
	}
	for _, why := range c.Refused {
		facts = append(facts, fact{Label: "misleads", Text: why, Warn: true})
	}
	return facts
}

// String implements fmt.Stringer.
func (r Run) String() string { return run(Report{Started: r.Started, Launches: r.Launches}) }

func present(s string) string {
	if s == "" {
		return "absent"
	}
	return s
}

// differs says that a reader should see the row.
func (c *Change) differs() bool {
	return c.Verdict != Same && (c.Verdict != NA || c.Before != nil || c.After != nil)
}

// change writes one row.
func (t *table) change(c Change) {
	var parts []string
	switch {
	case c.Before != nil && c.After != nil:
		parts = append(parts, fmt.Sprintf("%s, then %s", duration(c.Before.Value), duration(c.After.Value)))
	case c.Before != nil:
		parts = append(parts, "was "+duration(c.Before.Value))
	case c.After != nil:
		parts = append(parts, "is "+duration(c.After.Value))
	}
	if r := c.Ratio; r != nil {
		parts = append(parts, fmt.Sprintf("%s times (%s to %s)", times(r.Value), times(r.Low), times(r.High)))
	}
	if c.Why != "" {
		parts = append(parts, c.Why)
	}
	t.line(fmt.Sprintf("%-6s  %s  ", c.Verdict, pad(c.Name, t.name)), strings.Join(parts, "; "))
}

// count sums the rows up.
func (c Comparison) count() string {
	count := map[Verdict]int{}
	for _, r := range c.Rows {
		count[r.Verdict]++
	}
	var parts []string
	for _, v := range []Verdict{Same, Faster, Slower, Gone, New, NA} {
		if count[v] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", count[v], v))
		}
	}
	return strings.Join(append([]string{fmt.Sprintf("%d rows", len(c.Rows))}, parts...), ", ")
}
