package pid1

import (
	"errors"
	"fmt"
	"os"
	"path"
	"syscall"

	"golang.org/x/sys/unix"

	"usui/internal/pid1/wire"
)

// Exit statuses that a shell gives to a command it could not start, and what it adds to the number of a signal.
const (
	statusNotExecutable = 126
	statusNotFound      = 127
	statusSignal        = 128
)

// command is the one command of a guest's life. Its methods belong to the session's goroutine.
type command struct {
	pid     int
	exit    wire.Exit
	exited  chan struct{} // closed by ended
	drained chan struct{} // closed when both outputs are copied to their end

	stdin   *input
	outputs []*output // stdout and, without a terminal, stderr
	tty     *os.File  // the master side, or nil
}

// start starts what run asks for. A program that is missing or cannot be executed is no error: it gives a command that
// has ended with 127 or 126 and said so on its standard error.
func start(run *wire.Run, ports Ports) (*command, error) {
	c := &command{exited: make(chan struct{}), drained: make(chan struct{})}
	child, err := c.connect(run, ports)
	if err != nil {
		return nil, err
	}
	defer child.close()

	env := environment(run.Env)
	dir := path.Join("/", run.Dir)
	file, err := lookPath(run.Argv[0], dir, env)
	if err == nil {
		err = enterable(dir)
	}
	if err == nil {
		c.pid, err = syscall.ForkExec(file, run.Argv, &syscall.ProcAttr{
			Dir:   dir,
			Env:   env,
			Files: child.files(),
			Sys:   &syscall.SysProcAttr{Setsid: true, Setctty: run.TTY},
		})
	}
	if err != nil {
		c.refuse(run, err, child)
	}
	c.copy()
	return c, nil
}

// refuse ends the command that never began: the message takes the way of its own words.
func (c *command) refuse(run *wire.Run, err error, child childEnds) {
	c.pid = 0
	c.exit.Status = statusNotExecutable
	if errors.Is(err, errNotFound) || errors.Is(err, unix.ENOENT) {
		c.exit.Status = statusNotFound
	}
	// Shorter than a pipe's buffer, so it never waits; when it cannot be written the status still tells.
	_, _ = unix.Write(child.stderr, fmt.Appendf(nil, "usui-init: %.1024s: %v\n", run.Argv[0], err))
	close(c.exited)
}

// copy starts the goroutines between ports and command. They end when the command's ends are closed or the ports are.
func (c *command) copy() {
	guarded(c.stdin.run)
	for _, o := range c.outputs {
		guarded(o.run)
	}
	guarded(func() {
		for _, o := range c.outputs {
			<-o.done
		}
		close(c.drained)
	})
}

// ended notes how the command ended.
func (c *command) ended(ws unix.WaitStatus) {
	switch {
	case ws.Exited():
		c.exit.Status = ws.ExitStatus()
	case ws.Signaled():
		c.exit.Status = statusSignal + int(ws.Signal())
		c.exit.Signal = unix.SignalName(ws.Signal())
	default:
		return
	}
	close(c.exited)
}

// signal sends the signal of that name to the command's process group.
func (c *command) signal(name string) error {
	sig := unix.SignalNum(name)
	if sig == 0 {
		return fmt.Errorf("signal %q is unknown", name)
	}
	select {
	case <-c.exited:
		return nil // its process id may be another's by now
	default:
	}
	if err := unix.Kill(-c.pid, sig); err != nil {
		return fmt.Errorf("send %s to process group %d: %w", name, c.pid, err)
	}
	return nil
}

func (c *command) endStdin(bytes int64) error { return c.stdin.endAt(bytes) }

// closeStdin makes the command's standard input end; what is still on its way is lost.
func (c *command) closeStdin() { c.stdin.close() }

func (c *command) closeOutput(name wire.Stream) {
	for _, o := range c.outputs {
		if o.name == name {
			o.close()
		}
	}
}

// cutIdle ends each output when nothing comes for a while: all writers should be dead, but the kernel may not have let
// go of one.
func (c *command) cutIdle() {
	for _, o := range c.outputs {
		o.cutIdle()
	}
}

// copied returns how many bytes of each stream went to the ports. It is final once drained is closed.
func (c *command) copied() (stdout, stderr int64) {
	for _, o := range c.outputs {
		if o.name == wire.Stdout {
			stdout = o.bytes
		} else {
			stderr = o.bytes
		}
	}
	return stdout, stderr
}
