package where

import (
	"context"
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

// hostOf unpacks a machine's files.
func hostOf(t *testing.T, name string) Host {
	t.Helper()
	files, err := txtar.ParseFile(filepath.Join("testdata", name+".txtar"))
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	if err := txtar.Write(files, root); err != nil {
		t.Fatal(err)
	}
	return Host{Root: root}
}

// add writes one more file of the host.
func (h Host) add(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(h.path(name)), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(h.path(name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestReadUnderstandsMachines(t *testing.T) {
	for name, want := range map[string]Environment{
		"amd-bare": {
			CPU: "AMD EPYC 7713 64-Core Processor, family 25 model 1 stepping 1", Microcode: "0xa0011d5", CPUs: 2,
			Kernel: "6.12.48+deb13-amd64", Module: "kvm_amd", Kind: Hardware, Governor: "performance",
			Parameters:  map[string]string{"kvm.halt_poll_ns": "200000", "kvm_amd.nested": "1", "kvm_amd.npt": "Y", "kvm_amd.avic": "N"},
			Mitigations: map[string]string{"meltdown": "Not affected", "retbleed": "Mitigation: untrained return thunk; SMT enabled with STIBP protection"},
		},
		"intel-nested": {
			CPU: "Intel Xeon Processor (SapphireRapids), family 6 model 143 stepping 4", Microcode: "0x1", CPUs: 1,
			Kernel: "6.1.0-56-cloud-amd64", Module: "kvm_intel", Kind: Nested, Governor: "performance,schedutil",
			Parameters:  map[string]string{"kvm.halt_poll_ns": "0", "kvm_intel.ept": "Y", "kvm_intel.enable_apicv": "N", "kvm_intel.nested": "Y"},
			Mitigations: map[string]string{},
		},
		"pvm": {
			CPU: "AMD EPYC, family 25 model 17 stepping 1", Microcode: "0x1000065", CPUs: 2,
			Kernel: "6.18.44", Module: "kvm_pvm", Kind: Software,
			Parameters:  map[string]string{"kvm.tdp_mmu": "N", "kvm_pvm.pvm_native": "Y"},
			Mitigations: map[string]string{},
		},
		"arm64": {
			CPU: "ARM implementer 0x41 part 0xd0c variant 0x3 revision 1", CPUs: 2,
			Kernel: "6.12.0-arm64", Module: "kvm", Kind: Hardware,
			Parameters:  map[string]string{"kvm.halt_poll_ns": "500000"},
			Mitigations: map[string]string{},
		},
	} {
		got, err := hostOf(t, name).Read(context.Background())
		if err != nil {
			t.Errorf("%s: Read() = %v", name, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: Read() differs (-want +got):\n%s", name, diff)
		}
		if err := got.Check(); err != nil {
			t.Errorf("%s: Check() = %v, want nil", name, err)
		}
	}
}

func TestKindOfKVM(t *testing.T) {
	for _, tt := range []struct {
		name, machine string
		folder        string // one more module
		remove        string
		software      bool
		module, kind  string
	}{
		{"a measurement knows better", "amd-bare", "", "", true, "kvm_amd", Software},
		{"both vendors' modules, Intel's processor", "intel-nested", "kvm_amd", "", false, "kvm_intel", Nested},
		{"software beside a vendor's module", "intel-nested", "kvm_pvm", "", false, "kvm_pvm", Software},
		{"an unknown module", "pvm", "", "kvm_pvm", false, "kvm", Software},
		{"an unknown module of a vendor", "amd-bare", "kvm_zhaoxin", "", false, "kvm_zhaoxin", Software},
		{"no KVM", "arm64", "", "kvm", false, "", ""},
	} {
		h := hostOf(t, tt.machine)
		h.Software = tt.software
		if tt.folder != "" {
			h.add(t, "/sys/module/"+tt.folder+"/parameters/x", "1")
		}
		if tt.remove != "" {
			if err := os.RemoveAll(h.path("/sys/module/" + tt.remove)); err != nil {
				t.Fatal(err)
			}
		}
		e, err := h.Read(context.Background())
		if err != nil || e.Module != tt.module || e.Kind != tt.kind {
			t.Errorf("%s: module %q, kind %q, %v; want %q, %q", tt.name, e.Module, e.Kind, err, tt.module, tt.kind)
		}
	}
}

func TestReadKeepsTextsPlain(t *testing.T) {
	h := hostOf(t, "pvm")
	h.add(t, "/sys/module/kvm_pvm/parameters/stats", "a\x1b[2J\n\tb\xff"+strings.Repeat("é", maxText))
	e, err := h.Read(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	got := e.Parameters["kvm_pvm.stats"]
	if !strings.HasPrefix(got, "a?[2J b?é") || len(got) > maxText {
		t.Errorf("parameter = %q (%d bytes), want it plain and at most %d bytes", got, len(got), maxText)
	}
	if err := e.Check(); err != nil {
		t.Errorf("Check() = %v, want nil", err)
	}
}

func TestReadFails(t *testing.T) {
	if _, err := (Host{Root: t.TempDir()}).Read(context.Background()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Read() without /proc = %v, want %v", err, fs.ErrNotExist)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := hostOf(t, "pvm").Read(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Read() = %v, want %v", err, context.Canceled)
	}
}

func TestReadOfThisHost(t *testing.T) {
	e, err := Host{}.Read(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if e.CPUs < 1 || e.Kernel == "" || e.Check() != nil {
		t.Errorf("Read() = %+v, want CPUs, a kernel, and nothing that Check refuses (%v)", e, e.Check())
	}
}

func TestStealBetween(t *testing.T) {
	const before = "cpu  9 9 9 9 9 9 9 9 9 9\ncpu0 100 0 100 800 0 0 0 0 0 0\ncpu1 100 0 100 800 50 0 0 10 0 0\ncpu3 7 7 7 7 7 7 7 7 0 0\n"
	const after = "cpu  9 9 9 9 9 9 9 99 9 9\ncpu0 150 0 100 850 0 0 0 0 40 0\ncpu1 140 0 110 830 50 0 0 30 90 0\ncpu2 50 0 0 0 0 0 0 50 0 0\ncpu3 7 7 7 7 0 7 7 7 0 0\nintr 1 2\n"
	for _, tt := range []struct {
		name          string
		before, after string
		cpus          []int
		want          float64
	}{
		{"nothing happened", before, before, nil, 0},
		{"all CPUs", before, after, nil, 0.2}, // CPU 2 is new, CPU 3 went back
		{"the CPU that lost", before, after, []int{1}, 0.2},
		{"the CPU that did not", before, after, []int{0}, 0},
		{"an idle one beside it", before, after, []int{0, 1}, 0.2},
		{"a new CPU", before, after, []int{2}, 0},
		{"a CPU that went back", before, after, []int{3}, 0},
		{"no such CPU", before, after, []int{-1, 77}, 0},
		{"all of it", "cpu0 1 1 1 1 1 1 1 1\n", "cpu0 1 1 1 1 1 1 1 9\n", nil, 1},
	} {
		b, errB := parseStat([]byte(tt.before))
		a, errA := parseStat([]byte(tt.after))
		if errB != nil || errA != nil {
			t.Fatalf("%s: %v, %v", tt.name, errB, errA)
		}
		if got := StealBetween(b, a, tt.cpus...); math.Abs(got-tt.want) > 1e-9 {
			t.Errorf("%s: StealBetween() = %v, want %v", tt.name, got, tt.want)
		}
	}
	if got := StealBetween(Times{}, Times{}); got != 0 {
		t.Errorf("StealBetween() of nothing = %v, want 0", got)
	}
}

func TestTimes(t *testing.T) {
	for name, tt := range map[string]struct{ text, want string }{
		"good":         {"cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 1 2 3 4 5 6 7 8 9 10\n", ""},
		"empty":        {"", "no line of a CPU"},
		"only the sum": {"cpu  1 2 3 4 5 6 7 8 9 10\n", "no line of a CPU"},
		"no steal":     {"cpu0 1 2 3 4 5 6 7\n", "no steal time"},
		"no number":    {"cpu0 1 2 3 4 5 6 7 -8\n", "invalid syntax"},
	} {
		h := Host{Root: t.TempDir()}
		h.add(t, "/proc/stat", tt.text)
		if _, err := h.Times(); (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: Times() = %v, want %q", name, err, tt.want)
		}
	}
	if _, err := (Host{Root: t.TempDir()}).Times(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Times() without /proc = %v, want %v", err, fs.ErrNotExist)
	}
	if _, err := (Host{}).Times(); err != nil {
		t.Errorf("Times() of this host = %v", err)
	}
}

func TestCheckRefuses(t *testing.T) {
	many := map[string]string{}
	for i := range maxEntries + 1 {
		many[strings.Repeat("x", i)] = ""
	}
	for want, e := range map[string]Environment{
		`"cpu"`:     {CPU: "\x1b]0;title\a"},
		`"kernel"`:  {Kernel: strings.Repeat("k", maxText+1)},
		`"l1tf"`:    {Mitigations: map[string]string{"l1tf": "two\nlines"}},
		`"\u202e"`:  {Parameters: map[string]string{"\u202e": "turns the line round"}},
		"513 entr":  {Parameters: many},
		`kind "x"`:  {Kind: "x"},
		"-1 CPUs":   {CPUs: -1},
		"steal of":  {Steal: math.NaN()},
		"of 1.5 is": {Steal: 1.5},
		"of -0.1 i": {Steal: -0.1},
	} {
		if err := e.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Check() = %v, want an error with %q", err, want)
		}
	}
	if err := (Environment{}).Check(); err != nil {
		t.Errorf("Check() of nothing known = %v, want nil", err)
	}
}

func TestDifferences(t *testing.T) {
	a := Environment{CPU: "x", CPUs: 2, Kernel: "6.1", Steal: 0.5, Parameters: map[string]string{"kvm.a": "1", "kvm.b": "2"}, Mitigations: map[string]string{"mds": "x"}}
	b := Environment{CPU: "x", CPUs: 4, Kernel: "6.2", TSCkHz: 1, Parameters: map[string]string{"kvm.b": "3", "kvm.c": "4"}, Mitigations: map[string]string{"mds": "y"}}
	want := []Difference{{"CPUs", "2", "4"}, {"kernel", "6.1", "6.2"}, {"kvm.a", "1", ""}, {"kvm.b", "2", "3"}, {"kvm.c", "", "4"}, {"mds", "x", "y"}}
	if diff := cmp.Diff(want, a.Differences(b)); diff != "" {
		t.Errorf("Differences() differs (-want +got):\n%s", diff)
	}
	if got := a.Differences(a); got != nil {
		t.Errorf("Differences() with itself = %v, want none", got)
	}
}

// FuzzFiles gives the parsers bytes that no kernel writes.
func FuzzFiles(f *testing.F) {
	f.Add([]byte("processor : 0\nmodel name : x\nflags: constant_tsc\n"))
	f.Add([]byte("cpu0 1 2 3 4 5 6 7 8\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		c := parseCPUInfo(text)
		e := Environment{CPU: c.name(), CPUs: c.count, Governor: Plain(string(text))}
		if err := e.Check(); err != nil {
			t.Error(err)
		}
		if times, err := parseStat(text); err == nil {
			if s := StealBetween(Times{cpus: map[int]cpuTimes{0: {}}}, times); !(s >= 0 && s <= 1) {
				t.Errorf("StealBetween() = %v, want a share", s)
			}
		}
	})
}
