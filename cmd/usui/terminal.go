package main

import (
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
