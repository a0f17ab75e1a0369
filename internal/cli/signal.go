package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// signalError is the cause of a context that a signal ended.
type signalError struct{ signal syscall.Signal }

func (e signalError) Error() string { return fmt.Sprintf("%v received", e.signal) }

// status is what a shell reports for a program that this signal ended.
func (e signalError) status() int { return 128 + int(e.signal) }

// CaughtSignal returns the signal behind the cause of a command's context, or 0 if it was none.
func CaughtSignal(cause error) syscall.Signal {
	var caught signalError
	if errors.As(cause, &caught) {
		return caught.signal
	}
	return 0
}

// untilSignal returns a context that the first SIGINT, SIGTERM or SIGHUP ends; from then on these signals have
// their default action again, so a second one ends the program whatever it is doing. A signal that the
// program was started to ignore, as a shell does for background jobs and nohup for SIGHUP, stays ignored. stop releases it.
func untilSignal(parent context.Context) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(parent)
	caught := make(chan os.Signal, 1)
	for _, s := range []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		if !signal.Ignored(s) {
			signal.Notify(caught, s)
		}
	}
	ended := make(chan struct{})
	go func() { // ended by the first signal or by stop
		defer close(ended)
		select {
		case s := <-caught:
			signal.Stop(caught)
			number, _ := s.(syscall.Signal) // always one on the systems that usui runs on
			cancel(signalError{number})
		case <-ctx.Done():
			signal.Stop(caught)
		}
	}()
	return ctx, func() {
		cancel(nil)
		<-ended
	}
}
