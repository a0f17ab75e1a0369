package attach

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"usui/internal/pid1/wire"
)

// Command is what the guest is to run. A program without a slash is looked for in the guest's PATH.
type Command = wire.Run

// Step is one thing to do to the guest before the command starts: mount, bind, load a module.
type Step = wire.Step

// Hello is what the guest says of itself when its init is ready.
type Hello = wire.Hello

// Winsize is the size of a terminal in characters.
type Winsize = wire.Winsize

// Conns are the host's ends of the guest's ports usui.control, usui.stdin, usui.stdout and usui.stderr. Close must end a
// Read or Write that is under way, as it does for sockets, pipes of package os and [io.Pipe].
type Conns struct {
	Control, Stdin, Stdout, Stderr io.ReadWriteCloser
}

// Close closes all of them.
func (c Conns) Close() error {
	return errors.Join(c.Control.Close(), c.Stdin.Close(), c.Stdout.Close(), c.Stderr.Close())
}

// Stdio is the caller's side. Its zero value is a command without input whose output is dropped.
type Stdio struct {
	// Stdin is read until its end; nil has none. Stdout and Stderr are written to; nil drops.
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Winsize gives each new size of the caller's terminal (with [Command.TTY]); nil gives none.
	Winsize <-chan Winsize
	// Signals are passed on to the command's process group; nil gives none. One that comes before the command is
	// asked for ends Run with the status 128+n.
	Signals <-chan os.Signal
	// OnHello, OnStarted and OnLog, if not nil, are told of the guest's hello, of the command's process id there, and
	// of remarks for a log. Run waits for them.
	OnHello   func(Hello)
	OnStarted func(pid int)
	OnLog     func(message string)
}

// ErrEnded is the cause when the guest's side of the control port ended before the command's exit was known: the machine
// ended.
var ErrEnded = errors.New("the machine ended before the command did")

// guestError is what the guest reported as an error.
type guestError string

func (e guestError) Error() string { return "guest: " + string(e) }

// reportQueue is how many reports may wait while a request is being written. Without it a guest that remarks on each of our
// requests before it takes the next would wait for us as we wait for it.
const reportQueue = 64

// session is one Run.
type session struct {
	conns Conns
	cmd   Command
	stdio Stdio

	reports chan wire.Report // closed when the control port ended
	lost    error            // why it ended; set before reports is closed
	done    chan struct{}    // closed when Run returns

	stdin  *input
	stdout *output
	stderr *output
	exit   *wire.Exit
}

// Run runs cmd in the guest behind conns, which it closes at the end, and returns the command's exit status as a shell's:
// 128+n after signal n, 126 or 127 when it could not be started (the guest has said why on stderr).
//
// An error means that there is no such status: [ErrEnded], a failed step, a broken protocol, or the cause of ctx when
// that ended first. The exception is an output that could not be written for another reason than that its reader went
// away: then the status is there and the error too. While Run runs, SIGPIPE does not end the process.
//
// Run returns although a Read of Stdin may be blocked: if Stdin is an [os.File] that can be polled, the Read is not begun
// before there is something to read; for another reader the goroutine in it remains until the Read returns, and what it
// has read is lost. When ctx ends while a Write to Stdout or Stderr blocks, Run leaves it after a second.
func Run(ctx context.Context, conns Conns, cmd Command, stdio Stdio) (int, error) {
	if err := cmd.Check(); err != nil {
		conns.Close()
		return -1, err
	}
	s := &session{
		conns: conns, cmd: cmd, stdio: stdio,
		reports: make(chan wire.Report, reportQueue),
		done:    make(chan struct{}),
		stdin:   newInput(stdio.Stdin, conns.Stdin),
		stdout:  newOutput(wire.Stdout, conns.Stdout, stdio.Stdout),
		stderr:  newOutput(wire.Stderr, conns.Stderr, stdio.Stderr),
	}
	pipe := make(chan os.Signal, 1)
	// Without this Go ends the process when the reader of its standard output goes away, and the guest with it.
	signal.Notify(pipe, syscall.SIGPIPE)
	defer signal.Stop(pipe)

	// A Write to a guest that does not read ends only so.
	unhook := context.AfterFunc(ctx, func() { conns.Close() })
	defer unhook()
	var reader sync.WaitGroup
	reader.Go(s.readReports)
	status, err := s.converse(ctx)
	close(s.done)
	conns.Close()
	reader.Wait()
	s.stdin.stop()
	s.stdout.stop()
	s.stderr.stop()
	if ctx.Err() != nil && s.exit == nil {
		return -1, context.Cause(ctx)
	}
	return status, err
}

// readReports runs until the control port ends or says something that is no report.
func (s *session) readReports() {
	defer close(s.reports)
	r := wire.NewReportReader(s.conns.Control)
	for {
		m, err := r.Next()
		if err != nil {
			s.lost = err
			return
		}
		select {
		case s.reports <- m:
		case <-s.done:
			return
		}
	}
}

// converse is the conversation in its order.
func (s *session) converse(ctx context.Context) (int, error) {
	if status, err := s.greet(ctx); status != 0 || err != nil {
		return status, err
	}
	if err := s.request(wire.Request{Run: &s.cmd}); err != nil {
		return -1, err
	}
	s.stdin.start()
	s.stdout.start()
	s.stderr.start()
	for s.exit == nil {
		if err := s.step(ctx); err != nil {
			return -1, err
		}
	}
	if err := s.drain(ctx); err != nil {
		return -1, err
	}
	// The guest ends too when we close the port, so a failure says nothing.
	_ = wire.WriteRequest(s.conns.Control, wire.Request{Poweroff: &wire.Poweroff{}})
	return s.exit.Status, errors.Join(s.stdout.failure(), s.stderr.failure())
}

// greet waits for the hello. Its status is not 0 when a signal came first.
func (s *session) greet(ctx context.Context) (int, error) {
	for {
		select {
		case m, ok := <-s.reports:
			if !ok {
				return -1, s.ended()
			}
			if m.Hello == nil {
				return -1, errors.New("guest: first message is no hello")
			}
			if m.Hello.Protocol != wire.Protocol {
				return -1, fmt.Errorf("guest's init speaks protocol %d, want %d: build the initramfs anew", m.Hello.Protocol, wire.Protocol)
			}
			if s.stdio.OnHello != nil {
				s.stdio.OnHello(*m.Hello)
			}
			return 0, nil
		case sig := <-s.stdio.Signals:
			if n, ok := sig.(syscall.Signal); ok && n != unix.SIGWINCH {
				return 128 + int(n), nil
			}
		case w := <-s.stdio.Winsize:
			s.cmd.Rows, s.cmd.Cols = w.Rows, w.Cols
		case <-ctx.Done():
			return -1, context.Cause(ctx)
		}
	}
}

// step waits for one event and deals with it.
func (s *session) step(ctx context.Context) error {
	select {
	case m, ok := <-s.reports:
		return s.take(m, ok)
	case sig := <-s.stdio.Signals:
		n, ok := sig.(syscall.Signal)
		if name := unix.SignalName(n); ok && name != "" {
			return s.request(wire.Request{Signal: &wire.Signal{Name: name}})
		}
	case w := <-s.stdio.Winsize:
		return s.request(wire.Request{Winsize: &w})
	case n := <-s.stdin.ended:
		return s.request(wire.Request{StdinEOF: &wire.StdinEOF{Bytes: n}})
	case <-s.stdout.broken:
		return s.request(wire.Request{Close: &wire.Close{Stream: wire.Stdout}})
	case <-s.stderr.broken:
		return s.request(wire.Request{Close: &wire.Close{Stream: wire.Stderr}})
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

// take deals with one report after the run request, or with the end of reports if ok is false.
func (s *session) take(m wire.Report, ok bool) error {
	switch {
	case !ok:
		return s.ended()
	case m.Started != nil && s.stdio.OnStarted != nil:
		s.stdio.OnStarted(m.Started.PID)
	case m.Log != nil && s.stdio.OnLog != nil:
		s.stdio.OnLog(m.Log.Message)
	case m.Error != nil:
		return guestError(m.Error.Message)
	case m.Hello != nil:
		return errors.New("guest: second hello")
	case m.Exit != nil:
		s.exit = m.Exit
	}
	return nil
}

// drain waits until all output that the guest counted is written.
func (s *session) drain(ctx context.Context) error {
	for _, o := range []struct {
		*output
		bytes int64
	}{{s.stdout, s.exit.StdoutBytes}, {s.stderr, s.exit.StderrBytes}} {
		o.expect(o.bytes)
		select {
		case <-o.done:
			if err := o.incomplete(); err != nil {
				return err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// request sends m. A guest that is gone is seen, with its last words, where reports are read.
func (s *session) request(m wire.Request) error {
	err := wire.WriteRequest(s.conns.Control, m)
	if err == nil {
		return nil
	}
	select {
	case m, ok := <-s.reports:
		return s.take(m, ok)
	case <-time.After(time.Second):
		return fmt.Errorf("write to the guest: %w", err)
	}
}

// ended turns the reason why the control port ended into the error of Run.
func (s *session) ended() error {
	err := s.lost
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrClosedPipe) || errors.Is(err, os.ErrClosed) || errors.Is(err, syscall.ECONNRESET) {
		return ErrEnded
	}
	return fmt.Errorf("control port: %w", err)
}
