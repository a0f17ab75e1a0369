package main

import (
	"context"
	"io"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"usui/internal/attach"
	"usui/internal/cli"
)

// terminal is the user's terminal in raw mode: every key goes to the guest.
type terminal struct {
	fd    int
	state *term.State
	sizes chan attach.Winsize
	winch chan os.Signal
	done  chan struct{}
}

// isTerminal says that a person sits at both ends.
func isTerminal(env *cli.Env) bool {
	in, inOK := env.Stdin.(*os.File)
	out, outOK := env.Stdout.(*os.File)
	return inOK && outOK && term.IsTerminal(int(in.Fd())) && term.IsTerminal(int(out.Fd()))
}

// openTerminal switches the terminal of env to raw mode until close.
func openTerminal(env *cli.Env) (*terminal, error) {
	t := &terminal{fd: int(env.Stdin.(*os.File).Fd()), sizes: make(chan attach.Winsize, 1), winch: make(chan os.Signal, 1), done: make(chan struct{})}
	var err error
	if t.state, err = term.MakeRaw(t.fd); err != nil {
		return nil, err
	}
	signal.Notify(t.winch, unix.SIGWINCH)
	go t.follow()
	return t, nil
}

// size is the terminal's now.
func (t *terminal) size() attach.Winsize {
	cols, rows, err := term.GetSize(t.fd)
	if err != nil {
		return attach.Winsize{Rows: 24, Cols: 80}
	}
	return attach.Winsize{Rows: uint16(rows), Cols: uint16(cols)}
}

// follow passes on each new size until close.
func (t *terminal) follow() {
	for {
		select {
		case <-t.winch:
			select {
			case <-t.sizes: // one that nobody took is out of date
			default:
			}
			t.sizes <- t.size()
		case <-t.done:
			return
		}
	}
}

// close gives the terminal back as it was.
func (t *terminal) close() {
	signal.Stop(t.winch)
	close(t.done)
	// The terminal may be gone (a closed window): then there is nothing to restore.
	_ = term.Restore(t.fd, t.state)
}

// userTerminal is the user's terminal around one command inside a machine. It becomes raw when the command starts: until then ^C is
// for us.
type userTerminal struct {
	env   *cli.Env
	stop  context.CancelCauseFunc
	raw   *terminal // nil before open
	sizes chan attach.Winsize
	ended chan struct{}
}

// newUserTerminal leaves the terminal as it is. stop ends the machine when the user asks for it on the terminal, or when that fails.
func newUserTerminal(env *cli.Env, stop context.CancelCauseFunc) *userTerminal {
	return &userTerminal{env: env, stop: stop, sizes: make(chan attach.Winsize), ended: make(chan struct{})}
}

// attach connects the terminal to a command that is about to run: its size now, and later ones.
func (t *userTerminal) attach(rows, cols *uint16, stdio *attach.Stdio) {
	size := (&terminal{fd: int(t.env.Stdin.(*os.File).Fd())}).size()
	*rows, *cols = size.Rows, size.Cols
	stdio.Stdin, stdio.Winsize = t.input(), t.sizes
	stdio.OnStarted = func(int) {
		if err := t.open(); err != nil {
			t.stop(err)
		}
	}
}

// open makes the terminal raw and begins to pass on its sizes.
func (t *userTerminal) open() (err error) {
	if t.raw, err = openTerminal(t.env); err != nil {
		return err
	}
	go func() { // ended by close
		for size := t.raw.size(); ; { // the first one may have changed while the machine booted
			select {
			case t.sizes <- size:
			case <-t.ended:
				return
			}
			select {
			case size = <-t.raw.sizes:
			case <-t.ended:
				return
			}
		}
	}()
	return nil
}

// close gives the terminal back as it was. It may be called once.
func (t *userTerminal) close() {
	close(t.ended)
	if t.raw != nil {
		t.raw.close()
	}
}

// input is the user's input, in which the escape ends the machine.
func (t *userTerminal) input() io.Reader {
	return &escapeReader{in: t.env.Stdin, quit: func() { t.stop(interrupted{unix.SIGINT}) }}
}

// On a raw terminal ^C belongs to the guest. One that hangs would hold the user for ever without a key of our own.
const (
	escapeKey   = 0x1d // ^]
	escapeTimes = 3    // in a row
)

// escapeReader passes input on until it holds the escape; then it calls quit and ends.
type escapeReader struct {
	in   io.Reader
	quit func()
	seen int // escape keys in a row
}

// Read implements io.Reader.
func (r *escapeReader) Read(p []byte) (int, error) {
	n, err := r.in.Read(p)
	for i, c := range p[:n] {
		if c != escapeKey {
			r.seen = 0
			continue
		}
		if r.seen++; r.seen == escapeTimes {
			r.quit()
			return i, io.EOF
		}
	}
	return n, err
}
