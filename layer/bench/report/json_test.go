package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"usui/layer/bench/where"
)

// sample is a report with a row of each sort.
func sample() Report {
	half := Summarize(launchesOf(9, 5, 100, 400, 0.01, 0.02), 1)
	r := Report{
		Version: Version, Started: time.Date(2026, 11, 23, 7, 55, 6, 0, time.UTC), Duration: 500 * time.Millisecond, Launches: 5,
		Where: where.Environment{
			CPU: "AMD EPYC 7713 64-Core Processor, family 25 model 1 stepping 1", Microcode: "0xa0011d5", CPUs: 128, TSCkHz: 1996250,
			Kernel: "6.12.48+deb13-amd64", Module: "kvm_amd", Kind: where.Hardware, Governor: "performance", Steal: 0.004,
			Parameters: map[string]string{"kvm.halt_poll_ns": "200000", "kvm.ignore_msrs": "N", "kvm_amd.npt": "Y", "kvm_amd.avic": "N"},
			Mitigations: map[string]string{
				"meltdown":             "Not affected",
				"retbleed":             "Mitigation: untrained return thunk; SMT enabled with STIBP protection",
				"spec_rstack_overflow": "Vulnerable: Safe RET, no microcode",
				"spectre_v1":           "Mitigation: usercopy/swapgs barriers and __user pointer sanitization",
			},
		},
		Rows: []Row{
			{Name: "cpuid", Group: "exits to the kernel", Doc: "CPUID, which always exits", Method: "guest counter", Exits: 1, ExitsWant: 1,
				Launches: launchesOf(1, 5, 1000, 1210, 0.01, 0.05), ExitHalf: &half, EntryHalf: &half},
			{Name: "rdtsc", Group: "exits to the kernel", Method: "host clock, amortised",
				Launches: launchesOf(2, 5, 1000, 12.4, 0.01, 0.3), Halves: "n/a: the counter traps here"},
			{Name: "hypercall", Group: "exits to the kernel", NA: "this KVM never comes back from a hypercall with an unknown number, so the case is left out rather than stopped by its watchdog"},
			{Name: "port-out-to-user-space-and-back", Group: "exits to user space", Method: "host clock, amortised", Exits: 1.004, ExitsWant: 1,
				Launches: launchesOf(3, 5, 1000, 36400, 0.05, 0.5), Halves: "n/a: the counter traps here"},
			{Name: "vm-create", Group: "objects", Method: "host clock, each",
				Launches: launchesOf(4, 5, 30, 2.5e6, 0.2, 0.5)},
		},
	}
	for i := range r.Rows {
		if r.Rows[i].NA == "" {
			r.Rows[i].Summarize(1)
		}
	}
	return r
}

// written is a report's JSON.
func written(t *testing.T, r Report) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := r.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestReadReadsWhatWriteWrites(t *testing.T) {
	want := sample()
	got, err := Read(bytes.NewReader(written(t, want)))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(Row{}, "Launches"), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("Read() differs (-want +got):\n%s", diff)
	}
	for _, r := range got.Rows {
		if r.Launches != nil {
			t.Errorf("%s: samples came through the JSON", r.Name)
		}
	}
}

// TestFormatIsStable holds the names of fields: within a version they only grow in number.
func TestFormatIsStable(t *testing.T) {
	f, err := os.Open("testdata/version1.json")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got, err := Read(f)
	if err != nil {
		t.Fatal(err)
	}
	e := Estimate{2, 1, 3}
	s := Summary{e, e, e, e, 1, 4, 2, 0.5}
	want := Report{
		Version: 1, Started: time.Date(2026, 11, 23, 7, 55, 6, 0, time.UTC), Duration: time.Second, Launches: 5,
		Where: where.Environment{CPU: "c", Microcode: "0x1", CPUs: 2, TSCkHz: 3, Kernel: "6.1", Module: "kvm_amd", Kind: "nested",
			Parameters: map[string]string{"kvm.a": "1"}, Mitigations: map[string]string{"mds": "x"}, Governor: "g", Steal: 0.25},
		Rows: []Row{
			{Name: "a", Group: "g", Doc: "d", Method: "m", Samples: 7, Exits: 1, ExitsWant: 2, Stats: s, ExitHalf: &s, EntryHalf: &s,
				Halves: "h", Histogram: []Bin{{1, 2, 3}}},
			{Name: "b", NA: "why"},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Read() differs (-want +got):\n%s", diff)
	}
}

func TestReadRefuses(t *testing.T) {
	good := string(written(t, sample()))
	rows := func(n int, row string) string {
		return `{"version":1,"rows":[` + strings.TrimSuffix(strings.Repeat(row+",", n), ",") + `]}`
	}
	change := func(old, with string) string {
		changed := strings.Replace(good, old, with, 1)
		if changed == good {
			t.Fatalf("the sample has no %q", old)
		}
		return changed
	}
	for name, tt := range map[string]struct{ text, want string }{
		"nothing":               {"", "unexpected end"},
		"no object":             {"[]", "cannot unmarshal"},
		"no version":            {"{}", "version 0, only 1 is known"},
		"version 2":             {change(`"version": 1`, `"version": 2`), "version 2, only 1 is known"},
		"version and version":   {change(`"version": 1`, `"version": 2, "Version": 1, "version": 3`), "version 3"},
		"something after":       {good + "{}", "after top-level value"},
		"half of it":            {good[:len(good)/2], "unexpected end"},
		"too long":              {good + strings.Repeat(" ", maxFile), "more than 4194304 bytes"},
		"very deep":             {strings.Repeat(`{"version":`, 100000), "exceeded max depth"},
		"too many rows":         {rows(maxRows+1, "{}"), "1001 rows"},
		"two rows of a name":    {rows(2, `{"name":"a","na":"x"}`), "a second one of the name"},
		"no name":               {rows(1, `{"na":"x"}`), "no name"},
		"no samples":            {rows(1, `{"name":"a"}`), "no reason"},
		"negative samples":      {rows(1, `{"name":"a","na":"x","samples":-1}`), "-1 samples"},
		"too many bins":         {rows(1, `{"name":"a","na":"x","histogram":[`+strings.Repeat("{},", MaxBins)+`{}]}`), "25 bins"},
		"a bin turned round":    {rows(1, `{"name":"a","na":"x","histogram":[{"low":2,"high":1}]}`), "bin of 0 from 2 to 1"},
		"a negative bin":        {rows(1, `{"name":"a","na":"x","histogram":[{"count":-1}]}`), "bin of -1"},
		"a negative time":       {rows(1, `{"name":"a","na":"x","stats":{"p50":{"low":-1}}}`), "between -1 and 0"},
		"outside its interval":  {rows(1, `{"name":"a","na":"x","stats":{"p99":{"value":3,"low":1,"high":2}}}`), "3 ns, between 1 and 2"},
		"a mean of nothing":     {rows(1, `{"name":"a","na":"x","stats":{"mean":3}}`), "3 ns, between 0 and 0"},
		"a bad half":            {rows(1, `{"name":"a","na":"x","entryHalf":{"max":1e16}}`), "between 0 and 1e+16"},
		"a negative spread":     {rows(1, `{"name":"a","na":"x","stats":{"betweenLaunches":-1}}`), "spread between launches"},
		"negative exits":        {rows(1, `{"name":"a","na":"x","exits":-1}`), "-1 exits"},
		"bounds":                {rows(1, `{"name":"a","na":"x","exitsLeast":2,"exitsMost":1}`), "at least 2 exits, at most 1"},
		"infinity":              {rows(1, `{"name":"a","na":"x","exits":1e999}`), "cannot unmarshal number 1e999"},
		"NaN":                   {rows(1, `{"name":"a","na":"x","exits":NaN}`), "invalid character 'N'"},
		"a text for a terminal": {rows(1, `{"name":"a","na":"\u001b[2J"}`), "no short printable text"},
		"a long text":           {rows(1, `{"name":"a","na":"`+strings.Repeat("x", 513)+`"}`), "no short printable text"},
		"steal of 2":            {change(`"steal": 0.004`, `"steal": 2`), "steal of 2 is no share"},
		"a kind of its own":     {change(`"kind": "hardware"`, `"kind": "\u202e"`), "kind"},
		"negative launches":     {change(`"launches": 5`, `"launches": -5`), "-5 launches"},
		"negative duration":     {change(`"durationNs": 5`, `"durationNs": -5`), "5 launches of -500ms"},
		"no time":               {change(`"started": "2026`, `"started": "x`), "parsing time"},
	} {
		_, err := Read(strings.NewReader(tt.text))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: Read() = %v, want %q", name, err, tt.want)
		} else if len(err.Error()) > 300 {
			t.Errorf("%s: Read() = %d bytes of message, want it short", name, len(err.Error()))
		}
	}
}

// TestReadCountsBeforeItDecodes holds the memory that a small file can make Read take.
func TestReadCountsBeforeItDecodes(t *testing.T) {
	text := `{"version":1,"rows":[` + strings.Repeat("{},", 1<<17) + `{}]}`
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := Read(strings.NewReader(text))
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; err == nil || got > 100<<20 {
		t.Errorf("Read() of %d bytes = %v, and took %d MiB; want an error and at most 100", len(text), err, got>>20)
	}
}

func TestReadPassesOverNewFields(t *testing.T) {
	text := strings.Replace(string(written(t, sample())), `"version": 1`, `"version": 1, "colour": {"of": ["hats"]}`, 1)
	if _, err := Read(strings.NewReader(text)); err != nil {
		t.Errorf("Read() = %v, want nil", err)
	}
}

func TestReadReturnsTheErrorOfItsReader(t *testing.T) {
	want := fmt.Errorf("disk is gone")
	if _, err := Read(failing{want}); err != want {
		t.Errorf("Read() = %v, want %v", err, want)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error)  { return 0, f.err }
func (f failing) Write([]byte) (int, error) { return 0, f.err }

func TestWriteTidiesTextsAndRefusesNumbers(t *testing.T) {
	r := sample()
	r.Rows[2].NA = "vmcall:\n\tKVM_RUN: \x1b[31mbad address"
	got, err := Read(bytes.NewReader(written(t, r)))
	if err != nil || got.Rows[2].NA != "vmcall: KVM_RUN: ?[31mbad address" {
		t.Errorf("n/a = %q, %v; want it plain", got.Rows[2].NA, err)
	}
	r.Rows[0].Exits = math.NaN()
	if err := r.Write(&bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), `row 0 "cpuid": NaN exits`) {
		t.Errorf("Write() = %v, want it to name the row and the number", err)
	}
	if got := string(written(t, Report{Version: Version})); !strings.Contains(got, `"rows": []`) {
		t.Errorf("a report without rows is %s, want an empty list", got)
	}
}

// FuzzRead gives Read bytes that no benchmark wrote: what it takes can be written, printed and compared.
func FuzzRead(f *testing.F) {
	b, err := os.ReadFile("testdata/version1.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"version":1,"rows":[{"name":"a","na":"x","histogram":[{}],"samples":9}]}`))
	f.Add([]byte(`{"version":1,"rows":[{"name":"a","samples":1,"stats":{"p50":{"high":1}},"histogram":[{"count":9223372036854775807},{"count":9223372036854775807}]}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := Read(bytes.NewReader(text))
		if err != nil {
			return
		}
		if _, err := Read(bytes.NewReader(written(t, r))); err != nil {
			t.Errorf("Read() of what Write wrote = %v", err)
		}
		var out bytes.Buffer
		if err := r.Print(&out, 0); err != nil {
			t.Error(err)
		}
		c, _ := Compare(r, r)
		for _, row := range c.Rows {
			if row.Verdict != Same && row.Verdict != NA {
				t.Errorf("%q compared with itself is %s", row.Name, row.Verdict)
			}
		}
		if err := c.Print(&out); err != nil {
			t.Error(err)
		}
		if _, err := json.Marshal(c); err != nil {
			t.Error(err)
		}
		if i := strings.IndexFunc(out.String(), func(r rune) bool { return r < ' ' && r != '\n' }); i >= 0 {
			t.Errorf("a control character is printed: %q", out.String()[i:])
		}
	})
}
