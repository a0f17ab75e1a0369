package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// play feeds the lines of go test -json to a tier and returns the results.
func play(t *testing.T, all *results, tier string, lines ...string) {
	t.Helper()
	all.out = io.Discard
	if err := readEvents(strings.NewReader(strings.Join(lines, "\n")), all.tier(tier).add); err != nil {
		t.Fatal(err)
	}
}

func ev(action, pkg, name, output string) string {
	return fmt.Sprintf(`{"Action":%q,"Package":%q,"Test":%q,"Output":%q}`, action, pkg, name, output)
}

func TestATestIsCountedOnceByItsBestTier(t *testing.T) {
	all := newResults()
	play(t, all, "host",
		ev("pass", "p", "TestA", ""),
		ev("skip", "p", "TestLabB", ""),
		ev("pass", "p", "TestC", ""),
		ev("skip", "p", "TestD/inside", ""),
		ev("pass", "p", "TestD", ""),
		ev("pass", "p", "TestD/other", ""),
		ev("pass", "p", "", ""))
	play(t, all, "lab",
		ev("pass", "p", "TestLabB", ""),
		ev("fail", "p", "TestC", ""),
		ev("pass", "p", "TestD/inside", ""),
		ev("skip", "p", "TestA", ""),
		ev("fail", "p", "", ""))
	s := all.sum(true)
	if s.passed != 3 || len(s.skips) != 0 {
		t.Errorf("passed = %d, skips = %v; want 3 and none", s.passed, s.skips)
	}
	if diff := cmp.Diff("[p TestC]", fmt.Sprint(s.failed)); diff != "" {
		t.Errorf("failed (-want +got):\n%s", diff)
	}
}

func TestSkipsAreExplainedOrFail(t *testing.T) {
	for _, tt := range []struct {
		name, says string
		labRan     bool
		need       string
		ok         bool
	}{
		{"a need", "    x_test.go:7: need hardware-kvm: /dev/kvm is a software KVM\n", true, "hardware-kvm", true},
		{"a tool", "    x_test.go:7: need tool:iasl: apt install acpica-tools\n", true, "tool:iasl", true},
		{"no lab yet", "    x_test.go:7: need lab: runs inside usui lab\n", false, "lab", true},
		{"no lab at all", "    x_test.go:7: need lab: runs inside usui lab\n", true, "lab", false},
		{"no such shape", "    x_test.go:7: need lab:arm64: this lab has nvme\n", true, "lab:arm64", false},
		{"no reason", "    x_test.go:7: not today\n", true, "", false},
		{"silence", "", true, "", false},
	} {
		for _, name := range []string{"TestX", "TestX/sub"} {
			all := newResults()
			play(t, all, "host",
				ev("output", "p", name, "=== RUN   "+name+"\n"),
				ev("output", "p", name, tt.says),
				ev("output", "p", name, "--- SKIP: "+name+" (0.00s)\n"),
				ev("skip", "p", name, ""),
				ev("pass", "p", "TestY", ""),
				ev("pass", "p", "", ""))
			s := all.sum(tt.labRan)
			if len(s.skips) != 1 || s.skips[0].need != tt.need || s.ok() != tt.ok {
				t.Errorf("%s, %s: skips = %+v, ok = %v; want need %q, ok = %v", tt.name, name, s.skips, s.ok(), tt.need, tt.ok)
			}
		}
	}
}

func TestAPackageThatDiesIsAFailure(t *testing.T) {
	for name, lines := range map[string][]string{
		"crash": {
			ev("output", "p", "TestX", "panic: oh\n"),
			ev("output", "p", "", "FAIL\tp\t0.1s\n"),
			ev("fail", "p", "", "")},
		"build": {
			`{"ImportPath":"p [p.test]","Action":"build-output","Output":"x.go:3: panic: oh\n"}`,
			`{"ImportPath":"p [p.test]","Action":"build-fail"}`,
			`{"Action":"fail","Package":"p","FailedBuild":"p [p.test]"}`},
	} {
		all := newResults()
		play(t, all, "host", append(lines, ev("pass", "q", "TestFine", ""), ev("pass", "q", "", ""))...)
		s := all.sum(false)
		if len(s.failed) != 1 || s.failed[0] != (test{"p", ""}) || s.ok() || !strings.Contains(s.reasons[s.failed[0]], "panic: oh") {
			t.Errorf("%s: failed = %v, reasons = %v; want package p with its last words", name, s.failed, s.reasons)
		}
	}
}

func TestNoTestIsNoSuccess(t *testing.T) {
	all := newResults()
	play(t, all, "host", `{"Action":"skip","Package":"p"}`)
	if s := all.sum(true); s.ok() || len(s.skips) != 0 {
		t.Errorf("a run without tests: ok = %v, skips = %v; want no success, no skip", s.ok(), s.skips)
	}
}

func TestTheTableEndsWithTheCounts(t *testing.T) {
	all := newResults()
	var progress, table bytes.Buffer
	play(t, all, "host",
		ev("pass", "p", "TestA", ""),
		ev("output", "p", "TestB", "    b_test.go:3: need fuse: /dev/fuse is absent\n"),
		ev("skip", "p", "TestB", ""),
		ev("pass", "p", "", ""))
	all.out = &progress
	lab := all.tier("lab")
	lab.add(event{Action: "output", Package: "p", Test: "TestLabC", Output: "    c_test.go:9: F(1) = 2, want 3\n"})
	lab.add(event{Action: "fail", Package: "p", Test: "TestLabC"})
	lab.add(event{Action: "fail", Package: "p"})
	s := all.sum(true)
	s.print(&table, 90*time.Second)
	for _, want := range []string{
		"\n1 passed, 1 failed, 1 skipped\n",
		"  p TestLabC\n",
		"  fuse           p TestB\n                 /dev/fuse is absent\n",
		"\nhost             1         0         1 ",
		"\nlab              0         1         0 ",
	} {
		if !strings.Contains(table.String(), want) {
			t.Errorf("table holds no %q:\n%s", want, &table)
		}
	}
	if !strings.HasSuffix(table.String(), "\n1 passed, 1 failed, 1 skipped\n") {
		t.Errorf("table does not end with the counts:\n%s", &table)
	}
	if want := "FAIL  p TestLabC\n          c_test.go:9: F(1) = 2, want 3\n"; !strings.Contains(progress.String(), want) {
		t.Errorf("progress = %q, want it to hold %q", &progress, want)
	}
}

// The output is as the testing package prints it under -test.v=test2json, framed by the lab's script.
func TestFramedOutputBecomesEvents(t *testing.T) {
	const output = "boot noise\n" +
		"\x01begin a/one\n" +
		"\x16=== RUN   TestLabX\nhello\n\x16--- PASS: TestLabX (0.01s)\n" +
		"\x16=== RUN   TestLabY\n    y_test.go:1: need lab:nvme: this lab has none\n\x16--- SKIP: TestLabY (0.00s)\n\x16PASS\n" +
		"\n\x01end 0\n" +
		"\x01begin a/two\n" +
		"\x16=== RUN   TestLabZ\npanic: runtime error\n" +
		"\n\x01end 2\n" +
		"\x01begin a/three\n" +
		"\x16=== RUN   TestLabW\n"
	all := newResults()
	var progress bytes.Buffer
	all.out = &progress
	each := all.tier("lab").add
	f := frameReader{each: each, open: func(pkg string) (*converter, error) { return newConverter(t.Context(), pkg, each) }, ended: map[string]bool{}}
	if err := f.readAll(strings.NewReader(output)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]bool{"a/one": true, "a/two": true}, f.ended); diff != "" {
		t.Errorf("packages that ended (-want +got):\n%s", diff)
	}
	if !strings.Contains(progress.String(), "boot noise\n") {
		t.Errorf("progress = %q, want the lab's own output in it", &progress)
	}
	s := all.sum(true)
	if s.passed != 1 || len(s.skips) != 1 || s.skips[0].need != "lab:nvme" {
		t.Errorf("passed = %d, skips = %+v; want 1 and a need of lab:nvme", s.passed, s.skips)
	}
	if len(s.failed) != 1 || s.failed[0].pkg != "a/two" {
		t.Errorf("failed = %v, want something of a/two", s.failed)
	}
}

// fakeLab is a shell script in the place of bin/usui. Each of its calls prints what the script of that number in
// its folder says.
const fakeLab = `#!/bin/sh
cd "$(dirname "$0")"
n=$(cat calls 2>/dev/null || echo 1)
echo $((n + 1)) >calls
. ./$n
`

func TestACrashedLabIsReplaced(t *testing.T) {
	const one, two = `printf '\001begin one\n\026=== RUN   TestLabX\n\026--- PASS: TestLabX (0.01s)\n\026PASS\n\n\001end 0\n'`,
		`printf '\001begin two\n\026=== RUN   TestLabY\n\026--- PASS: TestLabY (0.01s)\n\026PASS\n\n\001end 0\n'`
	const dies = "printf '\\001begin two\\n\\026=== RUN   TestLabY\\n'; exit 1"
	const hangs = "printf '\\001begin two\\n\\026=== RUN   TestLabY\\n'; exec sleep 1000"
	const nothing, quits = `printf '\001begin two\n\026PASS\n\n\001end 0\n'`, `printf '\001begin two\n\n\001end 2\n'`
	for name, tt := range map[string]struct {
		calls          []string
		passed, failed int
	}{
		"it holds":                     {[]string{one + ";" + two}, 2, 0},
		"it crashes once":              {[]string{one + ";" + dies, two}, 2, 0},
		"it crashes at once":           {[]string{"exit 1", one + ";" + two}, 2, 0},
		"a function always crashes it": {[]string{one + ";" + dies, dies, nothing}, 1, 1},
		"it always crashes":            {[]string{"exit 1", "exit 1", "exit 1", "exit 1", "exit 1", "exit 1"}, 0, 2},
		"a test kills itself once":     {[]string{one + ";" + quits, two}, 2, 0},
		"a test hangs once":            {[]string{one + ";" + hangs, two}, 2, 0},
		"a test kills itself":          {[]string{one + ";" + quits, quits}, 1, 1},
	} {
		dir := t.TempDir()
		o := options{usui: filepath.Join(dir, "usui"), silence: 5 * time.Second}
		if err := os.WriteFile(o.usui, []byte(fakeLab), 0o755); err != nil {
			t.Fatal(err)
		}
		for i, text := range tt.calls {
			if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i+1)), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		all := newResults()
		all.out = io.Discard
		if err := runInLabs(t.Context(), o, shape{}, []labPackage{{path: "one"}, {path: "two"}}, all.tier("lab").add); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if s := all.sum(true); s.passed != tt.passed || len(s.failed) != tt.failed {
			t.Errorf("%s: %d passed, failed %v; want %d and %d", name, s.passed, s.failed, tt.passed, tt.failed)
		}
	}
}

func TestScriptQuotesAndFrames(t *testing.T) {
	got := script(options{}, shape{root: "/host"}, []labPackage{{path: "a/b", dir: "/it's here", binary: "/x y"}})
	for _, want := range []string{"export USUI_MUST_HAVE=" + mustHaveInLab + "\n", `cd '/host/it'\''s here' && '/host/x y' -test.v=test2json`, "-test.run='^TestLab[A-Z]' 2>&1\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("script holds no %q:\n%s", want, got)
		}
	}
}

func TestNamedPackages(t *testing.T) {
	root := t.TempDir()
	for _, dir := range []string{"layer/kv", "machine"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{"kv": "[./layer/kv/...]", "machine": "[./machine/... ./cmd/usui]", "nothing": "[]"} {
		if got, err := namedPackages(root, name); fmt.Sprint(got) != want || (err == nil) != (want != "[]") {
			t.Errorf("namedPackages(%q) = %v, %v, want %v", name, got, err, want)
		}
	}
}

func TestOptions(t *testing.T) {
	for _, args := range [][]string{{"--tiers", "moon"}, {"--bench", "--long"}, {"--name", "no-such-folder"}} {
		if _, err := parse(args); err == nil {
			t.Errorf("parse(%q) = nil, want an error", args)
		}
	}
	for _, tt := range []struct {
		o    options
		text string
		want bool
	}{
		{options{}, "package p\n\nfunc TestLabBoot(t *testing.T) {", true},
		{options{}, "package p\n\nfunc TestLabsAreSlow(t *testing.T) {", false},
		{options{}, "package p\n\nfunc TestLater(t *testing.T) {\n// func TestLabX", false},
		{options{bench: true}, "package p\n\nfunc BenchmarkLabBoot(b *testing.B) {", true},
		{options{bench: true}, "package p\n\nfunc TestLabBoot(t *testing.T) {", false},
		{options{long: true}, "package p\n\nfunc TestLabLongBoots(t *testing.T) {", true},
	} {
		if got := tt.o.selects([]byte(tt.text)); got != tt.want {
			t.Errorf("%+v.selects(%q) = %v, want %v", tt.o, tt.text, got, tt.want)
		}
	}
}

func TestParseOffered(t *testing.T) {
	got, err := parseOffered([]byte(`{"version":1,"needs":[{"name":"kvm","ok":true},{"name":"fuse","ok":false},{"name":"root","ok":true}]}`))
	if diff := cmp.Diff([]string{"kvm", "root"}, got); diff != "" || err != nil {
		t.Errorf("parseOffered: %v (-want +got):\n%s", err, diff)
	}
	for _, bad := range []string{"", "{", `{"needs":[]}`} {
		if _, err := parseOffered([]byte(bad)); err == nil {
			t.Errorf("parseOffered(%q) = nil error", bad)
		}
	}
}
