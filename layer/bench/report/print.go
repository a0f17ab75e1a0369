package report

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"usui/layer/bench/where"
)

// Columns of the table: the name's is as wide as it must, up to maxName; the histogram's takes what is left,
// from minBars on. between is the rest with the space between columns.
const (
	maxName = 26
	minBars = 8
	between = 59
)

// defaultWidth is that of a table whose reader did not say.
const defaultWidth = 100

// table prints the rows of a report.
type table struct {
	strings.Builder
	width, name, bars int
	launches          int
	counted           counted
	methods           []string // in the order of their letters
	halves            []string // why rows have none
}

// Print writes the environment and a table with a row a case into width columns; 0 stands for 100. Only the
// histograms and long texts give way to a small width, down to 83 columns.
func (r Report) Print(w io.Writer, width int) error {
	r = r.plain()
	if width <= 0 {
		width = defaultWidth
	}
	t := &table{width: width, launches: r.Launches, counted: r.counted()}
	for i := range r.Rows {
		t.name = min(maxName, max(t.name, utf8.RuneCountInString(r.Rows[i].Name)))
	}
	if len(r.Rows) > 0 { // its heading stands above the names
		t.name = min(maxName, max(t.name, utf8.RuneCountInString(r.Rows[0].Group)-2))
	}
	if t.bars = min(MaxBins, width-t.name-between); t.bars < minBars {
		t.bars = 0
	}
	t.facts(r.facts(), 13)
	group := ""
	for i := range r.Rows {
		if row := &r.Rows[i]; i == 0 || row.Group != group {
			group = row.Group
			t.heading(group, i == 0)
		}
		t.row(&r.Rows[i])
	}
	t.legend()
	_, err := io.WriteString(w, t.String())
	return err
}

// facts writes a line each, behind labels of a width.
func (t *table) facts(facts []fact, width int) {
	for _, f := range facts {
		t.line(fmt.Sprintf("%-*s", width, f.Label), f.Text)
	}
}

// heading begins a group; the first one names the columns.
func (t *table) heading(group string, first bool) {
	t.WriteByte('\n')
	if !first {
		fmt.Fprintf(t, "%s\n", cut(group, t.width))
		return
	}
	fmt.Fprintf(t, "%-*s  %7s %6s  %7s  %7s  %7s  %6s how", t.name+2, cut(group, t.name+2), "p50", "±", "p90", "p99", "p99.9", t.counted.Name)
	if t.bars > 0 {
		t.WriteString("  samples")
	}
	t.WriteByte('\n')
}

func (t *table) row(r *Row) {
	if r.NA != "" {
		t.line("  "+pad(r.Name, t.name)+"  ", "n/a: "+r.NA)
		return
	}
	s := &r.Stats
	fmt.Fprintf(t, "  %s  %7s %6s  %7s  %7s  %7s  %6s  %c ", pad(r.Name, t.name), duration(s.P50.Value), spread(s.P50),
		quantile(s.P90, 0.9, *r, t.launches), quantile(s.P99, 0.99, *r, t.launches), quantile(s.P999, 0.999, *r, t.launches), fmt.Sprintf("%.3g", r.Exits), t.letter(r.Method))
	if t.bars > 0 {
		t.WriteString("  " + bars(r.Histogram, t.bars))
	}
	t.WriteByte('\n')
	if r.ExitHalf != nil && r.EntryHalf != nil {
		t.line(strings.Repeat(" ", t.name+4), fmt.Sprintf("of this exit %s ± %s, entry %s ± %s", duration(r.ExitHalf.P50.Value),
			spread(r.ExitHalf.P50), duration(r.EntryHalf.P50.Value), spread(r.EntryHalf.P50)))
	} else if r.Halves != "" && !slices.Contains(t.halves, r.Halves) {
		t.halves = append(t.halves, r.Halves)
	}
}

// quantile formats a quantile. With fewer than 1/(1-q) samples a launch it would be the largest one, which says nothing of
// the kind.
func quantile(e Estimate, q float64, r Row, launches int) string {
	if float64(r.Samples)*(1-q) < float64(launches)*(1-1e-9) { // 1-0.9 is a little less than a tenth
		return "-"
	}
	return duration(e.Value)
}

// counted is what a report's exits are.
type counted struct{ Name, Means string }

func (r Report) counted() counted {
	if r.Where.Kind == where.Software {
		return counted{"instr", "instructions of the guest that this KVM emulated, an operation, as its statistics count them"}
	}
	return counted{"exits", "of the guest to KVM, an operation, as KVM's statistics count them"}
}

// letter returns the letter that stands for a method. Beyond z they are not told apart.
func (t *table) letter(method string) rune {
	i := slices.Index(t.methods, method)
	if i < 0 {
		i, t.methods = len(t.methods), append(t.methods, method)
	}
	return rune('a' + min(i, 'z'-'a'))
}

// legend says what the columns mean.
func (t *table) legend() {
	t.WriteByte('\n')
	for _, m := range t.methods {
		t.line(fmt.Sprintf("how %c  ", t.letter(m)), m)
	}
	for _, why := range t.halves {
		t.line("halves of an exit  ", why)
	}
	t.line("±      ", "the larger side of the 95 % interval of p50, which counts differences between launches")
	t.line(t.counted.Name+"  ", t.counted.Means)
	if t.bars > 0 {
		t.line("bars   ", "times grow from left (min) to right (max) and counts from bottom to top by a constant ratio")
	}
}

// line writes words behind a label, and below one another where they do not fit.
func (t *table) line(label, text string) {
	indent := utf8.RuneCountInString(label)
	t.WriteString(label)
	column := indent
	for i, word := range strings.Fields(text) {
		n := utf8.RuneCountInString(word)
		if column+1+n > t.width && i > 0 {
			fmt.Fprintf(t, "\n%*s", indent, "")
			column = indent
		} else if i > 0 {
			t.WriteByte(' ')
			column++
		}
		t.WriteString(word)
		column += n
	}
	t.WriteByte('\n')
}

// pad makes s n characters long.
func pad(s string, n int) string { return fmt.Sprintf("%-*s", n, cut(s, n)) }

// cut shortens s to n characters.
func cut(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:max(n-1, 0)]) + "…"
}
