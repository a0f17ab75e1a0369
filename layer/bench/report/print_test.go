package report

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"usui/layer/bench/where"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares text with a file.
func golden(t *testing.T, name, text string) {
	t.Helper()
	if *update {
		if err := os.WriteFile("testdata/"+name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), text); diff != "" {
		t.Errorf("%s differs (-want +got); -update writes it anew:\n%s", name, diff)
	}
}

func printed(t *testing.T, r Report, width int) string {
	t.Helper()
	var b bytes.Buffer
	if err := r.Print(&b, width); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestPrint(t *testing.T) { golden(t, "table.golden", printed(t, sample(), 0)) }

func TestCountsOfASoftwareKVMAreInstructions(t *testing.T) {
	for kind, want := range map[string]string{where.Hardware: "exits  of the guest to KVM", where.Software: "instr  instructions of the guest that this KVM emulated"} {
		r := sample()
		r.Where.Kind = kind
		if got := printed(t, r, 0); !strings.Contains(got, "\n"+want) || !strings.Contains(got, "p99.9   "+want[:5]) {
			t.Errorf("%s: %s\nwant a column and a line %q", kind, got, want)
		}
		if page := rendered(t, r); !strings.Contains(page, `<th class="n">`+want[:5]) || !strings.Contains(page, "<dt>"+want[:5]+"</dt><dd>"+want[7:]) {
			t.Errorf("%s: the page has no column or term %q", kind, want)
		}
	}
}

func TestQuantileNeedsSamples(t *testing.T) {
	for _, tt := range []struct {
		q                 float64
		samples, launches int
		want              string
	}{{0.9, 50, 5, "1.00 ns"}, {0.9, 49, 5, "-"}, {0.99, 500, 5, "1.00 ns"}, {0.99, 499, 5, "-"}, {0.999, 1000, 1, "1.00 ns"}, {0.999, 999, 1, "-"}} {
		if got := quantile(Estimate{Value: 1}, tt.q, Row{Samples: tt.samples}, tt.launches); got != tt.want {
			t.Errorf("quantile %v of %d samples in %d launches is shown as %q, want %q", tt.q, tt.samples, tt.launches, got, tt.want)
		}
	}
}

func TestPrintStaysWithinItsWidth(t *testing.T) {
	long := sample()
	for _, text := range long.Rows[0].texts() {
		*text = strings.TrimSpace(strings.Repeat("wörd ", 90))
	}
	long.Rows[0].NA = ""
	for _, r := range []Report{sample(), long, {}} {
		for _, width := range []int{83, 90, 100, 200} {
			for line := range strings.Lines(printed(t, r, width)) {
				if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > width {
					t.Errorf("width %d: a line of %d characters: %s", width, n, line)
				}
			}
		}
	}
	for _, width := range []int{-1, 1, 20} { // too small for the columns, and yet no trap
		printed(t, long, width)
	}
}

func TestPrintShowsNothingThatSteersATerminal(t *testing.T) {
	r := sample()
	for _, text := range r.Rows[1].texts() {
		*text = "\x1b[2J\r\n\u202e"
	}
	if out := printed(t, r, 0); strings.ContainsAny(out, "\x1b\r\u202e") {
		t.Errorf("Print() = %q, want no control characters", out)
	}
}

func TestPrintReturnsTheErrorOfItsWriter(t *testing.T) {
	want := errors.New("pipe is gone")
	if err := sample().Print(failing{want}, 0); err != want {
		t.Errorf("Report.Print() = %v, want %v", err, want)
	}
	if err := (Comparison{}).Print(failing{want}); err != want {
		t.Errorf("Comparison.Print() = %v, want %v", err, want)
	}
}

func TestDurationHasThreeDigits(t *testing.T) {
	for ns, want := range map[float64]string{
		0: "0.00 ns", 0.1234: "0.12 ns", 9.994: "9.99 ns", 9.996: "10.0 ns", 99.96: "100 ns", 999.4: "999 ns", 999.6: "1.00 µs",
		1234: "1.23 µs", 36400: "36.4 µs", 2.5e6: "2.50 ms", 1e9: "1.00 s", maxTime: "1000000 s",
	} {
		if got := duration(ns); got != want {
			t.Errorf("duration(%v) = %q, want %q", ns, got, want)
		}
	}
}

func TestSpread(t *testing.T) {
	for e, want := range map[Estimate]string{
		{100, 100, 100}: "0%", {}: "0%", {100, 98, 101}: "2.0%", {100, 98, 105.04}: "5.0%", {100, 0, 100}: "100%",
		{1, 1, 10.5}: "950%", {1, 0, 12}: ">999%", {0, 0, 1}: ">999%",
	} {
		if got := spread(e); got != want {
			t.Errorf("spread(%v) = %q, want %q", e, got, want)
		}
	}
}

func TestBars(t *testing.T) {
	of := func(counts ...int) (bins []Bin) {
		for _, c := range counts {
			bins = append(bins, Bin{Count: c})
		}
		return bins
	}
	for _, tt := range []struct {
		bins  []Bin
		width int
		want  string
	}{
		{nil, 24, ""},
		{of(9000), 24, "█"},
		{of(10000, 0, 1, 100), 24, "█ ▁▄"},
		{of(1, 0, 0, 9000), 2, "▁█"},
		{of(1, 0, 0, 0, 9000), 3, "▁ █"},
	} {
		if got := bars(tt.bins, tt.width); got != tt.want {
			t.Errorf("bars(%v, %d) = %q, want %q", tt.bins, tt.width, got, tt.want)
		}
	}
}
