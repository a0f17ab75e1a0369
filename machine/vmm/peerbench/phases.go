package main

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"
)

// Words on the kernel command line that choose what the guest does. Those with an "=" become its init's environment; a dot would
// make them parameters of a module.
const (
	wordTask   = "peerbench"       // phases, blk or net
	wordOps    = "peerbench_ops"   // numbers of reads
	wordDisks  = "peerbench_disks" // serial numbers
	taskPhases = "phases"
	taskBlk    = "blk"
	taskNet    = "net"
)

// Lines that the guest writes. Those that stand alone at a measurement's ends are short: every character costs exits.
const (
	lineUp    = "peerbench: up"
	lineLog   = "peerbench: log "
	lineReady = "peerbench: ready "
	lineEnd   = "E"
	lineCount = "peerbench: count "
	lineDone  = "peerbench: done"
	lineError = "peerbench: error: "
)

// phases boots once with the kernel's own timing of its parts and traces of the exits. These cost time, so the times are not compared
// with those of the other boots.
func (in *inside) phases(ctx context.Context, r *phasesRun) error {
	m := in.monitor(r.Monitor)
	if r.Monitor == usui {
		m = usuiMonitor(in.plan.Usui, "--json")
	}
	if err := beginTraces(histograms()); err != nil {
		return err
	}
	words := "initcall_debug log_buf_len=4M rdinit=" + loadInit + " " + wordTask + "=" + taskPhases
	c, err := startChild(m, system{kernel: in.plan.Kernel, initrd: in.plan.LoadInitrd, words: words})
	if err == nil {
		defer c.stop()
		err = watchPhases(ctx, c, r)
	}
	traces, traceErr := endTraces(histograms())
	r.Traces = traces
	if err := errors.Join(err, traceErr); err != nil {
		return err
	}
	return readLog(ctx, c, r)
}

// watchPhases waits for init and leaves the monitor frozen there.
func watchPhases(ctx context.Context, c *child, r *phasesRun) error {
	up, err := c.await(ctx, lineUp, func(s string) bool { return strings.HasSuffix(s, lineUp) })
	if err != nil {
		return err
	}
	r.Up, r.Start = up.at.Sub(c.began), c.start
	return c.freeze()
}

// readLog lets the guest go on, which then tells what its kernel logged.
func readLog(ctx context.Context, c *child, r *phasesRun) error {
	if err := c.thaw(); err != nil {
		return err
	}
	l, err := c.await(ctx, lineLog, func(s string) bool { return strings.HasPrefix(s, lineLog) || strings.HasPrefix(s, lineError) })
	if err != nil {
		return err
	}
	text, found := strings.CutPrefix(l.text, lineLog)
	if !found {
		return errors.New(l.text)
	}
	return json.Unmarshal([]byte(text), &r.Kernel)
}

// kernelLog is what a guest's kernel said of its boot. Times are of its own clock, which begins after the monitor and what unpacks
// the kernel are done.
type kernelLog struct {
	End        time.Duration `json:"endNs"` // of the last milestone: init runs
	Milestones []milestone   `json:"milestones"`
	Initcalls  []initcall    `json:"initcalls"` // the longest, longest first
	CallsTotal time.Duration `json:"initcallsNs"`
}

// milestone is a line of the log that ends a part of the boot.
type milestone struct {
	Name string        `json:"name"`
	At   time.Duration `json:"atNs"`
}

// initcall is one initialization function of the kernel.
type initcall struct {
	Name string        `json:"name"`
	Time time.Duration `json:"ns"`
}
