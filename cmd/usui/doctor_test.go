package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"usui/host/probe"
	"usui/internal/cli"
)

// hostWithout is a host that offers every fact but those named.
func hostWithout(missing ...string) []probe.Fact {
	facts := probe.Host{}.Facts()
	for i := range facts {
		f := &facts[i]
		f.OK = !slices.Contains(missing, f.Name)
		f.Detail, f.Remedy = "found", ""
		if !f.OK {
			f.Detail, f.Remedy = "not found", "find it"
		}
	}
	return facts
}

func TestDoctorJudges(t *testing.T) {
	for _, tt := range []struct {
		missing   []string
		run, lab  string
		runStatus error
	}{
		{nil, works, works, nil},
		{[]string{"uring"}, works, works, nil},
		{[]string{"hardware-kvm"}, worksInLab, works, nil},
		{[]string{"kvm", "hardware-kvm"}, worksInLab, works, nil},
		{[]string{"hardware-kvm", "tool:qemu-system-x86_64"}, worksNot, worksNot, cli.ExitStatus(1)},
		{[]string{"tool:qemu-system-x86_64"}, works, worksNot, nil},
		{[]string{"tool:busybox"}, worksNot, works, cli.ExitStatus(1)},
		{[]string{"hardware-kvm", "memory"}, worksNot, worksNot, cli.ExitStatus(1)},
	} {
		r := examine(hostWithout(tt.missing...))
		got := map[string]string{}
		for _, c := range r.Capabilities {
			got[c.Name] = c.Works
			if c.Why == "" || (c.Works == works) != (len(c.Missing) == 0) {
				t.Errorf("without %q: %+v; want a reason, and something missing unless it works", tt.missing, c)
			}
		}
		if got["run"] != tt.run || got["lab"] != tt.lab || !errors.Is(r.verdict(), tt.runStatus) {
			t.Errorf("without %q: run %s, lab %s, status %v; want %s, %s, %v", tt.missing, got["run"], got["lab"], r.verdict(), tt.run, tt.lab, tt.runStatus)
		}
	}
}

func TestDoctorKnowsWhatItJudgesBy(t *testing.T) {
	known := map[string]bool{}
	for _, f := range (probe.Host{}).Facts() {
		known[f.Name] = true
	}
	for _, c := range capabilities() {
		for _, name := range append(slices.Clone(c.all), c.better...) {
			if !known[name] {
				t.Errorf("capability %s needs %q, which is no fact", c.name, name)
			}
		}
	}
}

// TestDoctorJSONIsStable holds the names that scripts and internal/testrun read.
func TestDoctorJSONIsStable(t *testing.T) {
	text, err := json.Marshal(examine(hostWithout("hardware-kvm")))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`{"version":1,"capabilities":[{"name":"run","planned":false,"works":"lab","why":"inside usui lab, as this host lacks hardware-kvm","missing":["hardware-kvm"],"slower":[]}`,
		`"needs":[{"name":"kvm","ok":true,"detail":"found","how":"`,
		`{"name":"hardware-kvm","ok":false,"detail":"not found","how":"`,
		`"remedy":"find it"}`,
	} {
		if !bytes.Contains(text, []byte(want)) {
			t.Errorf("JSON = %s\nwant it to hold %s", text, want)
		}
	}
}

func TestDoctorPrintsWhatToDo(t *testing.T) {
	r := examine(hostWithout("hardware-kvm", "tool:iasl"))
	var plain, painted strings.Builder
	if err := r.print(&plain, colours(&plain)); err != nil {
		t.Fatal(err)
	}
	if err := r.print(&painted, func(word, text string) string { return "<" + word + ":" + text + ">" }); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"\n  run                  lab  inside usui lab, as this host lacks hardware-kvm\n",
		"\n  iasl                 no   not found\n" + indent + "to do: find it\n",
	} {
		if !strings.Contains(plain.String(), want) {
			t.Errorf("report holds no %q:\n%s", want, &plain)
		}
	}
	if want := "<no:no >"; !strings.Contains(painted.String(), want) {
		t.Errorf("painted report holds no %q", want)
	}
}
