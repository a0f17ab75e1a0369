package bench

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// maxProcessors is how many Linux can have; a smaller set is refused where there are more than it holds.
const maxProcessors = 8192

// processors returns the processors that this process may use.
func processors() ([]int, error) {
	set := unix.NewCPUSet(maxProcessors)
	if err := unix.SchedGetaffinityDynamic(0, set); err != nil {
		return nil, fmt.Errorf("read the processors of this process: %w", err)
	}
	var list []int
	for cpu := 0; len(list) < set.Count(); cpu++ {
		if set.IsSet(cpu) {
			list = append(list, cpu)
		}
	}
	return list, nil
}

// pin binds the calling thread to a processor.
func pin(cpu int) error {
	set := unix.NewCPUSet(maxProcessors)
	set.Set(cpu)
	if err := unix.SchedSetaffinityDynamic(0, set); err != nil {
		return fmt.Errorf("bind to processor %d: %w", cpu, err)
	}
	return nil
}
