package need

import (
	"fmt"
	"os"
	"regexp"
	"runtime"
	"testing"

	"usui/host/probe"
)

// recorder is a test that only notes how it ended.
type recorder struct {
	testing.TB
	outcome, text string
}

func (r *recorder) Helper() {}

func (r *recorder) Skipf(format string, a ...any) {
	r.outcome, r.text = "skip", fmt.Sprintf(format, a...)
	runtime.Goexit()
}

func (r *recorder) Fatalf(format string, a ...any) {
	r.outcome, r.text = "fail", fmt.Sprintf(format, a...)
	runtime.Goexit()
}

// end runs f as a test and returns how it ended.
func end(f func(testing.TB)) *recorder {
	r := &recorder{outcome: "run"}
	done := make(chan struct{})
	go func() { // ends with f
		defer close(done)
		f(r)
	}()
	<-done
	return r
}

// message is what programs expect of a skip.
var message = regexp.MustCompile(`^need ([a-z0-9:._-]+): [^\n]+$`)

func TestANeedSkipsOrFails(t *testing.T) {
	absent := func(tb testing.TB) { Tool(tb, "no-such-program", "no-such-package") }
	for _, tt := range []struct {
		name, mustHave, lab string
		f                   func(testing.TB)
		outcome, need       string
	}{
		{"met", "kvm", "", func(tb testing.TB) { Tool(tb, "sh", "dash") }, "run", ""},
		{"absent", "", "", absent, "skip", "tool:no-such-program"},
		{"absent, others promised", "kvm,tool:sh", "", absent, "skip", "tool:no-such-program"},
		{"absent, yet promised", "kvm,tool:no-such-program", "", absent, "fail", "tool:no-such-program"},
		{"the fact fails", "", "", func(tb testing.TB) { check(tb, probe.Fact{Name: "fuse", Detail: "absent", Remedy: "modprobe fuse"}) }, "skip", "fuse"},
		{"no suites", "", "", func(tb testing.TB) { t.Setenv(suitesVariable, ""); Suite(tb, "ltp") }, "skip", "suite:ltp"},
		{"another suite", "", "", func(tb testing.TB) { t.Setenv(suitesVariable, t.TempDir()); Suite(tb, "ltp") }, "skip", "suite:ltp"},
		{"the suite", "", "", func(tb testing.TB) { t.Setenv(suitesVariable, ".."); Suite(tb, "need") }, "run", ""},
		{"no such fact", "", "", func(tb testing.TB) { fact(tb, "perpetual-motion") }, "fail", ""},
		{"not in a lab", "", "", func(tb testing.TB) { Lab(tb) }, "skip", "lab"},
		{"in a lab", "", "nvme,iommu", func(tb testing.TB) { Lab(tb) }, "run", ""},
		{"in a lab of one CPU", "", "none", func(tb testing.TB) { Lab(tb, "nvme") }, "skip", "lab:nvme"},
		{"all features", "", "nvme,iommu", func(tb testing.TB) { Lab(tb, "iommu", "nvme") }, "run", ""},
		{"one is missing", "lab", "nvme,iommu", func(tb testing.TB) { Lab(tb, "nvme", "ahci") }, "skip", "lab:ahci"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv(mustHaveVariable, tt.mustHave)
			setLab(t, tt.lab)
			got := end(tt.f)
			if got.outcome != tt.outcome {
				t.Fatalf("outcome = %s (%s), want %s", got.outcome, got.text, tt.outcome)
			}
			if m := message.FindStringSubmatch(got.text); tt.need != "" && (m == nil || m[1] != tt.need) {
				t.Errorf("text = %q, want one that names %s", got.text, tt.need)
			}
		})
	}
}

// setLab makes the environment that of a lab, or, for "", of none.
func setLab(t *testing.T, shape string) {
	t.Setenv(labVariable, shape)
	if shape == "" {
		unset(t, labVariable)
	}
}

// TestEveryNeedIsAFact calls all that need offers; whatever the host, none may be unknown to probe.
func TestEveryNeedIsAFact(t *testing.T) {
	for _, f := range []func(testing.TB){KVM, HardwareKVM, FUSE, Tun, URing, Userfaultfd, BPF, Root} {
		if got := end(f); got.outcome == "fail" {
			t.Error(got.text)
		}
	}
}

// unset removes a variable that t.Setenv puts back at the end.
func unset(t *testing.T, name string) {
	t.Helper()
	if err := os.Unsetenv(name); err != nil {
		t.Fatal(err)
	}
}

// TestLabOffersABareMachine holds what internal/testrun promises to every test in the lab.
func TestLabOffersABareMachine(t *testing.T) {
	Lab(t, "kvm")
	KVM(t)
	HardwareKVM(t)
	Root(t)
	URing(t)
}
