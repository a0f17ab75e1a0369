package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// counters are KVM's statistics of one machine, such as "exits" or "io_exits", by name.
type counters map[string]uint64

// debugKVM is the folder of debugfs in which each machine has one of its own, named for the thread that made it and the
// descriptor (Documentation/virt/kvm; virt/kvm/kvm_main.c, kvm_create_vm_debugfs).
const debugKVM = "/sys/kernel/debug/kvm"

// machinesIn lists the folders of the machines that there are.
func machinesIn(root string) ([]string, error) { return filepath.Glob(filepath.Join(root, "*-*")) }

// readCounters reads the statistics of the one machine that is not among the idle ones, which were there before (the lab holds some).
// A folder's name does not tell which process it belongs to: the thread that made the machine may be any of its threads.
func readCounters(root string, idle []string) (counters, error) {
	dirs, err := machinesIn(root)
	if err != nil {
		return nil, err
	}
	dirs = slices.DeleteFunc(dirs, func(d string) bool { return slices.Contains(idle, d) })
	if len(dirs) != 1 {
		return nil, fmt.Errorf("read counters in %s: %d new machines, want 1", root, len(dirs))
	}
	entries, err := os.ReadDir(dirs[0])
	if err != nil {
		return nil, err
	}
	c := counters{}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(dirs[0], e.Name()))
		if e.IsDir() || err != nil {
			continue // vcpu0 has what no sum can be made of; some files cannot be read on some kernels
		}
		// Histograms have many numbers and are left out.
		if n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64); err == nil {
			c[e.Name()] = n
		}
	}
	if _, ok := c["exits"]; !ok {
		return nil, fmt.Errorf("read counters in %s: no file exits", dirs[0])
	}
	return c, nil
}

// minus is what was counted since before.
func (c counters) minus(before counters) counters {
	d := counters{}
	for name, n := range c {
		if n >= before[name] {
			d[name] = n - before[name]
		}
	}
	return d
}
