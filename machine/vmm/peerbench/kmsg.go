package main

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// milestones are parts of log lines of stock kernels, in the order of a boot, and what has happened when they appear.
var milestones = [...]struct{ line, name string }{
	{"Linux version", "kernel entered"},
	{"Memory: ", "memory counted"},
	{"Calibrating delay loop", "timers calibrated"},
	{"smpboot: CPU0: ", "processor known"},
	{"PCI: Using configuration type", "PCI configured"},
	{"clocksource: Switched to clocksource", "clock source chosen"},
	{"Trying to unpack rootfs", "initramfs begun"},
	{"Freeing initrd memory", "initramfs unpacked"},
	{"Serial: 8250/16550 driver", "serial driver"},
	{"Freeing unused kernel image (initmem)", "initialization done"},
	{"as init process", "init called"},
	{initRuns, "init runs"},
}

// initRuns is the line that init itself adds to the log.
const initRuns = "peerbench: init runs"

// longestCalls is how many initcalls are reported.
const longestCalls = 12

// add reads one record of /dev/kmsg: "PRIORITY,SEQUENCE,MICROSECONDS,FLAGS;MESSAGE" and lines of no interest
// (Documentation/ABI/testing/dev-kmsg).
func (k *kernelLog) add(recordText string) {
	head, rest, found := strings.Cut(recordText, ";")
	fields := strings.Split(head, ",")
	if !found || len(fields) < 3 {
		return
	}
	micros, err := strconv.ParseInt(fields[2], 10, 64)
	if err != nil {
		return
	}
	message, _, _ := strings.Cut(rest, "\n")
	if c, ok := parseInitcall(message); ok {
		k.CallsTotal += c.Time
		k.Initcalls = append(k.Initcalls, c)
		return
	}
	for _, m := range milestones {
		if strings.Contains(message, m.line) && !slices.ContainsFunc(k.Milestones, func(have milestone) bool { return have.Name == m.name }) {
			k.Milestones = append(k.Milestones, milestone{m.name, time.Duration(micros) * time.Microsecond})
			k.End = max(k.End, time.Duration(micros)*time.Microsecond)
		}
	}
}

// finish keeps the longest initcalls.
func (k *kernelLog) finish() {
	slices.SortStableFunc(k.Initcalls, func(a, b initcall) int { return int(b.Time - a.Time) })
	k.Initcalls = k.Initcalls[:min(len(k.Initcalls), longestCalls)]
}

// parseInitcall reads "initcall NAME+0x0/0x1 returned 0 after 12 usecs", which initcall_debug adds to the log.
func parseInitcall(message string) (initcall, bool) {
	rest, found := strings.CutPrefix(message, "initcall ")
	name, rest, returned := strings.Cut(rest, " returned ")
	_, rest, after := strings.Cut(rest, " after ")
	number, _, _ := strings.Cut(rest, " ")
	micros, err := strconv.ParseInt(number, 10, 64)
	if !found || !returned || !after || err != nil {
		return initcall{}, false
	}
	name, _, _ = strings.Cut(name, "+")
	return initcall{name, time.Duration(micros) * time.Microsecond}, true
}
