package pid1

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"usui/internal/pid1/wire"
)

// childEnds are the command's ends of its standard streams, plain blocking descriptors that this process closes once the
// command has them.
type childEnds struct {
	stdin, stdout, stderr int
}

func (e childEnds) files() []uintptr {
	return []uintptr{uintptr(e.stdin), uintptr(e.stdout), uintptr(e.stderr)}
}

func (e childEnds) close() {
	unix.Close(e.stdin)
	if e.stdout != e.stdin {
		unix.Close(e.stdout)
		unix.Close(e.stderr)
	}
}

// connect makes the pipes or the pseudo-terminal between the ports and the command to be.
func (c *command) connect(run *wire.Run, ports Ports) (childEnds, error) {
	if run.TTY {
		return c.connectTTY(run, ports)
	}
	var ends [3][2]int
	for i := range ends {
		if err := unix.Pipe2(ends[i][:], unix.O_CLOEXEC); err != nil {
			for _, e := range ends[:i] {
				unix.Close(e[0])
				unix.Close(e[1])
			}
			return childEnds{}, fmt.Errorf("make pipe: %w", err)
		}
	}
	c.stdin = newInput(ports.Stdin, pollable(ends[0][1], "stdin"), nil)
	c.outputs = []*output{
		newOutput(wire.Stdout, pollable(ends[1][0], "stdout"), ports.Stdout),
		newOutput(wire.Stderr, pollable(ends[2][0], "stderr"), ports.Stderr),
	}
	return childEnds{ends[0][0], ends[1][1], ends[2][1]}, nil
}

// pollable makes fd a file whose Read and Write end when it is closed or its deadline passes. Only its open file
// description becomes non-blocking: the other end of a pipe has its own.
func pollable(fd int, name string) *os.File {
	// Fails for a bad descriptor only, and then the first use does too.
	_ = unix.SetNonblock(fd, true)
	return os.NewFile(uintptr(fd), name)
}
