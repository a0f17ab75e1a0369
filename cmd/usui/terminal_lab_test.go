package main_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"testing"

	"golang.org/x/sys/unix"

	"usui/host/need"
	"usui/internal/lab"
)

// openPTY makes a pseudo-terminal of the given size and returns the user's end and the program's.
func openPTY(t *testing.T, rows, cols uint16) (user, program *os.File) {
	t.Helper()
	user, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { user.Close() })
	fd := int(user.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close() })
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: cols}); err != nil {
		t.Fatal(err)
	}
	return user, program
}

// readUntil reads until the output holds want, and returns all of it.
func readUntil(t *testing.T, from *os.File, want string) []byte {
	t.Helper()
	var seen []byte
	buf := make([]byte, 4096)
	for !bytes.Contains(seen, []byte(want)) {
		n, err := from.Read(buf)
		seen = append(seen, buf[:n]...)
		if err != nil {
			t.Fatalf("waiting for %q: %v; so far:\n%s", want, err, seen)
		}
	}
	return seen
}

// TestLabShellOnATerminal uses the shell as a person does: it has the terminal's size, follows it, and gives the terminal back as it was,
// also when a signal ends the program.
func TestLabShellOnATerminal(t *testing.T) {
	need.Lab(t, lab.KVM)
	path, err := filepath.Abs(program)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		end    func(user *os.File, p *os.Process)
		status int
	}{
		{"exit", func(user *os.File, _ *os.Process) { user.WriteString("exit 5\r") }, 5},
		{"two signals", func(_ *os.File, p *os.Process) { p.Signal(unix.SIGTERM); p.Signal(unix.SIGINT) }, -1},
	} {
		user, tty := openPTY(t, 33, 77)
		before, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), path, "run", "--no-lab")
		cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		readUntil(t, user, "# ")
		user.WriteString("stty size; echo do''ne\r")
		if got := readUntil(t, user, "done"); !bytes.Contains(got, []byte("33 77")) {
			t.Errorf("%s: the guest's terminal is not 33x77:\n%s", tt.name, got)
		}
		if err := unix.IoctlSetWinsize(int(user.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 20, Col: 100}); err != nil {
			t.Fatal(err)
		}
		cmd.Process.Signal(unix.SIGWINCH) // the kernel sends it to a terminal's own session only
		user.WriteString("until [ \"$(stty size)\" = '20 100' ]; do :; done; echo fol''lowed\r")
		readUntil(t, user, "followed")
		tt.end(user, cmd.Process)
		drained := make(chan struct{})
		go func() { // ends with the terminal; without it the program's last words could not be written
			defer close(drained)
			for buf := make([]byte, 4096); ; {
				if _, err := user.Read(buf); err != nil {
					return
				}
			}
		}()
		err = cmd.Wait()
		if got := cmd.ProcessState.ExitCode(); tt.status >= 0 && got != tt.status {
			t.Errorf("%s: exit status %d (%v), want %d", tt.name, got, err, tt.status)
		}
		after, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(before, after) {
			t.Errorf("%s: the terminal's mode is %+v, was %+v", tt.name, after, before)
		}
		tty.Close()
		<-drained
	}
}
