package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"
)

// outcome of a test. A larger one wins over a smaller one when several tiers ran the same test.
type outcome int

const (
	skipped outcome = iota
	passed
	failed
)

// test names a test of a package; an empty name is the package itself.
type test struct{ pkg, name string }

func (t test) String() string { return strings.TrimSpace(t.pkg + " " + t.name) }

// sub says that it is a subtest, which is part of its parent.
func (t test) sub() bool { return strings.Contains(t.name, "/") }

// results is what all tiers found.
type results struct {
	outcomes map[test]outcome
	reasons  map[test]string // why it was skipped or failed, as the test said it
	tiers    []*tier
	out      io.Writer // progress
}

func newResults() *results {
	return &results{outcomes: map[test]outcome{}, reasons: map[test]string{}, out: os.Stdout}
}

// tier collects the events of one tier.
type tier struct {
	name     string
	all      *results
	began    time.Time
	took     time.Duration
	slow     bool // tests are worth a line each
	packages int
	ends     map[test]outcome            // top-level tests, for the table
	output   map[test]*strings.Builder   // of what is running
	builds   map[string]*strings.Builder // compiler's output by import path
	bad      map[string]bool             // packages with a failed test
}

func (r *results) tier(name string) *tier {
	t := &tier{name: name, all: r, began: time.Now(), ends: map[test]outcome{}, output: map[test]*strings.Builder{}, builds: map[string]*strings.Builder{}, bad: map[string]bool{}}
	r.tiers = append(r.tiers, t)
	fmt.Fprintf(r.out, "%s tier\n", name)
	return t
}

// end notes how long the tier took.
func (t *tier) end() { t.took = time.Since(t.began) }

// count returns how many top-level tests had that outcome.
func (t *tier) count(o outcome) int {
	n := 0
	for _, got := range t.ends {
		if got == o {
			n++
		}
	}
	return n
}

// add takes one event of go test -json.
func (t *tier) add(e event) {
	id := test{e.Package, e.Test}
	switch e.Action {
	case "output":
		t.keep(id, e.Output)
	case "attr": // what a test wants to be seen although it passes, such as a figure
		fmt.Fprintf(t.all.out, "      %s: %s\n", e.Key, e.Value)
	case "again": // failed, and runs once more
		t.show("again "+id.String(), t.take(id))
	case "build-output":
		if t.builds[e.ImportPath] == nil {
			t.builds[e.ImportPath] = &strings.Builder{}
		}
		t.builds[e.ImportPath].WriteString(e.Output)
	case "pass", "fail", "skip":
		o := map[string]outcome{"pass": passed, "fail": failed, "skip": skipped}[e.Action]
		if e.Test == "" {
			t.endPackage(e, o)
		} else {
			t.endTest(e, o)
		}
	}
}

func (t *tier) keep(id test, text string) {
	if id.pkg == "" {
		fmt.Fprint(t.all.out, text)
		return
	}
	if t.output[id] == nil {
		t.output[id] = &strings.Builder{}
	}
	t.output[id].WriteString(text)
}

// take returns what the test printed and forgets it.
func (t *tier) take(id test) string {
	b := t.output[id]
	delete(t.output, id)
	if b == nil {
		return ""
	}
	return b.String()
}

// endTest records a test or subtest and shows what a failed one said.
func (t *tier) endTest(e event, o outcome) {
	id := test{e.Package, e.Test}
	text := t.take(id)
	if t.slow && o == passed && !id.sub() {
		fmt.Fprintf(t.all.out, "      %-40s %6.1fs\n", id.name, seconds(e.Elapsed).Seconds())
	}
	if o == failed {
		t.bad[id.pkg] = true
		t.show("FAIL  "+id.String(), text)
	}
	if !id.sub() {
		t.ends[id] = o
	}
	t.record(id, o, text)
}

func (t *tier) record(id test, o outcome, text string) {
	if before, ok := t.all.outcomes[id]; ok && before > o {
		return
	}
	t.all.outcomes[id] = o
	t.all.reasons[id] = said(text)
}

// endPackage prints a package's line. A package that failed without a failed test is a failure itself.
func (t *tier) endPackage(e event, o outcome) {
	id := test{e.Package, ""}
	text := t.take(id)
	if o == skipped {
		return // no test files
	}
	t.packages++
	if o == failed && !t.bad[e.Package] {
		if b := t.builds[e.FailedBuild]; b != nil {
			text = b.String() + text
		}
		for other := range t.output { // what was running when it died
			if other.pkg == e.Package {
				text += t.take(other)
			}
		}
		t.ends[id] = failed
		t.record(id, failed, text)
		t.show("FAIL  "+e.Package, text)
	}
	if o == passed {
		fmt.Fprintf(t.all.out, "  ok  %-40s %6.1fs\n", e.Package, seconds(e.Elapsed).Seconds())
	}
}

// frame matches the lines by which the testing package tells where a test begins and ends.
var frame = regexp.MustCompile(`(?m)^\s*(=== |--- |PASS$|FAIL$|FAIL\t|ok  \t|exit status ).*\n?`)

// said is what a test printed, without the testing package's own lines.
func said(text string) string { return strings.TrimSpace(frame.ReplaceAllString(text, "")) }

// show prints a headline and, indented, what belongs to it.
func (t *tier) show(headline, text string) {
	fmt.Fprintln(t.all.out, headline)
	for line := range strings.Lines(strings.TrimRight(frame.ReplaceAllString(text, ""), "\n")) {
		fmt.Fprintf(t.all.out, "      %s\n", strings.TrimRight(line, "\n"))
	}
}

// sorted returns the tests of one outcome in a stable order.
func (r *results) sorted(o outcome) []test {
	var list []test
	for id, got := range r.outcomes {
		if got == o {
			list = append(list, id)
		}
	}
	slices.SortFunc(list, func(a, b test) int { return cmp.Or(cmp.Compare(a.pkg, b.pkg), cmp.Compare(a.name, b.name)) })
	return list
}
