package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
)

// labs is how many labs one comparison may use up. A lab crashes now and then, as its kernel patches its own code under
// multi-threaded emulation; another one goes on with what is left, and the report says so.
const labs = 3

// runLabs carries out the plan and returns the records, with what the labs died of. A monitor that fails ends no lab: it is a record.
func runLabs(ctx context.Context, o options, p plan) (records []record, crashes []string, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, o.timeout, fmt.Errorf("not done after %v", o.timeout))
	defer cancel()
	all := len(p.steps())
	for lab := 0; ; lab++ {
		list, err := runLab(ctx, o, p)
		if lab == 0 || len(list) > 1 {
			records = append(records, list...)
		}
		p.From = stepsIn(records)
		p.Variant = variantOf(records)
		switch {
		case p.From == all:
			return records, crashes, nil // how the lab ended after the last step does not matter
		case ctx.Err() != nil:
			return records, crashes, context.Cause(ctx)
		case lab == labs-1:
			return records, crashes, fmt.Errorf("%d of %d steps done: %w", p.From, all, err)
		}
		crashes = append(crashes, fmt.Sprintf("after %d of %d steps: %v", p.From, all, err))
		fmt.Fprintf(os.Stderr, "peerbench: the lab ended %s; another one goes on\n", crashes[lab])
	}
}

// stepsIn counts the steps that have a record.
func stepsIn(records []record) int {
	n := 0
	for _, r := range records {
		if r.Lab == nil {
			n++
		}
	}
	return n
}

// variantOf is the best of QEMU's variants, if that was found out.
func variantOf(records []record) string {
	for _, r := range records {
		if r.Blk != nil && r.Blk.Choice {
			return bestVariant(r.Blk.Loads)
		}
	}
	return ""
}

// runLab runs the plan in one lab and returns the records that came back, also when it broke off.
func runLab(ctx context.Context, o options, p plan) ([]record, error) {
	text, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, p.Usui, "lab", "--timeout", o.timeout.String(), "--", self, insideWord, string(text))
	cmd.Stderr = os.Stderr
	// Interrupted rather than killed, a lab takes its processes with it.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 30 * time.Second
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	records, readErr := readRecords(out)
	_, _ = io.Copy(io.Discard, out) // so that the lab can end; its status says more
	if err := cmd.Wait(); err != nil {
		return records, fmt.Errorf("usui lab: %w", err)
	}
	return records, readErr
}

// readRecords reads records until the last one.
func readRecords(r io.Reader) ([]record, error) {
	var list []record
	for in := json.NewDecoder(r); ; {
		var next record
		err := in.Decode(&next)
		if errors.Is(err, io.EOF) {
			return list, errors.New("the lab ended before all was done")
		}
		if err != nil {
			return list, fmt.Errorf("read record %d: %w", len(list), err)
		}
		if next.Done {
			return list, nil
		}
		next.arrived = time.Now()
		list = append(list, next)
	}
}
