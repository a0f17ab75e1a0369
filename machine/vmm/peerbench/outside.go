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
	if readErr != nil {
		_, _ = io.Copy(io.Discard, out) // so that the lab can end; its status says more
	}
	return records, errors.Join(readErr, cmd.Wait())
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
