package where

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
)

// Kinds of KVM by what runs a guest's privileged code.
const (
	Hardware = "hardware" // the processor
	Nested   = "nested"   // the processor, but a hypervisor below takes part in each exit
	Software = "software" // the kernel, as kvm_pvm does
)

// Environment is what a measurement ran on. What is not known is empty or 0.
type Environment struct {
	CPU         string            `json:"cpu"`         // model name, family, model and stepping
	Microcode   string            `json:"microcode"`   // revision
	CPUs        int               `json:"cpus"`        // that are online
	TSCkHz      uint64            `json:"tscKHz"`      // frequency of a guest's time-stamp counter
	Kernel      string            `json:"kernel"`      // release
	Module      string            `json:"module"`      // of KVM, as in kvm_amd
	Kind        string            `json:"kind"`        // Hardware, Nested, Software; empty without KVM
	Parameters  map[string]string `json:"parameters"`  // of KVM's modules, as in "kvm_amd.nested"
	Mitigations map[string]string `json:"mitigations"` // by fault, as in "spectre_v2"
	Governor    string            `json:"governor"`    // of the processor's frequency; several are joined by commas
	Steal       float64           `json:"steal"`       // share of time that a hypervisor below took away, 0 to 1
}

// maxEntries bounds the maps of an environment; KVM's modules have some 60 parameters together.
const maxEntries = 512

// Check says what no environment that was read can hold, such as a text that would move a terminal's cursor.
func (e Environment) Check() error {
	texts := map[string]string{"cpu": e.CPU, "microcode": e.Microcode, "kernel": e.Kernel, "module": e.Module, "governor": e.Governor}
	for _, m := range []map[string]string{texts, e.Parameters, e.Mitigations} {
		if len(m) > maxEntries {
			return fmt.Errorf("environment: %d entries, at most %d are read", len(m), maxEntries)
		}
		for name, text := range m {
			if Plain(name) != name || Plain(text) != text {
				return fmt.Errorf("environment: %.40q: %.40q is no short printable text", name, text)
			}
		}
	}
	if !slices.Contains([]string{"", Hardware, Nested, Software}, e.Kind) {
		return fmt.Errorf("environment: kind %.40q", e.Kind)
	}
	if e.CPUs < 0 {
		return fmt.Errorf("environment: %d CPUs", e.CPUs)
	}
	if !(e.Steal >= 0 && e.Steal <= 1) { // so NaN is refused, too
		return fmt.Errorf("environment: steal of %v is no share", e.Steal)
	}
	return nil
}

// Difference is what two environments do not have in common; empty where one has nothing of the name.
type Difference struct {
	Name   string `json:"name"`
	Before string `json:"before"`
	After  string `json:"after"`
}

// Differences lists what differs after e, sorted by name within each kind of thing. Steal and the counter's
// frequency, which is measured at each boot, never agree and are left out.
func (e Environment) Differences(after Environment) []Difference {
	var found []Difference
	add := func(name, before, after string) {
		if before != after {
			found = append(found, Difference{name, before, after})
		}
	}
	add("CPU", e.CPU, after.CPU)
	add("microcode", e.Microcode, after.Microcode)
	add("CPUs", strconv.Itoa(e.CPUs), strconv.Itoa(after.CPUs))
	add("kernel", e.Kernel, after.Kernel)
	add("KVM module", e.Module, after.Module)
	add("kind of KVM", e.Kind, after.Kind)
	add("governor", e.Governor, after.Governor)
	for _, name := range names(e.Parameters, after.Parameters) {
		add(name, e.Parameters[name], after.Parameters[name])
	}
	for _, name := range names(e.Mitigations, after.Mitigations) {
		add(name, e.Mitigations[name], after.Mitigations[name])
	}
	return found
}

// names returns the keys of both maps, sorted.
func names(a, b map[string]string) []string {
	all := slices.AppendSeq(slices.Collect(maps.Keys(a)), maps.Keys(b))
	slices.Sort(all)
	return slices.Compact(all)
}
