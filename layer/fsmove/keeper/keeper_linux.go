package keeper

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Config is what is kept going.
type Config struct {
	Command             []string // the worker's program and its arguments
	Source, Destination string   // directories that the mount may hide from the next worker
	Logger              *slog.Logger
}

// A worker that is killed is followed by the next one at once, but for those that are killed often: after so many within a minute there is a pause, which doubles each time up to longest.
const (
	often    = 10
	minute   = time.Minute
	shortest = 10 * time.Millisecond
	longest  = time.Second
)

// useless is how many workers in a row may end without having answered anything.
const useless = 10

// keeper is one at work.
type keeper struct {
	Config
	seat *Seat
	kept map[uint64]int // descriptors
	made int            // workers
	ends []time.Time    // of workers that were killed within the last minute
	done uint64         // by all workers before
	idle int            // workers, the last ones, which did nothing
}

// Run starts a worker, and another one whenever it is killed or panics, until one ends by itself; its status is the result. When ctx ends the worker is asked to end.
func Run(ctx context.Context, cfg Config) (status int, err error) {
	seat, err := New(cfg.Source, cfg.Destination)
	if err != nil {
		return 0, err
	}
	k := &keeper{Config: cfg, seat: seat, kept: map[uint64]int{}}
	defer func() { err = errors.Join(err, seat.Close()) }()
	for {
		state, err := k.work(ctx)
		if err == nil && !crashed(state) {
			return state.ExitCode(), nil
		}
		why := fmt.Sprint(err) // perhaps there is no memory for another process for a moment
		if err == nil {
			why = state.String()
		}
		if err := k.again(ctx, why); err != nil {
			return 0, err
		}
	}
}

// crashed says that a process did not end by itself: it was killed, or the runtime of Go has ended it.
func crashed(state *os.ProcessState) bool {
	const goPanic = 2
	s, ok := state.Sys().(syscall.WaitStatus)
	return ok && (s.Signaled() || s.ExitStatus() == goPanic)
}

// again waits until another worker may be started, or says why none can be.
func (k *keeper) again(ctx context.Context, why string) error {
	if k.seat.Table.State().Load() == Fresh {
		return fmt.Errorf("the process that serves clients ended before it served any: %s", why)
	}
	if done := k.seat.Table.Work().Load(); done != k.done {
		k.done, k.idle = done, 0
	}
	if k.idle++; k.idle > useless {
		return fmt.Errorf("the process that serves clients has ended %d times without having served any, the last time by %s: start again to go on", useless, why)
	}
	now := time.Now()
	k.ends = append(slices.DeleteFunc(k.ends, func(t time.Time) bool { return now.Sub(t) > minute }), now)
	k.Logger.Error("the process that serves clients has ended; they wait for another one", "by", why, "times", len(k.ends))
	if len(k.ends) <= often {
		return nil
	}
	timer := time.NewTimer(min(longest, shortest<<min(len(k.ends)-often, 16)))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done(): // the next one ends in order
	}
	return nil
}

// work starts a worker and waits for its end.
func (k *keeper) work(ctx context.Context) (*os.ProcessState, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	ours, theirs := pair[0], pair[1]
	defer unix.Close(ours)
	p, err := k.start(theirs)
	err = errors.Join(err, os.NewSyscallError("close", unix.Close(theirs)))
	if err != nil {
		return nil, err
	}
	heard := make(chan struct{})
	go func() { // until the worker's end of the socket is closed
		defer close(heard)
		k.hear(ours)
	}()
	stop := context.AfterFunc(ctx, func() { _ = send(ours, stopMessage, 0, -1) }) // one that has ended hears nothing
	state, err := p.Wait()
	stop()
	<-heard
	return state, err
}

// start starts a worker, by descriptors: those of package os are not the device's only users, and change it.
func (k *keeper) start(socket int) (*os.Process, error) {
	k.made++
	pid, err := syscall.ForkExec(k.Command[0], k.Command, &syscall.ProcAttr{
		Env: append(os.Environ(), roleEnv+"="+strconv.Itoa(k.made)),
		Files: []uintptr{
			0, 1, 2, deviceFd: uintptr(k.seat.Device), tableFd: uintptr(k.seat.Table.Fd()), socketFd: uintptr(socket),
			sourceFd: uintptr(k.seat.Source), destinationFd: uintptr(k.seat.Destination),
		},
		Sys: &syscall.SysProcAttr{Setpgid: true}, // what a terminal sends to all comes to the keeper alone: a worker that is asked twice does not end in order
	})
	if err != nil {
		return nil, &os.PathError{Op: "start", Path: k.Command[0], Err: err}
	}
	return os.FindProcess(pid)
}

// hear tells a worker of what is kept, and then does what it says.
func (k *keeper) hear(socket int) {
	for number, fd := range k.kept {
		if err := send(socket, keepMessage, number, fd); err != nil {
			k.Logger.Error("to hand an open file on", "err", err)
		}
	}
	if err := send(socket, readyMessage, 0, -1); err != nil {
		k.Logger.Error("to hand over", "err", err)
	}
	for {
		what, number, fd, err := receive(socket)
		if err != nil {
			return
		}
		if what == keepMessage && fd < 0 {
			k.Logger.Error("an open file without a name is lost if the process that serves clients ends: there are too many", "number", number)
			continue
		}
		if old, ok := k.kept[number]; ok {
			_ = unix.Close(old) // what was written is looked after by fsync
			delete(k.kept, number)
		}
		if what == keepMessage {
			k.kept[number] = fd
		}
	}
}
