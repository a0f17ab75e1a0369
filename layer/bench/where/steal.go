package where

// Times is a reading of /proc/stat: what each CPU has spent its time on since the machine started.
type Times struct {
	cpus map[int]cpuTimes
}

// cpuTimes are in ticks.
type cpuTimes struct{ total, steal uint64 }

// Times reads /proc/stat.
func (h Host) Times() (Times, error) { return Times{}, nil }

// StealBetween returns the share of time, 0 to 1, that a hypervisor below took from those CPUs between two
// readings; without CPUs, from all of them together.
func StealBetween(before, after Times, cpus ...int) float64 { return 0 }
