package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"usui/host/probe"
	"usui/internal/cli"
	"usui/machine/tinyguest"
)

var doctorCommand = cli.Command{
	Name:  "doctor",
	Usage: "[--json]",
	Short: "list what this host can do, and what to do about the rest",
	Long: `
Tries what usui uses of this host and lists, for each capability, whether it can work here, and for each
feature of the host what was found, how, and what to do if it is missing. Nothing is changed.

  usui doctor
  usui doctor --json | jq '.needs[] | select(.ok | not) | .remedy'

A capability works here ("yes"), only inside the lab ("lab"), or not at all ("no"). The JSON has a version;
fields and names are only ever added to one version. Exit status: 0, or 1 if "usui run" cannot work at all.`,
	Setup: func(f *flag.FlagSet) cli.Run {
		asJSON := f.Bool("json", false, "print the report as JSON")
		return func(_ context.Context, env *cli.Env, args []string) error {
			if len(args) > 0 {
				return cli.UsageError("unexpected argument %q", args[0])
			}
			return doctor(env.Stdout, *asJSON)
		}
	},
}

// reportVersion counts changes that break readers of the JSON.
const reportVersion = 1

// report is what "usui doctor --json" prints.
type report struct {
	Version      int          `json:"version"`
	Capabilities []capability `json:"capabilities"`
	Needs        []need       `json:"needs"`
}

// capability says whether a command can work here.
type capability struct {
	Name    string   `json:"name"`
	Planned bool     `json:"planned"` // this version does not have it yet
	Works   string   `json:"works"`   // yes, lab, no
	Why     string   `json:"why"`     // one line
	Missing []string `json:"missing"`
	Slower  []string `json:"slower"` // needs that would make it better
}

// need is a feature of the host, named as tests name it.
type need struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
	How    string `json:"how"`
	Remedy string `json:"remedy"`
}

// wants is what one capability needs of the host.
type wants struct {
	name    string
	planned bool     // this version does not have it yet
	all     []string // it does not work without
	better  []string // it works better with
	lab     bool     // the lab stands in for hardware and kernel features that are missing
}

// capabilities is the table that the doctor judges by, in the order of "usui help".
func capabilities() []wants {
	guest := []string{"memfd", "tool:busybox", "tool:depmod", "tool:apt-get", "tool:dpkg-deb"}
	return []wants{
		{name: "run", all: append([]string{"hardware-kvm"}, guest...), better: []string{"uring"}, lab: true},
		{name: "lab", all: labNeeds()},
		{name: "net", all: []string{"hardware-kvm", "tun"}, better: []string{"vhost-net"}, lab: true},
		{name: "passthrough", planned: true, all: []string{"hardware-kvm", "vfio", "iommu"}, lab: true},
		{name: "migrate", planned: true, all: []string{"hardware-kvm", "memfd"}, better: []string{"userfaultfd"}, lab: true},
		{name: "exec", planned: true, better: []string{"kvm"}},
		{name: "fsmove", all: []string{"fuse", "root"}},
		{name: "kv", better: []string{"pmem"}},
		{name: "egress", planned: true, all: []string{"bpf", "af-xdp"}, better: []string{"tcx"}},
		{name: "lsm", planned: true, all: []string{"bpf", "bpf-lsm", "btf"}, lab: true},
		{name: "blind"},
		{name: "bench", all: []string{"kvm"}, better: []string{"hardware-kvm"}, lab: true},
	}
}

func labNeeds() []string {
	return []string{"memory", "tool:qemu-system-x86_64", "tool:depmod", "tool:apt-get", "tool:dpkg-deb"}
}

// kvmState says whether a stock kernel can boot on this host's KVM.
func kvmState() probe.KVMState { return probe.KVM("/dev/kvm", tinyguest.Ring0Speed) }

func doctor(w io.Writer, asJSON bool) error {
	r := examine(probe.Host{Speed: tinyguest.Ring0Speed}.Facts())
	if asJSON {
		e := json.NewEncoder(w)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		if err := e.Encode(r); err != nil {
			return err
		}
	} else if err := r.print(w, colours(w)); err != nil {
		return err
	}
	return r.verdict()
}

// verdict is exit status 1 if "usui run" cannot work at all.
func (r *report) verdict() error {
	for _, c := range r.Capabilities {
		if c.Name == "run" && c.Works == worksNot {
			return cli.ExitStatus(1)
		}
	}
	return nil
}

// Values of capability.Works.
const (
	works      = "yes"
	worksInLab = "lab"
	worksNot   = "no"
)

// examine judges the capabilities by the facts.
func examine(facts []probe.Fact) report {
	r := report{Version: reportVersion}
	known := map[string]probe.Fact{}
	for _, f := range facts {
		known[f.Name] = f
		r.Needs = append(r.Needs, need{f.Name, f.OK, f.Detail, f.How, f.Remedy})
	}
	lab := len(absent(known, labNeeds())) == 0
	for _, want := range capabilities() {
		c := capability{Name: want.name, Planned: want.planned, Missing: absent(known, want.all), Slower: absent(known, want.better)}
		c.judge(want.lab && lab)
		r.Capabilities = append(r.Capabilities, c)
	}
	return r
}

// judge fills in what follows from what is missing. lab says that the lab works and may stand in; it shows
// the host's own files, so it has no program that the host lacks.
func (c *capability) judge(lab bool) {
	missesTool := slices.ContainsFunc(c.Missing, func(name string) bool { return strings.HasPrefix(name, "tool:") })
	switch {
	case len(c.Missing) == 0 && len(c.Slower) == 0:
		c.Works, c.Why = works, "all that it uses is here"
	case len(c.Missing) == 0:
		c.Works, c.Why = works, "all that it needs is here; better with "+list(c.Slower)
	case lab && !missesTool:
		c.Works, c.Why = worksInLab, "inside usui lab, as this host lacks "+list(c.Missing)
	default:
		c.Works, c.Why = worksNot, "this host lacks "+list(c.Missing)
	}
	if c.Planned {
		c.Why += " (not in this version)"
	}
}

// absent returns those of names that do not hold.
func absent(known map[string]probe.Fact, names []string) []string {
	missing := []string{} // an empty list in JSON, not null
	for _, name := range names {
		if !known[name].OK {
			missing = append(missing, name)
		}
	}
	return missing
}

// list names needs in a sentence.
func list(names []string) string {
	return strings.ReplaceAll(strings.Join(names, ", "), "tool:", "")
}

// indent is where the third column of the tables begins.
const indent = "                            "

// print writes the report as two tables, which stay within a wide terminal.
func (r *report) print(w io.Writer, paint func(word, text string) string) error {
	var b strings.Builder
	b.WriteString("capabilities, and whether this host has what they need\n")
	for _, c := range r.Capabilities {
		fmt.Fprintf(&b, "  %-20s %s  %s\n", c.Name, paint(c.Works, fmt.Sprintf("%-3s", c.Works)), c.Why)
	}
	b.WriteString("\nwhat this host offers (and how that is known)\n")
	for _, n := range r.Needs {
		word := worksNot
		if n.OK {
			word = works
		}
		fmt.Fprintf(&b, "  %-20s %s  %s\n", strings.TrimPrefix(n.Name, "tool:"), paint(word, fmt.Sprintf("%-3s", word)), n.describe())
		if n.Remedy != "" {
			fmt.Fprintf(&b, "%s%s\n", indent, "to do: "+n.Remedy)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// describe says what was found and how; a tool's path says both.
func (n need) describe() string {
	if strings.HasPrefix(n.Name, "tool:") {
		return n.Detail
	}
	how := "(" + n.How + ")"
	if len(indent)+len(n.Detail)+1+len(how) > 100 {
		return n.Detail + "\n" + indent + how
	}
	return n.Detail + " " + how
}

// colours returns a function that colours a word by what it means, on a terminal that has not asked for
// plain text (https://no-color.org).
func colours(w io.Writer) func(word, text string) string {
	plain := func(_, text string) string { return text }
	f, ok := w.(*os.File)
	if !ok || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return plain
	}
	if info, err := f.Stat(); err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return plain
	}
	return func(word, text string) string {
		colour := map[string]string{works: "32", worksInLab: "33", worksNot: "31"}[word]
		return "\x1b[" + colour + "m" + text + "\x1b[0m"
	}
}
