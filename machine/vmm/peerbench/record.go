package main

import (
	"fmt"
	"time"
)

// record is one line from the lab: what one run of one monitor gave. Exactly one of the pointers is set.
type record struct {
	At     time.Duration `json:"atNs"` // by the lab's clock, since the process inside began
	Lab    *labInfo      `json:"lab,omitempty"`
	Boot   *bootRun      `json:"boot,omitempty"`
	Phases *phasesRun    `json:"phases,omitempty"`
	Blk    *blkRun       `json:"blk,omitempty"`
	Net    *netRun       `json:"net,omitempty"`
	Done   bool          `json:"done,omitempty"` // the last one

	arrived time.Time // by the host's clock
}

// labInfo is where the comparison takes place.
type labInfo struct {
	Kernel      string `json:"kernel"`
	CPU         string `json:"cpu"`
	CPUs        int    `json:"cpus"`
	MemoryBytes int64  `json:"memoryBytes"`
	HugePages   string `json:"hugePages"` // when the kernel uses them, for anonymous and for shared memory
	Usui        string `json:"usui"`
	QEMU        string `json:"qemu"`
	GokvmWords  string `json:"gokvmWords"` // added to its guest's command line
}

// run is what all runs have in common.
type run struct {
	Monitor string `json:"monitor"`
	Round   int    `json:"round"`
	// Up is from the start of the monitor's process to the guest's first line.
	Up    time.Duration `json:"upNs,omitempty"`
	Error string        `json:"error,omitempty"`
	// Before is the error of a first try that ended in the fault of the emulated processor that ARCHITECTURE describes, or in
	// another that a second try did not meet.
	Before string `json:"before,omitempty"`
	// Traced says that the monitor's system calls were counted: then the rates are of no use.
	Traced bool `json:"traced,omitempty"`
}

func (r *run) fail(err error) {
	if err != nil {
		r.Error = err.Error()
	}
}

// run is the part of the benchmark and the run that a record is of; "" for one of no run.
func (rec record) run() (part string, r run) {
	switch {
	case rec.Boot != nil:
		part = partBoot
	case rec.Phases != nil:
		part = partPhases
	case rec.Blk != nil:
		part = partBlk
	case rec.Net != nil:
		part = partNet
	default:
		return "", run{}
	}
	return part, *rec.shared()
}

// shared is the part of a run's record that all runs have.
func (rec record) shared() *run {
	switch {
	case rec.Boot != nil:
		return &rec.Boot.run
	case rec.Phases != nil:
		return &rec.Phases.run
	case rec.Net != nil:
		return &rec.Net.run
	}
	return &rec.Blk.run
}

// brief is a record as a line of progress.
func (rec record) brief() string {
	part, r := rec.run()
	if r.Error != "" {
		return fmt.Sprintf("%s: %s: %s", part, r.Monitor, r.Error)
	}
	return fmt.Sprintf("%s: %s: up after %.2f s", part, r.Monitor, r.Up.Seconds())
}

// bootRun is a boot of the default guest, with what was seen of the monitor right after it.
type bootRun struct {
	run
	Memory memory   `json:"memory"`
	Exits  counters `json:"exits"`
}

// phasesRun is a boot whose parts are timed and whose exits are traced.
type phasesRun struct {
	run
	Start  *startPhases     `json:"start,omitempty"` // usui's own
	Kernel kernelLog        `json:"kernel"`
	Traces map[string][]hit `json:"traces"` // by the name of the trace
}

// startPhases are the members of the boot event of "usui run --json".
type startPhases struct {
	Monitor time.Duration `json:"monitorNs"`
	Image   time.Duration `json:"imageNs"`
	Entered time.Duration `json:"enteredNs"` // from the start of the process to the event, after which the guest is entered
}

// blkRun is one boot of a guest that reads from disks.
type blkRun struct {
	run
	Choice bool         `json:"choice,omitempty"` // a short one, to choose between a peer's variants
	Loads  []loadResult `json:"loads"`
}

// loadResult is one load on one disk.
type loadResult struct {
	loadCount
	Disk  string   `json:"disk,omitempty"` // the variant of the disk
	Exits counters `json:"exits"`
	Calls uint64   `json:"systemCalls,omitempty"` // of the monitor, in a traced run
}

// netRun is one boot of a guest with a network card.
type netRun struct {
	run
	Loads []loadResult `json:"loads"`
}

// loadCount is what the guest says of a load.
type loadCount struct {
	Load  string        `json:"load"`
	Ops   int           `json:"ops"`
	Bytes int64         `json:"bytes"`
	Time  time.Duration `json:"ns"`
}
