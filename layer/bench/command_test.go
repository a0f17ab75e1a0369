package bench

import (
	"bytes"
	"context"
	"errors"
	"syscall"
	"testing"
)

// TestInterruptEndsTheWaitForAReport has pipes to which nobody writes.
func TestInterruptEndsTheWaitForAReport(t *testing.T) {
	pipe := t.TempDir() + "/pipe"
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for name, read := range map[string]func() error{
		"--compare": func() error {
			return (&options{}).compareFiles(ctx, &bytes.Buffer{}, &bytes.Buffer{}, []string{pipe, pipe})
		},
		"--show": func() error { return (&options{}).showFile(ctx, &bytes.Buffer{}, []string{pipe}) },
	} {
		if err := read(); !errors.Is(err, context.Canceled) {
			t.Errorf("%s = %v, want %v", name, err, context.Canceled)
		}
	}
}
