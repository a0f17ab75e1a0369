package where

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
	TSCkHz      uint64            `json:"tscKHz"`      // frequency of the time-stamp counter
	Kernel      string            `json:"kernel"`      // release
	Module      string            `json:"module"`      // of KVM, as in kvm_amd
	Kind        string            `json:"kind"`        // Hardware, Nested, Software; empty without KVM
	Parameters  map[string]string `json:"parameters"`  // of KVM's modules, as in "kvm_amd.nested"
	Mitigations map[string]string `json:"mitigations"` // by fault, as in "spectre_v2"
	Governor    string            `json:"governor"`    // of the processor's frequency; several are joined by commas
	Steal       float64           `json:"steal"`       // share of time that a hypervisor below took away, 0 to 1
}
