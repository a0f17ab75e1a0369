package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"usui/layer/bench/where"
)

// machine is a report of n rows, each with five launches that differ by 3 %. slow makes one row slower.
func machine(seed uint64, n, slow int, factor float64) Report {
	r := Report{Version: Version, Launches: 5, Where: where.Environment{CPU: "x", Kind: where.Hardware}}
	for i := range n {
		center := 100 * float64(i+1)
		if i == slow {
			center *= factor
		}
		row := Row{Name: fmt.Sprintf("row%d", i), Method: "m", Exits: 1, Launches: launchesOf(seed*10000+uint64(i), 5, 100, center, 0.03, 0.1)}
		row.Summarize(uint64(i))
		r.Rows = append(r.Rows, row)
	}
	return r
}

// compare wants no refusal.
func compare(t *testing.T, a, b Report) Comparison {
	t.Helper()
	c, err := Compare(a, b)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// different returns the names and verdicts of rows that are not the same.
func different(c Comparison) []string {
	var found []string
	for _, r := range c.Rows {
		if r.Verdict != Same {
			found = append(found, r.Name+" "+string(r.Verdict))
		}
	}
	return found
}

func TestCompareWithItselfReportsNothing(t *testing.T) {
	r := sample()
	c := compare(t, r, r)
	for _, row := range c.Rows {
		want := Same
		if row.Name == "hypercall" {
			want = NA
		}
		if row.Verdict != want {
			t.Errorf("%s is %s, want %s", row.Name, row.Verdict, want)
		}
		if want == Same && (row.Ratio == nil || row.Ratio.Value != 1) {
			t.Errorf("%s: ratio %v, want 1", row.Name, row.Ratio)
		}
	}
	var b bytes.Buffer
	if err := c.Print(&b); err != nil {
		t.Fatal(err)
	}
	if got, want := b.String(), "before     2026-11-23 07:55:06 UTC, launches: 5\nafter      2026-11-23 07:55:06 UTC, launches: 5\n\n5 rows, 4 same, 1 n/a\n"; got != want {
		t.Errorf("Print() = %q, want %q", got, want)
	}
}

// TestCompareReportsTheSlowRowAlone plants a factor in samples that are otherwise the same: in others, chance
// adds a row now and then, which TestCompareOfEqualMachines bounds.
func TestCompareReportsTheSlowRowAlone(t *testing.T) {
	for _, tt := range []struct {
		factor float64
		want   string
	}{{1.2, "row7 slower"}, {1 / 1.2, "row7 faster"}} {
		c := compare(t, machine(1, 20, -1, 1), machine(1, 20, 7, tt.factor))
		if got := different(c); !slices.Equal(got, []string{tt.want}) {
			t.Errorf("factor %v: different are %q, want %q alone", tt.factor, got, tt.want)
		}
		if other := compare(t, machine(1, 20, -1, 1), machine(2, 20, 7, tt.factor)); !slices.Contains(different(other), tt.want) {
			t.Errorf("factor %v in other samples: different are %q, want %q", tt.factor, different(other), tt.want)
		}
		r := c.Rows[7].Ratio
		if r == nil || r.Low > tt.factor || r.High < tt.factor {
			t.Errorf("factor %v: ratio %v, want an interval around it", tt.factor, r)
		}
	}
}

// TestCompareOfEqualMachines holds the rate of false alarms.
func TestCompareOfEqualMachines(t *testing.T) {
	const rows = 100
	c := compare(t, machine(3, rows, -1, 1), machine(4, rows, -1, 1))
	if got := different(c); len(got) > rows/20 {
		t.Errorf("%d of %d rows of equal machines differ: %q; want at most one of twenty", len(got), rows, got)
	}
}

func TestVerdictRespectsIntervals(t *testing.T) {
	before := Estimate{100, 90, 110}
	for _, tt := range []struct {
		after Estimate
		want  Verdict
	}{
		{Estimate{100, 90, 110}, Same},
		{Estimate{130, 109, 150}, Same}, // 30 % more, and yet they overlap
		{Estimate{130, 110, 150}, Same}, // they touch
		{Estimate{111, 110.5, 112}, Slower},
		{Estimate{70, 50, 90}, Same},
		{Estimate{89, 88, 89.5}, Faster},
		{Estimate{}, Faster},
	} {
		a := Report{Launches: 5, Rows: []Row{{Name: "x", Samples: 1, Stats: Summary{P50: before}}}}
		b := Report{Launches: 5, Rows: []Row{{Name: "x", Samples: 1, Stats: Summary{P50: tt.after}}}}
		got := compare(t, a, b).Rows[0]
		if got.Verdict != tt.want {
			t.Errorf("%v after %v is %s, want %s", tt.after, before, got.Verdict, tt.want)
		}
		if around := got.Ratio.Low <= 1 && 1 <= got.Ratio.High; around != (tt.want == Same) {
			t.Errorf("%v after %v is %s with a ratio of %v", tt.after, before, got.Verdict, got.Ratio)
		}
	}
}

func TestCompareWithoutARatio(t *testing.T) {
	for _, before := range []Estimate{{}, {1, 0, 1}, {1e-320, 1e-320, 1}} {
		a := Report{Launches: 5, Rows: []Row{{Name: "x", Samples: 1, Stats: Summary{P50: before}}}}
		b := Report{Launches: 5, Rows: []Row{{Name: "x", Samples: 1, Stats: Summary{P50: Estimate{2, 2, 2}}}}}
		c := compare(t, a, b)
		if c.Rows[0].Verdict != Slower || c.Rows[0].Ratio != nil {
			t.Errorf("2 after %v is %s with ratio %v, want slower without one", before, c.Rows[0].Verdict, c.Rows[0].Ratio)
		}
		if _, err := json.Marshal(c); err != nil {
			t.Errorf("JSON: %v", err)
		}
	}
}

func TestCompareRowsThatHaveNoVerdict(t *testing.T) {
	row := func(name, na, method string) Row {
		return Row{Name: name, NA: na, Method: method, Stats: Summary{P50: Estimate{1, 1, 1}}}
	}
	a := Report{Launches: 5, Rows: []Row{row("left", "", "m"), row("never", "no SVM", ""), row("breaks", "", "m"), row("mends", "no APIC", ""), row("other way", "", "m")}}
	b := Report{Launches: 5, Rows: []Row{row("came", "", "m"), row("other way", "", "n"), row("mends", "", "m"), row("breaks", "it hung", ""), row("never", "no SVM", ""), row("came too", "no VMX", "")}}
	one := &Estimate{1, 1, 1}
	want := []Change{
		{Name: "left", Verdict: Gone, Before: one},
		{Name: "never", Verdict: NA, Why: "no SVM"},
		{Name: "breaks", Verdict: NA, Why: "after: it hung", Before: one},
		{Name: "mends", Verdict: NA, Why: "before: no APIC", After: one},
		{Name: "other way", Verdict: NA, Why: "before by m, after by n", Before: one, After: one},
		{Name: "came", Verdict: New, After: one},
		{Name: "came too", Verdict: New, Why: "no VMX"},
	}
	if diff := cmp.Diff(want, compare(t, a, b).Rows); diff != "" {
		t.Errorf("rows differ (-want +got):\n%s", diff)
	}
}

func TestCompareRefusesWhatWouldMislead(t *testing.T) {
	base := where.Environment{CPU: "x", Kind: where.Hardware, Steal: StealLimit}
	with := func(change func(*where.Environment)) where.Environment {
		e := base
		change(&e)
		return e
	}
	for _, tt := range []struct {
		name          string
		before, after where.Environment
		launches      int // of the second
		want          []string
	}{
		{"equal", base, base, 4, nil},
		{"few launches", base, base, 3, []string{"launches of the second report: 3, below 4"}},
		{"another kernel", base, with(func(e *where.Environment) { e.Kernel, e.Microcode, e.Module = "6.2", "2", "kvm_x" }), 5, nil},
		{"steal before", with(func(e *where.Environment) { e.Steal = 0.011 }), base, 5, []string{"steal time of 1.1 % in the first report"}},
		{"steal after", base, with(func(e *where.Environment) { e.Steal = 0.5 }), 5, []string{"steal time of 50.0 % in the second report"}},
		{"kind", base, with(func(e *where.Environment) { e.Kind = where.Nested }), 5, []string{"kind hardware, the second on one of kind nested"}},
		{"CPU", base, with(func(e *where.Environment) { e.CPU = "" }), 5, []string{"the first ran on x, the second on unknown"}},
		{"all", base, where.Environment{Steal: 1}, 5, []string{"steal time", "of kind unknown", "on unknown"}},
	} {
		c, err := Compare(Report{Launches: 5, Where: tt.before, Rows: []Row{{Name: "r"}}}, Report{Launches: tt.launches, Where: tt.after, Rows: []Row{{Name: "r"}}})
		refusal, refused := errors.AsType[*Refusal](err)
		if refused != (tt.want != nil) || !refused && err != nil {
			t.Errorf("%s: Compare() = %v, want refusal for %q", tt.name, err, tt.want)
			continue
		}
		if len(c.Rows) != 1 || c.Rows[0].Verdict != Same {
			t.Errorf("%s: rows %v, want the verdicts for a caller who forces it", tt.name, c.Rows)
		}
		if !refused {
			continue
		}
		if !slices.Equal(refusal.Reasons, c.Refused) || len(c.Refused) != len(tt.want) || !strings.Contains(err.Error(), "--force") {
			t.Errorf("%s: refused for %q with %q, want %d reasons and the way out", tt.name, c.Refused, err, len(tt.want))
		}
		for _, part := range tt.want {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: Compare() = %v, want %q", tt.name, err, part)
			}
		}
	}
}

func TestComparePrints(t *testing.T) {
	a, b := sample(), sample()
	b.Where.Parameters = map[string]string{"kvm.halt_poll_ns": "0", "kvm.ignore_msrs": "N", "kvm_amd.npt": "Y", "kvm_amd.avic": "N", "kvm_amd.vgif": "1"}
	b.Where.Steal, b.Launches = 0.02, 3
	b.Rows[0].Launches = launchesOf(11, 5, 1000, 1452, 0.01, 0.05)
	b.Rows[0].Exits = 2
	b.Rows[0].Summarize(1)
	b.Rows[1].NA = "the counter stands still"
	b.Rows[3].Name = "port-out"
	b.Rows[4].Stats.P50 = Estimate{1000, 900, 1100}
	c, err := Compare(a, b)
	if _, refused := errors.AsType[*Refusal](err); !refused {
		t.Errorf("Compare() = %v, want a refusal", err)
	}
	var text bytes.Buffer
	if err := c.Print(&text); err != nil {
		t.Fatal(err)
	}
	golden(t, "compare.golden", text.String())
	asJSON, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "compare.json.golden", string(asJSON)+"\n")
}
