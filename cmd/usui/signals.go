package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"usui/internal/cli"
)

// interrupted is the cause of a context that the user ended by a signal.
type interrupted struct{ signal os.Signal }

func (e interrupted) Error() string { return fmt.Sprintf("ended by %v", e.signal) }

// status is what a shell reports of a program that the signal ended.
func (e interrupted) status() cli.ExitStatus {
	number, _ := e.signal.(syscall.Signal) // always one on the systems that usui runs on
	return cli.ExitStatus(128 + int(number))
}

// forwardInterrupts returns a channel with the signals that are meant for the command inside. At the second one it calls stop too; after
// that signals have their default action again, so that the user is never without a way out. end gives the signals back.
func forwardInterrupts(stop func(os.Signal)) (forward <-chan os.Signal, end func()) {
	caught, out, ended := make(chan os.Signal, 4), make(chan os.Signal, 4), make(chan struct{})
	for _, sig := range []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT} {
		if !signal.Ignored(sig) {
			signal.Notify(caught, sig)
		}
	}
	go func() { // ended by end
		for asked := 0; ; {
			select {
			case sig := <-caught:
				if asked++; asked > 1 {
					stop(sig)
					signal.Stop(caught)
				}
				select {
				case out <- sig:
				default: // a command that takes no signals needs no fifth
				}
			case <-ended:
				return
			}
		}
	}()
	return out, func() {
		signal.Stop(caught)
		close(ended)
	}
}
