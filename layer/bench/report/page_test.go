package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"usui/layer/bench/where"
)

// rendered is a report's page, or a comparison's.
func rendered(t *testing.T, page interface{ WriteHTML(io.Writer) error }) string {
	t.Helper()
	var b bytes.Buffer
	if err := page.WriteHTML(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// changed are sample and a later report in which a row has each verdict.
func changed() (before, after Report) {
	before, after = sample(), sample()
	after.Where.Kernel, after.Launches = "6.16.3", 4
	after.Rows[0].Launches = launchesOf(11, 5, 1000, 14520, 0.01, 0.05)
	after.Rows[1].Launches = launchesOf(12, 5, 1000, 9, 0.01, 0.05)
	after.Rows[3].Name = "port-out"
	after.Rows[4].NA = "out of memory"
	after.Rows[0].Summarize(1)
	after.Rows[1].Summarize(1)
	return before, after
}

// elements are all that a page may consist of: none runs anything or loads anything.
var elements = strings.Fields("html head meta style title body h1 h2 dl dt dd details summary ul li table thead tbody tr th td span svg g a line rect circle text")

// attributes are those that a page may have, with what they may hold.
var attributes = map[string]*regexp.Regexp{
	"lang": word, "charset": word, "name": word, "content": regexp.MustCompile(`^[-a-z0-9=,;' ]+$`), "http-equiv": regexp.MustCompile(`^Content-Security-Policy$`),
	"class": regexp.MustCompile(`^[ a-z/]*$`), "role": word, "scope": word, "aria-label": regexp.MustCompile(`^[ a-z]+$`), "data-label": regexp.MustCompile(`^[a-z0-9.]+$`),
	"id": regexp.MustCompile(`^row[0-9]+$`), "href": regexp.MustCompile(`^#row[0-9]+$`), "colspan": number, "height": number, "dy": number, "r": number,
	"y": number, "y1": number, "y2": number, "cy": number, "x": place, "x1": place, "x2": place, "cx": place, "width": place,
	"transform": regexp.MustCompile(`^translate\(0 -9\)$`),
}

var (
	word   = regexp.MustCompile(`^[-a-z0-9]+$`)
	number = regexp.MustCompile(`^-?[0-9]{1,5}(\.5)?$`)
	place  = regexp.MustCompile(`^([0-9]{1,3}(\.[0-9]{2})?%|0|8)$`)
)

// parsed reads a page as strict XML, wants of it only what a page may have, and returns the elements in their order and
// all text.
func parsed(t *testing.T, page string) (names []string, text string) {
	t.Helper()
	if i := strings.IndexFunc(page, func(r rune) bool { return r < ' ' && r != '\n' || r >= 0x7f && r < 0xa0 || r == '\u202e' }); i >= 0 {
		t.Errorf("a control character at %d: %.40q", i, page[i:])
	}
	ids, all := map[string]bool{}, strings.Builder{}
	var links []string
	for d := xml.NewDecoder(strings.NewReader(page)); ; {
		token, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatalf("the page is not well-formed: %v", err)
		}
		switch token := token.(type) {
		case xml.CharData:
			all.Write(token)
		case xml.Comment, xml.ProcInst:
			t.Errorf("the page has %q", token)
		case xml.StartElement:
			names = append(names, token.Name.Local)
			for _, a := range token.Attr {
				if a.Name.Local == "id" && ids[a.Value] {
					t.Errorf("a second id %s", a.Value)
				}
				if a.Name.Local == "id" {
					ids[a.Value] = true
				}
				if a.Name.Local == "href" {
					links = append(links, a.Value[1:])
				}
			}
			wantElement(t, token)
		}
	}
	for _, l := range links {
		if !ids[l] {
			t.Errorf("a link to %s, which is not there", l)
		}
	}
	return names, all.String()
}

// wantElement wants an element that a page may have, drawn within its drawing.
func wantElement(t *testing.T, e xml.StartElement) {
	t.Helper()
	if !slices.Contains(elements, e.Name.Local) {
		t.Errorf("the page has a <%s>", e.Name.Local)
	}
	far := 0.0
	for _, a := range e.Attr {
		if r := attributes[a.Name.Local]; r == nil || !r.MatchString(a.Value) {
			t.Errorf("<%s> has %s=%q", e.Name.Local, a.Name.Local, a.Value)
		}
		if share, ok := strings.CutSuffix(a.Value, "%"); ok {
			v, err := strconv.ParseFloat(share, 64)
			if a.Name.Local == "x" || a.Name.Local == "width" {
				far += v
			}
			if err != nil || v < 0 || v > 100 || far > 100.02 { // two rounded numbers
				t.Errorf("<%s> %s=%q lies outside, or its width does", e.Name.Local, a.Name.Local, a.Value)
			}
		}
	}
}

func TestWriteHTML(t *testing.T) {
	page := rendered(t, sample())
	parsed(t, page)
	golden(t, "report.golden.html", page)
	if again := rendered(t, sample()); again != page {
		t.Error("the same report gives another page")
	}
	c, err := Compare(changed())
	if err != nil {
		t.Fatal(err)
	}
	page = rendered(t, c)
	parsed(t, page)
	golden(t, "compare.golden.html", page)
}

// TestPageNeedsNothingElse holds that a page works without a network. What it may consist of, parsed holds.
func TestPageNeedsNothingElse(t *testing.T) {
	for _, part := range []string{"://", "url(", "@import", "src=", "<script", "javascript"} {
		if strings.Contains(rendered(t, sample()), part) {
			t.Errorf("the page has %q", part)
		}
	}
}

// fill sets every text of a report, but for reasons where there are none, to one that make returns.
func fill(r Report, make func() string) Report {
	e := &r.Where
	for _, text := range []*string{&e.CPU, &e.Microcode, &e.Kernel, &e.Module, &e.Kind, &e.Governor} {
		*text = make()
	}
	// The names begin as those that a page always shows.
	e.Parameters = map[string]string{"x." + make(): make(), "kvm.nested": make()}
	e.Mitigations = map[string]string{make(): make()}
	r.Rows = slices.Clone(r.Rows)
	for i := range r.Rows {
		for _, text := range r.Rows[i].texts() {
			if *text != "" || text == &r.Rows[i].Doc {
				*text = make()
			}
		}
	}
	return r
}

// TestTextsCannotChangeThePage puts what would break out of each part of a page into every text: the page has the same
// elements as with harmless ones, and shows the text as it is.
func TestTextsCannotChangeThePage(t *testing.T) {
	harmless := func() func() string {
		n := 0
		return func() string { n++; return fmt.Sprint("text", n) }
	}
	before, after := changed()
	pages := func(make func() func() string) []string {
		filled := fill(before, make())
		c, _ := Compare(filled, fill(after, make()))
		d, _ := Compare(filled, fill(after, func() string { return make()() + " and more" })) // all differs
		return []string{rendered(t, filled), rendered(t, c), rendered(t, d)}
	}
	want := pages(harmless)
	for _, hostile := range []string{
		"<script>alert(1)</script>", "</title></style></svg><script>alert(1)</script>", `"><img src=x onerror=alert(1)>`,
		`' onload='alert(1)`, "` onload=alert(1) `", "{{template \"head\"}}", "<!-- ", "--><b>", "]]><b>", "<![CDATA[", "<?xml?>",
		"&lt;b&gt;&#60;b&#62;", "javascript:alert(1)", "\\u003cscript>", "</dd><dd>", "+ADw-script+AD4-",
		"\x00\x01\x1b[2J\x7f\u0085\u009b", "a\r\nb\tc\vd\fe", "\u202egnirts\u2066\u200b\ufeff\u2028", "\xff\xfe<\xc0\xbc", "\ufffe\uffff\U0010ffff",
		strings.Repeat("<", 400),
	} {
		got := pages(func() func() string {
			next := harmless()
			return func() string { return hostile + next() }
		})
		for i := range got {
			names, text := parsed(t, got[i])
			if wanted, _ := parsed(t, want[i]); !slices.Equal(names, wanted) {
				t.Errorf("%.60q: page %d has other elements (-want +got):\n%s", hostile, i, cmp.Diff(wanted, names))
			}
			if where.Plain(hostile) == hostile && !strings.Contains(text, hostile) {
				t.Errorf("%.60q: page %d does not show it as it is", hostile, i)
			}
		}
	}
}

// TestPageOfExtremes draws numbers that have no place of their own.
func TestPageOfExtremes(t *testing.T) {
	r := Report{Version: Version}
	add := func(launches ...[]float64) {
		row := Row{Name: fmt.Sprint("row", len(r.Rows)), Method: "m", Launches: launches}
		row.Summarize(1)
		r.Rows = append(r.Rows, row)
	}
	parsed(t, rendered(t, r)) // without rows
	add()
	parsed(t, rendered(t, r)) // with none that was measured
	add([]float64{0})
	add([]float64{0, 0, 0}, []float64{0})
	add([]float64{100})
	add([]float64{100, 100}, []float64{100})
	add([]float64{maxTime})
	add([]float64{0, 1e-300, 5, maxTime})
	add([]float64{math.Nextafter(7, 8), 7})
	worst := []float64{0, 1e-320, smallest, 1, maxTime, math.MaxFloat64, -1, math.NaN(), math.Inf(1), math.Inf(-1)}
	last := Report{Rows: []Row{{Name: "x"}}}
	for _, low := range worst { // as no report that was read has them
		for _, high := range worst {
			e := Estimate{low, low, high}
			s := Summary{e, e, e, e, low, high, low, low}
			bins := []Bin{{low, high, 1}, {high, low, math.MaxInt}, {low, low, -1}, {high, high, 0}}
			next := Report{Rows: []Row{{Name: "x", Stats: s, Exits: low, ExitHalf: &s, EntryHalf: &s, Histogram: bins}}}
			parsed(t, rendered(t, next))
			c, _ := Compare(last, next)
			parsed(t, rendered(t, c))
			last = next
		}
	}
	parsed(t, rendered(t, r))
	c := Comparison{Rows: []Change{{Name: "x", Verdict: Slower, Ratio: &Estimate{math.NaN(), math.Inf(-1), math.Inf(1)}}, {Name: "y", Ratio: &Estimate{}}}}
	parsed(t, rendered(t, c))
}

func TestPageReturnsTheErrorOfItsWriter(t *testing.T) {
	want := errors.New("pipe is gone")
	if err := sample().WriteHTML(failing{want}); err != want {
		t.Errorf("Report.WriteHTML() = %v, want %v", err, want)
	}
	if err := (Comparison{}).WriteHTML(failing{want}); err != want {
		t.Errorf("Comparison.WriteHTML() = %v, want %v", err, want)
	}
}

// FuzzWriteHTML draws whatever Read takes.
func FuzzWriteHTML(f *testing.F) {
	b, err := os.ReadFile("testdata/version1.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"version":1,"rows":[{"name":"<b>","na":"</td>&","group":"\""}],"where":{"parameters":{"<i>":"'"},"mitigations":{"&":"-->"}}}`))
	f.Add([]byte(`{"version":1,"rows":[{"name":"a","samples":1,"stats":{"p50":{"value":1e-9,"high":1e15}},"histogram":[{"high":1e15,"count":9223372036854775807},{"low":1e-320,"high":1e-320,"count":1}]}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := Read(bytes.NewReader(text))
		if err != nil {
			return
		}
		parsed(t, rendered(t, r))
		c, _ := Compare(r, Report{Rows: r.Rows[len(r.Rows)/2:]})
		parsed(t, rendered(t, c))
	})
}
