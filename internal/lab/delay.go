package lab

import (
	"os"
	"runtime"
	"strconv"
	"strings"
)

// kernelHZ is the rate of the timer interrupt of Debian's kernels (CONFIG_HZ).
const kernelHZ = 250

// delayLoops is the value of the kernel parameter lpj, loops of its delay loop a timer tick, for a lab of arch; 0 if it is not known
// or not needed. The kernel measures it for each CPU that comes online, for a second and more when the host is busy. On x86 a loop
// is a tick of the time-stamp counter, which QEMU gives its guest as the host has it, or as one that counts nanoseconds if the host
// has none (cpu_get_host_ticks in QEMU's include/qemu/timer.h).
func delayLoops(arch string) int64 {
	switch {
	case arch != "amd64":
		return 0
	case runtime.GOARCH != "amd64":
		return 1e9 / kernelHZ
	}
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return 0
	}
	// BogoMIPS are loops a second over 500000 (init/calibrate.c).
	return int64(bogomips(string(text)) * 500_000 / kernelHZ)
}

// bogomips returns the first number of that name in a /proc/cpuinfo; 0 if there is none that can be true.
func bogomips(cpuinfo string) float64 {
	for line := range strings.Lines(cpuinfo) {
		key, value, _ := strings.Cut(line, ":")
		if strings.TrimSpace(key) != "bogomips" {
			continue
		}
		n, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
		if err != nil || !(n > 1 && n < 1e6) {
			return 0
		}
		return n
	}
	return 0
}
