package main

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"time"
)

// converter turns the output of one test binary into events, by go tool test2json.
type converter struct {
	pkg   string
	each  func(event)
	began time.Time
	cmd   *exec.Cmd
	in    io.WriteCloser
	read  chan error // receives once, when all events have been handed on
}

func newConverter(ctx context.Context, pkg string, each func(event)) (*converter, error) {
	c := &converter{pkg: pkg, each: each, began: time.Now(), cmd: command(ctx, "go", "tool", "test2json", "-t", "-p", pkg), read: make(chan error, 1)}
	var err error
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { // ended by drain, which closes the tool's input and waits
		c.read <- readEvents(out, func(e event) {
			// The package's own verdict is the binary's exit status, which the tool cannot see.
			if e.Test != "" || e.Action == "output" {
				each(e)
			}
		})
	}()
	return c, nil
}

// drain waits for the last events.
func (c *converter) drain() error {
	c.in.Close() // the tool's exit status tells if this failed
	readErr := <-c.read
	if err := c.cmd.Wait(); err != nil {
		return fmt.Errorf("go tool test2json: %w", err)
	}
	return readErr
}

// end drains and adds the package's verdict; status is the binary's exit status.
func (c *converter) end(status string) error {
	if err := c.drain(); err != nil {
		return err
	}
	action := "pass"
	if status != "0" {
		action = "fail"
		c.each(event{Action: "output", Package: c.pkg, Output: "exit status " + status + "\n"})
	}
	c.each(event{Action: action, Package: c.pkg, Elapsed: time.Since(c.began).Seconds()})
	return nil
}
