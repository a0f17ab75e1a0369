package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"usui/internal/tail"
)

func TestSpread(t *testing.T) {
	for _, tt := range []struct {
		values []float64
		want   spread
		text   string
	}{
		{nil, spread{}, "-"},
		{[]float64{3}, spread{3, 3, 3, 1}, "3.0 [3.0-3.0]"},
		{[]float64{9, 1, 2}, spread{2, 1, 9, 3}, "2.0 [1.0-9.0]"},
		{[]float64{4, 1, 2, 3}, spread{2.5, 1, 4, 4}, "2.5 [1.0-4.0]"},
	} {
		if got := spreadOf(tt.values); got != tt.want || got.text(1) != tt.text {
			t.Errorf("spreadOf(%v) = %+v, %q, want %+v, %q", tt.values, got, got.text(1), tt.want, tt.text)
		}
	}
}

// Every monitor must have every place in the order equally often, or what one leaves behind for the next would always hit the same.
func TestStepsAlternate(t *testing.T) {
	p := plan{Gokvm: "/gokvm", Rounds: 4, Parts: []string{partBoot}}
	first, count := map[string]int{}, map[string]int{}
	steps := p.steps()
	for i, s := range steps {
		count[s.monitor]++
		if i == 0 || steps[i-1].round != s.round {
			first[s.monitor]++
		}
	}
	want := map[string]int{usui: 1, microvm: 1, withRTC: 1, gokvm: 1}
	if !cmp.Equal(first, want) || len(steps) != 16 || count[usui] != 4 {
		t.Errorf("first in a round: %v, want each once; %d steps", first, len(steps))
	}
	p.Gokvm = ""
	for _, s := range p.steps() {
		if s.monitor == gokvm {
			t.Error("a step with a monitor that is not there")
		}
	}
}

func TestBestVariant(t *testing.T) {
	result := func(disk string, ops int) loadResult {
		return loadResult{Disk: disk, loadCount: loadCount{Ops: ops, Time: time.Second}}
	}
	// b is twice as fast in one load, a a third faster in the other.
	if got := bestVariant([]loadResult{result("a", 100), result("a", 400), result("b", 200), result("b", 300)}); got != "b" {
		t.Errorf("bestVariant = %q, want b", got)
	}
	if got := bestVariant(nil); got != "" {
		t.Errorf("bestVariant of nothing = %q", got)
	}
}

func boots(monitor string, seconds ...float64) []record {
	var list []record
	for i, s := range seconds {
		b := &bootRun{run: run{Monitor: monitor, Round: i, Up: time.Duration(s * 1e9)}, Memory: memory{RssAnon: 5 << 20}, Exits: counters{"exits": 100}}
		if s == 0 {
			b.Error = "broken"
		}
		list = append(list, record{Boot: b})
	}
	return list
}

func reads(monitor string, choice bool, rate int) record {
	b := &blkRun{run: run{Monitor: monitor}, Choice: choice}
	for _, l := range (operations{}).loads() {
		b.Loads = append(b.Loads, loadResult{Disk: "d", Exits: counters{"exits": uint64(2 * rate)},
			loadCount: loadCount{Load: l.name, Ops: rate, Bytes: int64(rate) * 4096, Time: time.Second}})
	}
	return record{Blk: b}
}

func TestReport(t *testing.T) {
	records := []record{{Lab: &labInfo{Kernel: "6.12"}}}
	records = append(records, boots(usui, 7, 6, 9)...)
	records = append(records, boots(microvm, 20, 20, 20)...)
	records = append(records, boots(withRTC, 10, 0, 12)...) // the better peer, with a failed round
	records = append(records, reads(withRTC, true, 1000), reads(withRTC, false, 100), reads(usui, false, 90))
	r := newReport(plan{Parts: []string{partBoot, partBlk}, GokvmError: "no network"}, records)

	got := map[string]bool{}
	for _, b := range r.Bars {
		got[b.What] = b.held()
	}
	want := map[string]bool{
		"boot to init, of the better peer's time":                true, // 7/11
		"monitor's memory after boot: RssAnon outside guest RAM": true,
		"reads, 4 KiB random, depth 1, of QEMU's rate":           false, // 90/100: the choice does not count
		"reads, 4 KiB random, depth 32, of QEMU's rate":          false,
		"reads, 1 MiB sequential, of QEMU's rate":                false,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if len(r.Failures) != 2 || r.verdict() == nil {
		t.Errorf("failures = %q, verdict %v, want gokvm's and the one round", r.Failures, r.verdict())
	}
	var out bytes.Buffer
	if err := r.print(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"0.636 x", "MISSED", "no network", "boot, round 2, QEMU microvm, RTC: broken", "7.00 [6.00-9.00]", "0.90"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}
	if _, err := json.Marshal(r); err != nil {
		t.Error(err)
	}
}

// A peer may fail in a round; usui may not, even if what is left holds all bars.
func TestVerdict(t *testing.T) {
	parts := []string{partBoot}
	peer := newReport(plan{Parts: parts}, append(boots(usui, 5, 5), boots(withRTC, 0, 10)...))
	if err := peer.verdict(); err != nil {
		t.Errorf("verdict with a peer's failure: %v", err)
	}
	ours := newReport(plan{Parts: parts}, append(boots(usui, 0, 5), boots(withRTC, 10, 10)...))
	if err := ours.verdict(); err == nil || !strings.Contains(err.Error(), "usui failed in 1 runs") {
		t.Errorf("verdict with a failure of usui's: %v", err)
	}
}

func TestGokvmWords(t *testing.T) {
	if got := gokvmWords("2596.138"); !strings.Contains(got, "tsc_early_khz=2596138 ") {
		t.Errorf("gokvmWords = %q, want the rate in kHz", got)
	}
}

// A traced run tells of system calls and of nothing else.
func TestTracedRunsHaveNoRates(t *testing.T) {
	network := func(monitor string, traced bool, calls uint64, took time.Duration) record {
		l := loadResult{Calls: calls, loadCount: loadCount{Load: "echo", Ops: 10, Bytes: 1280, Time: took}}
		return record{Net: &netRun{run: run{Monitor: monitor, Traced: traced}, Loads: []loadResult{l}}}
	}
	r := newReport(plan{}, []record{network(usui, false, 0, time.Second), network(usui, true, 30, time.Hour), network(withRTC, false, 0, 2*time.Second)})
	if s := find(r.Net, "echo", usui); s.Rate.N != 1 || s.Rate.Median != 10 || s.Calls != 3 {
		t.Errorf("%+v, want one rate of 10 a second and 3 calls each", s)
	}
	if b := compareLoads("x", 1, r.Net, "echo", usui, withRTC); !b.held() || b.Value != 2 {
		t.Errorf("%+v, want twice the peer's rate", b)
	}
	var out strings.Builder
	if err := r.print(&out); err != nil || !strings.Contains(out.String(), "NETWORK") {
		t.Errorf("print: %v\n%s", err, out.String())
	}
}

// What was not measured is not held.
func TestBarsOfNothing(t *testing.T) {
	r := newReport(plan{Parts: []string{partBoot, partBlk}}, nil)
	if len(r.Bars) != 5 || r.verdict() == nil {
		t.Errorf("%d bars, verdict %v, want 5, none held", len(r.Bars), r.verdict())
	}
	for _, b := range r.Bars {
		if b.held() {
			t.Errorf("%s: held by nothing", b.What)
		}
	}
}

// fakeLab is a "usui" whose labs do what is in the files lab-1, lab-2...
func fakeLab(t *testing.T, outputs ...string) string {
	t.Helper()
	dir := t.TempDir()
	for i, text := range outputs {
		if err := os.WriteFile(filepath.Join(dir, "lab-"+string(rune('1'+i))), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, "usui")
	script := "#!/bin/sh\ncd " + dir + "\nn=$(($(cat n 2>/dev/null) + 1))\necho $n >n\nprintf %s \"$7\" >plan-$n\ncat lab-$n || exit 1\n"
	if err := os.WriteFile(path, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func lines(t *testing.T, records ...record) string {
	t.Helper()
	var out bytes.Buffer
	for _, r := range records {
		if err := json.NewEncoder(&out).Encode(r); err != nil {
			t.Fatal(err)
		}
	}
	return out.String()
}

func TestAnotherLabGoesOnWhereOneCrashed(t *testing.T) {
	lab := record{Lab: &labInfo{Kernel: "6.12"}}
	choice := reads(withRTC, true, 7)
	traced := func(r record) record { r.Blk.Traced = true; return r }
	program := fakeLab(t, lines(t, lab, choice), lines(t, lab, reads(usui, false, 7), reads(withRTC, false, 7),
		traced(reads(usui, false, 7)), traced(reads(withRTC, false, 7)), record{Done: true}))
	p := plan{Usui: program, Rounds: 1, Parts: []string{partBlk}}
	records, crashes, err := runLabs(t.Context(), options{timeout: time.Minute}, p)
	if err != nil || len(crashes) != 1 || stepsIn(records) != 5 {
		t.Fatalf("runLabs = %d records, crashes %q, %v, want 5 steps after 1 crash", len(records), crashes, err)
	}
	text, err := os.ReadFile(filepath.Join(filepath.Dir(program), "plan-2"))
	if err != nil {
		t.Fatal(err)
	}
	var second plan
	if err := json.Unmarshal(text, &second); err != nil {
		t.Fatal(err)
	}
	if second.From != 1 || second.Variant != "d" {
		t.Errorf("the second lab begins at %d with variant %q, want 1, d", second.From, second.Variant)
	}
}

func TestLabsThatAlwaysCrashEnd(t *testing.T) {
	p := plan{Usui: fakeLab(t), Rounds: 1, Parts: []string{partBoot}}
	_, crashes, err := runLabs(t.Context(), options{timeout: time.Minute}, p)
	if err == nil || len(crashes) != labs-1 {
		t.Errorf("runLabs = %q, %v, want an error after %d labs", crashes, err, labs)
	}
}

func TestChild(t *testing.T) {
	m := monitor{argv: func(s system) []string {
		return []string{"/bin/sh", "-c", `echo booting; printf 'x peerbench: up\r\n'; read line; echo "got $line"; echo last words >&2; exit 3`}
	}}
	c, err := startChild(m, system{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.stop()
	if _, err := c.await(t.Context(), lineUp, func(s string) bool { return strings.HasSuffix(s, lineUp) }); err != nil {
		t.Fatal(err)
	}
	if err := goOn(c); err != nil {
		t.Fatal(err)
	}
	if got, err := guestLine(t.Context(), c, "got "); err != nil || got != "" {
		t.Errorf("guestLine = %q, %v", got, err)
	}
	if _, err := guestLine(t.Context(), c, lineEnd); !errors.Is(err, errEnded) || !strings.Contains(err.Error(), "booting") {
		t.Errorf("guestLine after the end = %v, want errEnded and what was said", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := (&child{lines: make(chan line), stderr: tail.New(1, nil), last: tail.New(1, nil)}).await(ctx, "x", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("await of a cancelled context = %v", err)
	}
}

func TestOptions(t *testing.T) {
	for args, want := range map[string]string{
		"--parts boot,disk": `part "disk"`, "--rounds 0": "must be positive", "x": "takes flags only", "--parts boot --rounds 1": "",
	} {
		_, err := parseOptions(strings.Fields(args))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("parseOptions(%s) = %v, want %q", args, err, want)
		}
	}
}
