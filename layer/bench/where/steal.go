package where

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// Times is a reading of /proc/stat: what each CPU has spent its time on since the machine started.
type Times struct {
	cpus map[int]cpuTimes
}

// cpuTimes are in ticks.
type cpuTimes struct{ total, steal uint64 }

// maxStat bounds the part of /proc/stat that is read: the lines of CPUs come first.
const maxStat = 4 << 20

// stealField is the place of steal time in a CPU's line of /proc/stat; those after it are parts of earlier
// ones. See Documentation/filesystems/proc.rst, section 1.7.
const stealField = 7

// Times reads /proc/stat.
func (h Host) Times() (Times, error) {
	b, err := h.read("/proc/stat", maxStat)
	if err != nil {
		return Times{}, err
	}
	return parseStat(b)
}

func parseStat(text []byte) (Times, error) {
	t := Times{cpus: map[int]cpuTimes{}}
	for line := range bytes.Lines(text) {
		name, rest, _ := strings.Cut(string(line), " ")
		id, err := strconv.Atoi(strings.TrimPrefix(name, "cpu"))
		if !strings.HasPrefix(name, "cpu") || err != nil {
			continue // the line of all CPUs, or of something else
		}
		fields := strings.Fields(rest)
		if len(fields) <= stealField {
			return Times{}, fmt.Errorf("/proc/stat: no steal time in %.80q", line)
		}
		var c cpuTimes
		for _, field := range fields[:stealField+1] {
			if c.steal, err = strconv.ParseUint(field, 10, 64); err != nil {
				return Times{}, fmt.Errorf("/proc/stat: %.80q: %v", line, err)
			}
			c.total += c.steal // steal is the last one, so it stays
		}
		t.cpus[id] = c
	}
	if len(t.cpus) == 0 {
		return Times{}, fmt.Errorf("/proc/stat: no line of a CPU")
	}
	return t, nil
}

// StealBetween returns the share of time, 0 to 1, that a hypervisor below took between two readings from that one of those
// CPUs that lost most; without CPUs, of all. They are not taken together: an idle one has nothing to take and would
// hide what another lost. A tick is 4 to 10 ms, so readings should be seconds apart.
func StealBetween(before, after Times, cpus ...int) float64 {
	if len(cpus) == 0 {
		for id := range after.cpus {
			cpus = append(cpus, id)
		}
	}
	most := 0.0
	for _, id := range cpus {
		b, ok := before.cpus[id]
		if !ok {
			continue // came on-line in between
		}
		a := after.cpus[id]
		// Counters may go back: iowait does, and all of them when a CPU is taken off-line.
		if a.total <= b.total || a.steal < b.steal {
			continue
		}
		most = max(most, float64(a.steal-b.steal)/float64(a.total-b.total))
	}
	return min(most, 1)
}
