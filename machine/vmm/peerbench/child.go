package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"usui/internal/tail"
)

// tailBytes is how much is kept of what a monitor and its guest say.
const tailBytes = 1 << 10

// child is a running monitor with its guest's serial port on its standard streams.
type child struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	began  time.Time
	lines  chan line
	stderr *tail.Tail
	last   *tail.Tail // of lines
	start  *startPhases
}

// line is one line of the serial port, without its end.
type line struct {
	text string
	at   time.Time
}

// startChild starts a monitor. Stop must be called.
func startChild(m monitor, s system) (*child, error) {
	argv := m.argv(s)
	c := &child{cmd: exec.Command(argv[0], argv[1:]...), lines: make(chan line, 64), stderr: tail.New(tailBytes, nil), last: tail.New(tailBytes, nil)}
	c.cmd.Stderr = c.stderr
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if c.stdin, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	c.began = time.Now()
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	var serial io.Reader = out
	if m.events {
		serial = serialOfEvents(out, c.began, &c.start)
	}
	go c.readLines(serial) // ends with the process
	return c, nil
}

// readLines hands on the lines and closes the channel at the end.
func (c *child) readLines(r io.Reader) {
	defer close(c.lines)
	in := bufio.NewScanner(r)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		c.lines <- line{strings.TrimRight(in.Text(), "\r"), time.Now()}
	}
	_, _ = io.Copy(io.Discard, r) // a line too long ends the scan, and must not block the monitor
}

// errEnded is wrapped by the error of await when the monitor ends.
var errEnded = errors.New("the monitor ended")

// await returns the first line for which match is true.
func (c *child) await(ctx context.Context, what string, match func(string) bool) (line, error) {
	for {
		select {
		case l, ok := <-c.lines:
			if !ok {
				return l, c.explain(what, errEnded)
			}
			fmt.Fprintln(c.last, l.text)
			if match(l.text) {
				return l, nil
			}
		case <-ctx.Done():
			return line{}, c.explain(what, context.Cause(ctx))
		}
	}
}

// explain adds the monitor's and the guest's last words to an error.
func (c *child) explain(what string, err error) error {
	return fmt.Errorf("wait for %s: %w; stderr: %q; serial: %q", what, err, c.stderr.String(), c.last.String())
}

// freeze stops the monitor and its guest between two instructions; thaw lets them go on.
func (c *child) freeze() error { return c.cmd.Process.Signal(syscall.SIGSTOP) }
func (c *child) thaw() error   { return c.cmd.Process.Signal(syscall.SIGCONT) }

// pid is the monitor's.
func (c *child) pid() int { return c.cmd.Process.Pid }

// stop kills the monitor and returns when it is gone.
func (c *child) stop() {
	_ = c.cmd.Process.Kill() // it may have ended
	for range c.lines {
		// The reader must not block on a full channel, or the pipe would not drain.
	}
	_ = c.cmd.Wait() // killed, so there is no status to look at
	c.stdin.Close()
}

// serialOfEvents turns the events of "usui run --json" into the bytes of the serial port. *start is set before the first of them.
func serialOfEvents(events io.Reader, began time.Time, start **startPhases) io.Reader {
	r, w := io.Pipe()
	go func() { // ends with events
		list := json.NewDecoder(events)
		for {
			var e struct {
				Event, Stream, Text string
				Base64              []byte
				Boot                *startPhases
			}
			err := list.Decode(&e)
			if err == nil && e.Event == "boot" && e.Boot != nil {
				e.Boot.Entered = time.Since(began)
				*start = e.Boot
			}
			if err == nil && e.Event == "output" && e.Stream == "serial" {
				_, err = w.Write(append([]byte(e.Text), e.Base64...))
			}
			if err != nil {
				w.CloseWithError(err)
				return
			}
		}
	}()
	return r
}
