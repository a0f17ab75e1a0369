package pid1

import (
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"

	"usui/internal/pid1/wire"
)

// endOfTransmission is ^D, which a terminal in its usual (canonical) mode turns into the end of input.
const endOfTransmission = 4

// connectTTY makes a pseudo-terminal. The master side carries both directions; the stderr port stays silent.
func (c *command) connectTTY(run *wire.Run, ports Ports) (childEnds, error) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return childEnds{}, fmt.Errorf("open /dev/ptmx: %w", err)
	}
	slave, err := openSlave(fd)
	if err != nil {
		unix.Close(fd)
		return childEnds{}, err
	}
	c.tty = pollable(fd, "terminal")
	c.stdin = newInput(ports.Stdin, c.tty, []byte{endOfTransmission})
	c.outputs = []*output{newOutput(wire.Stdout, c.tty, ports.Stdout)}
	if run.Rows > 0 && run.Cols > 0 {
		// A terminal takes any size; a program that wants another one can still set it.
		_ = c.resize(wire.Winsize{Rows: run.Rows, Cols: run.Cols})
	}
	return childEnds{slave, slave, slave}, nil
}

// openSlave unlocks and opens the other side of the master fd, see pts(4).
func openSlave(fd int) (int, error) {
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		return -1, fmt.Errorf("unlock pseudo-terminal: %w", err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		return -1, fmt.Errorf("number of pseudo-terminal: %w", err)
	}
	name := "/dev/pts/" + strconv.Itoa(n)
	slave, err := unix.Open(name, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open %s: %w", name, err)
	}
	return slave, nil
}

// resize gives the terminal another size; the kernel tells its foreground processes with SIGWINCH. Without a terminal
// there is nothing to do.
func (c *command) resize(w wire.Winsize) error {
	if c.tty == nil {
		return nil
	}
	raw, err := c.tty.SyscallConn()
	if err != nil {
		return err
	}
	var errno error
	err = raw.Control(func(fd uintptr) {
		errno = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: w.Rows, Col: w.Cols})
	})
	if err == nil {
		err = errno
	}
	if err != nil {
		return fmt.Errorf("set terminal to %d rows, %d columns: %w", w.Rows, w.Cols, err)
	}
	return nil
}
