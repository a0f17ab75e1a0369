package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// hit is how often a traced event had one key.
type hit struct {
	Key   string `json:"key"`
	Count uint64 `json:"count"`
}

// histogram is a trigger of the kernel that counts a trace event by its fields (Documentation/trace/histogram.rst).
type histogram struct {
	name string // in reports
	path string // of the event, below the events folder
	keys string
	show func(fields map[string]uint64) string
}

// traceEvents is the folder of trace events.
const traceEvents = "/sys/kernel/tracing/events"

// histograms are what is counted of a boot: all exits by reason, and what the guest touched in those that say so.
func histograms() []histogram {
	direction := func(write bool) string {
		if write {
			return "write"
		}
		return "read"
	}
	return []histogram{
		{"exits", "kvm/kvm_exit", "exit_reason", func(f map[string]uint64) string { return svmExit(f["exit_reason"]) }},
		{"ports", "kvm/kvm_pio", "port,rw", func(f map[string]uint64) string { return fmt.Sprintf("%s %#x", direction(f["rw"] == 1), f["port"]) }},
		{"memory", "kvm/kvm_mmio", "gpa,type", func(f map[string]uint64) string {
			return fmt.Sprintf("%s %#x", direction(f["type"] == 2), f["gpa"]) // KVM_TRACE_MMIO_WRITE
		}},
		{"MSRs", "kvm/kvm_msr", "ecx,write", func(f map[string]uint64) string {
			return fmt.Sprintf("%s %#x", direction(f["write"] == 1), f["ecx"])
		}},
	}
}

func (h histogram) trigger() string { return "hist:keys=" + h.keys + ":size=4096" }

// beginTraces counts from zero.
func beginTraces(list []histogram) error {
	return onOneCPU(func() error {
		for _, h := range list {
			if err := os.WriteFile(filepath.Join(traceEvents, h.path, "trigger"), []byte(h.trigger()), 0); err != nil {
				return err
			}
		}
		return nil
	})
}

// endTraces stops counting and returns the hits by the name of the histogram, most frequent first.
func endTraces(list []histogram) (map[string][]hit, error) {
	all := map[string][]hit{}
	for _, h := range list {
		f, err := os.Open(filepath.Join(traceEvents, h.path, "hist"))
		if err != nil {
			return nil, err
		}
		all[h.name], err = h.parse(f)
		f.Close()
		if err != nil {
			return nil, err
		}
	}
	return all, onOneCPU(func() error {
		for _, h := range list {
			if err := os.WriteFile(filepath.Join(traceEvents, h.path, "trigger"), []byte("!"+h.trigger()), 0); err != nil {
				return err
			}
		}
		return nil
	})
}

// callTrace counts system calls by thread.
func callTrace() []histogram {
	return []histogram{{"system calls", "raw_syscalls/sys_enter", "common_pid", func(f map[string]uint64) string { return strconv.FormatUint(f["common_pid"], 10) }}}
}

// countCalls counts the system calls of a process from now on until the result is called.
func countCalls(pid int) (end func() (uint64, error), err error) {
	if err := beginTraces(callTrace()); err != nil {
		return nil, err
	}
	return func() (calls uint64, err error) {
		all, err := endTraces(callTrace())
		if err != nil {
			return 0, err
		}
		for _, h := range all[callTrace()[0].name] {
			if _, err := os.Stat(fmt.Sprintf("/proc/%d/task/%s", pid, h.Key)); err == nil {
				calls += h.Count
			}
		}
		return calls, nil
	}, nil
}

// onOneCPU takes the other processors offline meanwhile. To trace, the kernel patches its own code; under multi-threaded emulation
// a processor that runs the same code then sometimes dies of a breakpoint that is gone already.
func onOneCPU(do func() error) error {
	switches, err := filepath.Glob("/sys/devices/system/cpu/cpu*/online") // the first processor has none
	if err != nil {
		return err
	}
	set := func(value string) error {
		for _, s := range switches {
			if err := os.WriteFile(s, []byte(value), 0); err != nil {
				return err
			}
		}
		return nil
	}
	err = set("0")
	if err == nil {
		err = do()
	}
	return errors.Join(err, set("1"))
}

// parse reads lines such as "{ port: 1016, rw: 1 } hitcount: 5". Keys may repeat where show leaves something out.
func (h histogram) parse(r io.Reader) ([]hit, error) {
	counts := map[string]uint64{}
	in := bufio.NewScanner(r)
	for in.Scan() {
		keys, count, found := strings.Cut(strings.TrimSpace(in.Text()), "} hitcount:")
		keys, open := strings.CutPrefix(keys, "{")
		if !found || !open {
			continue // comments and totals
		}
		fields := map[string]uint64{}
		for part := range strings.SplitSeq(keys, ",") {
			name, value, _ := strings.Cut(part, ":")
			n, err := strconv.ParseUint(strings.TrimSpace(value), 0, 64)
			if err != nil {
				return nil, fmt.Errorf("histogram %s: line %q: %w", h.name, in.Text(), err)
			}
			fields[strings.TrimSpace(name)] = n
		}
		n, err := strconv.ParseUint(strings.TrimSpace(count), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("histogram %s: line %q: %w", h.name, in.Text(), err)
		}
		counts[h.show(fields)] += n
	}
	var hits []hit
	for key, n := range counts {
		hits = append(hits, hit{key, n})
	}
	slices.SortFunc(hits, func(a, b hit) int {
		if a.Count != b.Count {
			return int(b.Count) - int(a.Count)
		}
		return strings.Compare(a.Key, b.Key)
	})
	return hits, in.Err()
}

// svmExit names an exit code of AMD's SVM (AMD64 Architecture Programmer's Manual, volume 2, appendix C): the lab's processor is one.
func svmExit(code uint64) string {
	switch {
	case code < 0x10:
		return fmt.Sprintf("read CR%d", code)
	case code < 0x20:
		return fmt.Sprintf("write CR%d", code-0x10)
	case code < 0x40:
		return "debug register"
	case code < 0x60:
		return fmt.Sprintf("exception %d", code-0x40)
	}
	switch code {
	case 0x60:
		return "interrupt"
	case 0x61:
		return "NMI"
	case 0x64:
		return "interrupt window"
	case 0x65:
		return "write CR0 bits"
	case 0x6e:
		return "RDTSC"
	case 0x72:
		return "CPUID"
	case 0x74:
		return "IRET"
	case 0x77:
		return "PAUSE"
	case 0x78:
		return "HLT"
	case 0x79:
		return "INVLPG"
	case 0x7b:
		return "I/O port"
	case 0x7c:
		return "MSR"
	case 0x7f:
		return "shutdown"
	case 0x81:
		return "VMMCALL"
	case 0x87:
		return "RDTSCP"
	case 0x89:
		return "WBINVD"
	case 0x8d:
		return "XSETBV"
	case 0x400:
		return "nested page fault"
	}
	return fmt.Sprintf("code %#x", code)
}
