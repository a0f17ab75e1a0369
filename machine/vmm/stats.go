package vmm

import "usui/machine/kvm"

// Stats counts what reached this process. What went past it (queue kicks, completions, timers, inter-processor interrupts) is counted by KVM.
type Stats struct {
	Exits  map[string]uint64 `metric:"label=cause"` // by cause, summed over the vCPUs
	Missed uint64            // accesses to addresses where nothing answers
	Kernel map[string]uint64 `metric:"label=counter"` // KVM's own counters of the vCPUs, summed; nil where the kernel has none (before 5.14)
}

// Stats takes a snapshot; it may be called at any time before Close.
func (m *Machine) Stats() Stats {
	s := Stats{Exits: make(map[string]uint64)}
	for _, c := range m.vcpus {
		for reason := range c.exits {
			if n := c.exits[reason].Load(); n > 0 {
				s.Exits[kvm.ExitReason(reason).String()] += n
			}
		}
		s.Missed += c.missed.Load()
		values, err := c.kvm.Stats()
		if err != nil {
			continue // an older kernel: Kernel stays nil, as documented
		}
		if s.Kernel == nil {
			s.Kernel = make(map[string]uint64, len(values))
		}
		for name, v := range values {
			if len(v) == 1 { // histograms are of no use as one number
				s.Kernel[name] += v[0]
			}
		}
	}
	return s
}
