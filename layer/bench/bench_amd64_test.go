package bench

import (
	"bytes"
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"usui/host/need"
	"usui/layer/bench/report"
)

// unavailableHere are the cases that a software KVM may not do. While it interprets a loop, it may take seconds to notice
// what another thread asks of the vCPU, so the cases of two parties are not certain there. Package kvm tests that no kick is
// lost.
var unavailableHere = []string{
	"hypercall", "syscall-ring3", "touch-4k", "touch-2m",
	"nested-cpuid", "nested-hypercall", "nested-port-out", "nested-port-in", "nested-msr-read", "nested-cr0-write", "nested-dr7-write",
	"ipi-running", "ipi-halted", "irqfd-running", "irqfd-halted", "msi-running", "kick-running",
}

// short measures each case for a moment.
func short() Config {
	return Config{Duration: 20 * time.Millisecond, Launches: 2, Patience: 3 * time.Second}
}

func run(t *testing.T, cfg Config) map[string]report.Row {
	t.Helper()
	r, err := Run(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]report.Row{}
	for _, row := range r.Rows {
		rows[row.Name] = row
	}
	return rows
}

// find returns the case of that name.
func find(t *testing.T, name string) Case {
	t.Helper()
	for _, c := range Cases() {
		if c.Name == name {
			return c
		}
	}
	t.Fatalf("no case %q", name)
	return Case{}
}

// testHost is closed when the test ends.
func testHost(t *testing.T) *host {
	t.Helper()
	h, err := openHost(Config{Patience: 10 * time.Second}.withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.close() })
	return h
}

// wantRows wants a row for every case, and of those at most the ones in mayLack without samples. That the counts fit is
// Run's own assertion.
func wantRows(t *testing.T, rows map[string]report.Row, mayLack ...string) {
	t.Helper()
	measured := 0
	for _, c := range Cases() {
		row, found := rows[c.Name]
		if found && row.NA == "" {
			measured++
		}
		switch {
		case !found:
			t.Errorf("%s: no row", c.Name)
		case row.NA != "" && !slices.Contains(mayLack, c.Name):
			t.Errorf("%s: n/a: %s", c.Name, row.NA)
		case row.NA == "" && (len(row.Launches) != 2 || row.Samples < 2*leastKept || row.Method == "" || row.Halves == "" && row.ExitHalf == nil):
			t.Errorf("%s: row %+v, want two launches with samples, their method and halves or why not", c.Name, row)
		}
		if row.NA == "" && (row.Exits < 0 || row.ExitsMost != nil && row.ExitsLeast > *row.ExitsMost) {
			t.Errorf("%s: counted %v, from %v to %v", c.Name, row.Exits, row.ExitsLeast, row.ExitsMost)
		}
		for _, samples := range row.Launches {
			for _, s := range samples {
				if s < 0 || math.IsNaN(s) || math.IsInf(s, 0) {
					t.Fatalf("%s: a sample is %v", c.Name, s)
				}
			}
		}
		t.Logf("%-20s %12.1f ns %6d samples %-22s exits %.2f want %.2f %s", c.Name, row.Stats.P50.Value, row.Samples, row.Method, row.Exits, row.ExitsWant, row.NA)
	}
	if measured < 30 {
		t.Errorf("%d cases measured, want 30 and more", measured)
	}
}

func TestEveryCaseIsMeasuredOrSaysWhyNot(t *testing.T) {
	need.KVM(t)
	wantRows(t, run(t, short()), unavailableHere...)
}

// TestSetupIsNotMeasured wants that what an operation needs is subtracted, where a KVM counts instructions.
func TestSetupIsNotMeasured(t *testing.T) {
	need.KVM(t)
	h := testHost(t)
	cfg := short()
	for _, name := range []string{"cpuid", "port-in-kernel", "port-out-kernel", "cr0-write", "cr4-write", "dirty-log-page"} {
		cfg.Cases = append(cfg.Cases, find(t, name))
	}
	for name, row := range run(t, cfg) {
		if h.software && math.Abs(row.Exits-1) > 0.1 {
			t.Errorf("%s: %v instructions an operation, want 1; n/a: %s", name, row.Exits, row.NA)
		}
	}
}

// TestLabCases is the same where a processor runs the guests. A host may have no huge pages to give, and no nesting.
func TestLabCases(t *testing.T) {
	need.HardwareKVM(t)
	cfg := short()
	cfg.Patience = 10 * time.Second // the lab is as slow as the host is busy
	mayLack := []string{"touch-2m"}
	for _, c := range Cases() {
		if c.Group == "nested" {
			mayLack = append(mayLack, c.Name)
		}
	}
	wantRows(t, run(t, cfg), mayLack...)
}

func TestNamesAndTextsOfCases(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range Cases() {
		if seen[c.Name] || c.Name == "" || c.Group == "" || c.Doc == "" || strings.ToLower(c.Name) != c.Name || strings.Contains(c.Name, " ") {
			t.Errorf("case %q of group %q, %q: want a new lower-case name without spaces, and both texts", c.Name, c.Group, c.Doc)
		}
		seen[c.Name] = true
	}
}

// spinner is a case of the host that takes a known time, with the same noise each time. It is short, so that few samples
// see another program that runs.
func spinner(name string, d time.Duration) Case {
	return Case{name, "test", "waits for a known time", recipe{limit: 5, whole: true, call: func(*rig) (func() error, error) {
		noise := rand.New(rand.NewPCG(1, 2))
		return func() error {
			for begin, wait := time.Now(), d+time.Duration(noise.Int64N(int64(d/5))); time.Since(begin) < wait; {
			}
			return nil
		}, nil
	}}}
}

func TestCompareFindsTheSlowerCase(t *testing.T) {
	need.KVM(t)
	cfg := Config{Duration: 300 * time.Millisecond, Cases: []Case{
		spinner("short", 5*time.Microsecond), spinner("middle", 7*time.Microsecond), spinner("long", 9*time.Microsecond),
	}}
	measure := func(slow string) report.Report {
		cfg.slow = slow
		r, err := Run(context.Background(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		r.Where.Steal = 0 // others' load is none of this test's
		return r
	}
	before, after := measure(""), measure("middle")
	c, err := report.Compare(before, after)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range c.Rows {
		want := report.Same
		if row.Name == "middle" {
			want = report.Slower
		}
		if row.Verdict != want {
			t.Errorf("%s is %s, want %s: %+v", row.Name, row.Verdict, want, row)
		}
	}
	if len(c.Rows) != 3 {
		t.Errorf("%d rows, want 3", len(c.Rows))
	}
	if c, err = report.Compare(before, before); err != nil {
		t.Fatal(err)
	}
	for _, row := range c.Rows {
		if row.Verdict != report.Same {
			t.Errorf("%s is %s than itself", row.Name, row.Verdict)
		}
	}
}

func TestCommandPrintsJSONThatReadsBack(t *testing.T) {
	need.KVM(t)
	cfg := short()
	cfg.Cases = []Case{find(t, "cpuid")}
	r, err := Run(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := r.Write(&b); err != nil {
		t.Fatal(err)
	}
	if _, err := report.Read(&b); err != nil {
		t.Errorf("Read() of what Write wrote: %v", err)
	}
}
