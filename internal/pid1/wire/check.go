package wire

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
)

// maxSteps bounds the length of [Run.Steps]; a lab with every module and device needs about a hundred.
const maxSteps = 1024

// maxArgs bounds, in bytes, argv and env together. Linux gives them a quarter of the stack limit of 8 MiB.
const maxArgs = 2 << 20

// maxText bounds, in bytes, one text of the guest that the host shows to its user.
const maxText = 8 << 10

// exitStatuses is the number of exit statuses a process can have.
const exitStatuses = 256

func (r *Request) check() error {
	if n := count(r.Run != nil, r.Winsize != nil, r.Signal != nil, r.StdinEOF != nil, r.Close != nil, r.Poweroff != nil); n != 1 {
		return fmt.Errorf("request with %d members, want one", n)
	}
	switch {
	case r.Run != nil:
		return r.Run.Check()
	case r.StdinEOF != nil && r.StdinEOF.Bytes < 0:
		return fmt.Errorf("stdinEOF after %d bytes", r.StdinEOF.Bytes)
	case r.Close != nil && r.Close.Stream != Stdout && r.Close.Stream != Stderr:
		return fmt.Errorf("close of unknown stream %q", r.Close.Stream)
	}
	return nil
}

// Check says what is wrong with a run request before it is sent.
func (r *Run) Check() error {
	if len(r.Argv) == 0 || r.Argv[0] == "" {
		return errors.New("run without a program")
	}
	size := 0
	for _, list := range []Strings{r.Argv, r.Env} {
		for _, s := range list {
			size += len(s)
			if strings.IndexByte(s, 0) >= 0 {
				return fmt.Errorf("%.80q in argv or env holds a NUL byte", s)
			}
		}
	}
	if size > maxArgs {
		return fmt.Errorf("arguments and environment of %d bytes, limit %d", size, maxArgs)
	}
	if strings.IndexByte(r.Dir, 0) >= 0 {
		return fmt.Errorf("directory %q holds a NUL byte", r.Dir)
	}
	if len(r.Steps) > maxSteps {
		return fmt.Errorf("run with %d steps, limit %d", len(r.Steps), maxSteps)
	}
	for i, s := range r.Steps {
		if strings.IndexByte(s.Type+s.Source+s.Target+s.Options, 0) >= 0 {
			return fmt.Errorf("step %d, %v, holds a NUL byte", i+1, s)
		}
	}
	return nil
}

// check also makes the texts of the guest safe to show.
func (r *Report) check() error {
	if n := count(r.Hello != nil, r.Started != nil, r.Exit != nil, r.Error != nil, r.Log != nil); n != 1 {
		return fmt.Errorf("report with %d members, want one", n)
	}
	switch {
	case r.Hello != nil:
		r.Hello.Kernel = printable(r.Hello.Kernel)
		return r.Hello.check()
	case r.Exit != nil:
		r.Exit.Signal = printable(r.Exit.Signal)
		return r.Exit.check()
	case r.Started != nil && r.Started.PID < 1:
		return fmt.Errorf("started with process id %d", r.Started.PID)
	case r.Error != nil:
		r.Error.Message = printable(r.Error.Message)
	case r.Log != nil:
		r.Log.Message = printable(r.Log.Message)
	}
	return nil
}

func (h *Hello) check() error {
	if h.CPUs < 0 || h.MemoryBytes < 0 || h.Init < 0 || h.Mounts < 0 || h.Modules < 0 || h.Control < 0 {
		return errors.New("hello with a negative count")
	}
	return nil
}

func (e *Exit) check() error {
	if e.Status < 0 || e.Status >= exitStatuses {
		return fmt.Errorf("exit status %d out of range", e.Status)
	}
	if e.StdoutBytes < 0 || e.StderrBytes < 0 {
		return fmt.Errorf("exit after %d bytes of stdout, %d of stderr", e.StdoutBytes, e.StderrBytes)
	}
	return nil
}

func count(set ...bool) int {
	n := 0
	for _, b := range set {
		if b {
			n++
		}
	}
	return n
}

// printable shortens s and replaces what could move the cursor or recolour the terminal of whoever reads it.
func printable(s string) string {
	if len(s) > maxText {
		s = s[:maxText]
	}
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, s)
}
