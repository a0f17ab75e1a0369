package pid1

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	"golang.org/x/sys/unix"

	"usui/internal/pid1/wire"
)

// reportTimeout bounds one write to the control port. A host that went away while we report would hold us for ever.
const reportTimeout = 10 * time.Second

// errOver is the cause when the host wants the guest to end, by poweroff or by closing the control port.
var errOver = errors.New("the host ends the session")

// QuitError is the error of [Serve] when a signal from [Config.Quit] ended the session.
type QuitError struct{ Signal os.Signal }

func (e QuitError) Error() string {
	return "a process of the guest asks for the end: " + e.Signal.String()
}

// Ports are the guest's ends of the four ports.
type Ports struct {
	Control, Stdin, Stdout, Stderr io.ReadWriteCloser
}

// Close closes all four.
func (p Ports) Close() error {
	return errors.Join(p.Control.Close(), p.Stdin.Close(), p.Stdout.Close(), p.Stderr.Close())
}

// Config is what a session needs from the system around it. [Main] fills it with the deeds of PID 1, tests with harmless
// ones.
type Config struct {
	// Hello is sent first.
	Hello wire.Hello
	// Remarks are sent to the host's log after Hello.
	Remarks []string
	// Do carries out one step of the run request.
	Do func(wire.Step) error
	// Kill sends a signal to all other processes of the guest. All of them must become children of this process when
	// their parents end.
	Kill func(unix.Signal) error
	// Settle brings the file systems to a consistent state on their disks. It returns remarks for the host's log.
	Settle func() []string
	// Quit, if not nil, gives the signals by which a process of the guest asks for its end.
	Quit <-chan os.Signal
	// Drain is how long processes that outlive the command may keep its output open; then they are stopped.
	Drain time.Duration
	// Stop is how long they may take to end after SIGTERM; then they are killed.
	Stop time.Duration
}

// session is one conversation with the host. One goroutine runs its methods; it alone starts and reaps processes, so a
// child cannot end unseen between its start and the note of its process id.
type session struct {
	cfg   Config
	ports Ports

	requests chan wire.Request
	gone     chan struct{} // closed when the control port ended
	why      error         // set before gone is closed: errOver or what was no request
	done     chan struct{} // closed when the session ends, for the reader of requests
	children chan os.Signal

	cmd       *command      // nil before the run request
	childless chan struct{} // if not nil, closed when no child is left
	ending    bool          // nobody listens to the host any more
}

// Serve holds one conversation with the host over ports and returns when the guest is to end. All processes are stopped
// and file systems settled then, on errors too. It does not close ports: its goroutines end when the caller does. That the
// host went away is no error.
func Serve(ports Ports, cfg Config) error {
	s := &session{
		cfg:      cfg,
		ports:    ports,
		requests: make(chan wire.Request),
		gone:     make(chan struct{}),
		done:     make(chan struct{}),
		children: make(chan os.Signal, 1),
	}
	signal.Notify(s.children, unix.SIGCHLD)
	defer signal.Stop(s.children)
	defer close(s.done)
	guarded(s.readRequests)

	err := s.converse()
	if errors.Is(err, errOver) {
		err = nil
	}
	s.end()
	return err
}

// readRequests runs until the control port ends or says something that is no request.
func (s *session) readRequests() {
	defer close(s.gone)
	r := wire.NewRequestReader(s.ports.Control)
	for {
		m, err := r.Next()
		if err != nil {
			s.why = fmt.Errorf("control port: %w", err)
			if errors.Is(err, io.EOF) || errors.Is(err, unix.ECONNRESET) {
				s.why = errOver
			}
			return
		}
		select {
		case s.requests <- m:
		case <-s.done:
			return
		}
	}
}

// converse is the conversation in its order.
func (s *session) converse() error {
	if err := s.report(wire.Report{Hello: &s.cfg.Hello}); err != nil {
		return err
	}
	if err := s.remark(s.cfg.Remarks); err != nil {
		return err
	}
	run, err := s.awaitRun()
	if err != nil {
		return err
	}
	if err = s.prepare(run); err == nil {
		s.cmd, err = start(run, s.ports)
	}
	if err != nil {
		return errors.Join(s.report(wire.Report{Error: &wire.Error{Message: err.Error()}}), s.wait(nil, 0))
	}
	if s.cmd.pid > 0 {
		if err := s.report(wire.Report{Started: &wire.Started{PID: s.cmd.pid}}); err != nil {
			return err
		}
		if err := s.wait(s.cmd.exited, 0); err != nil {
			return err
		}
	}
	return s.finish()
}

// finish takes the command's last output, ends all processes, settles the file systems and reports the exit. It returns
// when the host has got all of it.
func (s *session) finish() error {
	s.cmd.closeStdin()
	if err := s.wait(s.cmd.drained, s.cfg.Drain); err != nil {
		return err
	}
	if err := s.stopProcesses(); err != nil {
		return err
	}
	s.cmd.cutIdle()
	if err := s.wait(s.cmd.drained, 0); err != nil {
		return err
	}
	exit := s.cmd.exit
	exit.StdoutBytes, exit.StderrBytes = s.cmd.copied()
	if err := s.remark(s.cfg.Settle()); err != nil {
		return err
	}
	if err := s.report(wire.Report{Exit: &exit}); err != nil {
		return err
	}
	return s.wait(nil, 0)
}

// end stops what a conversation that broke off left behind. After one that did not, it finds nothing to do. The outputs
// stay open until the processes are gone: a last word in a handler of SIGTERM must not end in SIGPIPE.
func (s *session) end() {
	s.ending = true
	// What is left of errors and remarks has no reader.
	_ = s.stopProcesses()
	if s.cmd != nil {
		s.cmd.closeStdin()
		s.cmd.closeOutput(wire.Stdout)
		s.cmd.closeOutput(wire.Stderr)
	}
	s.cfg.Settle()
}

func (s *session) awaitRun() (*wire.Run, error) {
	for {
		select {
		case m := <-s.requests:
			switch {
			case m.Run != nil:
				return m.Run, nil
			case m.Poweroff != nil:
				return nil, errOver
			}
		case <-s.children:
			s.reap()
		case sig := <-s.cfg.Quit:
			return nil, QuitError{sig}
		case <-s.gone:
			return nil, s.why
		}
	}
}

// prepare carries out the steps of the request.
func (s *session) prepare(run *wire.Run) error {
	for i, step := range run.Steps {
		if err := s.cfg.Do(step); err != nil {
			return fmt.Errorf("step %d of %d, %v: %w", i+1, len(run.Steps), step, err)
		}
	}
	return nil
}

// wait serves the host and reaps children until done is closed or, if it is not 0, the time is up.
func (s *session) wait(done <-chan struct{}, limit time.Duration) error {
	var late <-chan time.Time
	if limit > 0 {
		t := time.NewTimer(limit)
		defer t.Stop()
		late = t.C
	}
	requests, gone, quit := s.requests, s.gone, s.cfg.Quit
	if s.ending {
		requests, gone, quit = nil, nil, nil
	}
	for {
		select {
		case <-done:
			return nil
		case <-late:
			return nil
		case <-s.children:
			s.reap()
		case m := <-requests:
			if err := s.serve(m); err != nil {
				return err
			}
		case sig := <-quit:
			return QuitError{sig}
		case <-gone:
			return s.why
		}
	}
}

// serve carries out one request that came after the run request.
func (s *session) serve(m wire.Request) error {
	switch {
	case m.Run != nil:
		return s.report(wire.Report{Error: &wire.Error{Message: "run request refused: there was one already"}})
	case m.Poweroff != nil:
		return errOver
	case s.cmd == nil:
		return nil // its steps went wrong; the host does not know yet
	case m.Winsize != nil:
		return s.note(s.cmd.resize(*m.Winsize))
	case m.Signal != nil:
		return s.note(s.cmd.signal(m.Signal.Name))
	case m.StdinEOF != nil:
		return s.note(s.cmd.endStdin(m.StdinEOF.Bytes))
	case m.Close != nil:
		s.cmd.closeOutput(m.Close.Stream)
	}
	return nil
}

func (s *session) report(m wire.Report) error {
	if d, ok := s.ports.Control.(interface{ SetWriteDeadline(time.Time) error }); ok {
		// A port that knows no deadlines is written to without one.
		_ = d.SetWriteDeadline(time.Now().Add(reportTimeout))
	}
	err := wire.WriteReport(s.ports.Control, m)
	if errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET) {
		return errOver
	}
	return err
}

func (s *session) remark(list []string) error {
	for _, text := range list {
		if err := s.report(wire.Report{Log: &wire.Log{Message: text}}); err != nil {
			return err
		}
	}
	return nil
}

// note tells the host's log about a small request that could not be carried out, which is no reason to end.
func (s *session) note(err error) error {
	if err == nil {
		return nil
	}
	return s.remark([]string{err.Error()})
}
