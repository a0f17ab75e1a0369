package report

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"usui/layer/bench/where"
)

// shown are the parameters of KVM's modules that change what an exit costs most; the JSON has all of them.
// See Documentation/admin-guide/kernel-parameters.txt.
var shown = [...]string{"avic", "enable_apicv", "ept", "halt_poll_ns", "nested", "npt", "tdp_mmu"}

// fact is a line of what a report was made on, or of what was compared.
type fact struct {
	Label, Text string
	Warn        bool // the reader must not miss it
}

// facts says what the report was made on, and how.
func (r Report) facts() []fact {
	return append(environment(r.Where), fact{Label: "run", Text: run(r) + fmt.Sprintf(", %v a case", r.Duration)})
}

// environment says what a report was made on, in a few lines.
func environment(e where.Environment) []fact {
	cpu := []string{known(e.CPU), "microcode " + known(e.Microcode), fmt.Sprintf("%d CPUs", e.CPUs)}
	if e.TSCkHz > 0 {
		cpu = append(cpu, fmt.Sprintf("counter of %.1f MHz", float64(e.TSCkHz)/1000))
	}
	if e.Governor != "" {
		cpu = append(cpu, "governor "+e.Governor)
	}
	facts := []fact{
		{Label: "processor", Text: strings.Join(cpu, ", ")},
		{Label: "kernel", Text: fmt.Sprintf("Linux %s, %s (%s KVM), steal %s", known(e.Kernel), known(e.Module), known(e.Kind), percent(e.Steal))},
	}
	if p := parameters(e.Parameters); p != "" {
		facts = append(facts, fact{Label: "parameters", Text: p})
	}
	if m := mitigations(e.Mitigations); m != "" {
		facts = append(facts, fact{Label: "mitigations", Text: m})
	}
	return facts
}

// run names a run.
func run(r Report) string {
	return fmt.Sprintf("%s, launches: %d", r.Started.UTC().Format(time.DateTime+" UTC"), r.Launches)
}

func known(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}

func parameters(all map[string]string) string {
	var found []string
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if _, short, _ := strings.Cut(name, "."); slices.Contains(shown[:], short) {
			found = append(found, name+"="+all[name])
		}
	}
	return strings.Join(found, " ")
}

// mitigations lists the faults that the processor has with the first clause of what is done about them.
func mitigations(all map[string]string) string {
	var found []string
	for _, name := range slices.Sorted(maps.Keys(all)) {
		clause, _, _ := strings.Cut(all[name], ";")
		if clause != "Not affected" {
			found = append(found, name+": "+strings.TrimPrefix(clause, "Mitigation: "))
		}
	}
	return strings.Join(found, "; ")
}
