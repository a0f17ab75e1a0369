package lab

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode"

	"golang.org/x/sys/unix"
)

// endGrace is how long QEMU may take to close its disks before it is killed.
const endGrace = 5 * time.Second

// process is a running QEMU.
type process struct {
	cmd     *exec.Cmd
	console *tail         // the guest's serial port
	stderr  *tail         // QEMU's own words
	grace   time.Duration // for each way to end it
	done    chan struct{}
	err     error // of the process, once done is closed
}

// startProcess starts QEMU. The files become descriptors 3, 4, ... in it. verbose, if not nil, gets the console.
//
// The kernel kills QEMU when the thread that started it ends (PR_SET_PDEATHSIG), so that thread is locked and stays until QEMU is
// gone. QEMU has a process group of its own: a ^C on the terminal is for us, who pass it on to the command inside.
func startProcess(program string, args []string, files []*os.File, verbose io.Writer) (*process, error) {
	p := &process{
		cmd:     exec.Command(program, args...),
		console: &tail{also: verbose},
		stderr:  &tail{},
		grace:   endGrace,
		done:    make(chan struct{}),
	}
	p.cmd.ExtraFiles = files
	p.cmd.Stdout, p.cmd.Stderr = p.console, p.stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() { // ends with QEMU, see stop
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			p.err = p.cmd.Wait()
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// stop ends QEMU, gently first, so that it writes out its disks, and returns when it is gone.
func (p *process) stop() {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		// An error means that it is gone already.
		_ = syscall.Kill(-p.cmd.Process.Pid, sig)
		if p.ended(p.grace) {
			return
		}
	}
	<-p.done
}

// ended waits until QEMU is gone or the time is up.
func (p *process) ended(limit time.Duration) bool {
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case <-p.done:
		return true
	case <-t.C:
		return false
	}
}

// tailSize is how much of a stream is kept, in bytes: some 30 lines.
const tailSize = 4 << 10

// tail keeps the end of what is written to it.
type tail struct {
	also io.Writer // gets everything too; may be nil

	mu   sync.Mutex
	kept []byte // guarded by mu
}

func (t *tail) Write(p []byte) (int, error) {
	if t.also != nil {
		// The copy is for a person to look at: when it cannot be written, the machine goes on.
		_, _ = t.also.Write(p)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kept = append(t.kept, p...)
	if n := len(t.kept) - tailSize; n > 0 {
		t.kept = append(t.kept[:0], t.kept[n:]...)
	}
	return len(p), nil
}

// text is the end of the stream without a cut first line and without what could steer a terminal.
func (t *tail) text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	kept := t.kept
	if len(kept) == tailSize {
		_, kept, _ = bytes.Cut(kept, []byte("\n"))
	}
	return strings.TrimSpace(plain(string(kept)))
}

// plain drops escape sequences, which firmware writes, and all else that a terminal does not simply show.
func plain(s string) string {
	var b strings.Builder
	text := []rune(strings.ToValidUTF8(s, "?"))
	for i := 0; i < len(text); i++ {
		switch r := text[i]; {
		case r == 0x1b:
			i = escapeEnd(text, i)
		case r == '\n' || r == '\t' || unicode.IsPrint(r):
			b.WriteRune(r)
		}
	}
	return b.String()
}

// escapeEnd returns the index of the last character of the escape sequence that starts at i: "ESC [ parameters letter", or ESC and
// one character.
func escapeEnd(text []rune, i int) int {
	if i+1 >= len(text) || text[i+1] != '[' {
		return i + 1
	}
	for i += 2; i < len(text) && text[i] >= 0x20 && text[i] < 0x40; i++ {
	}
	return i
}

// portPair makes the two ends of a virtio-serial port: ours, and the one that QEMU inherits.
func portPair() (ours net.Conn, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	theirs = os.NewFile(uintptr(fds[1]), "port")
	our := os.NewFile(uintptr(fds[0]), "port")
	defer our.Close() // FileConn makes a copy
	ours, err = net.FileConn(our)
	if err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return ours, theirs, nil
}

// findProgram finds QEMU; the error says how to install it.
func findProgram(m *machine) (string, error) {
	path, err := exec.LookPath(m.program)
	if errors.Is(err, exec.ErrNotFound) {
		return "", fmt.Errorf("%s is not installed: apt-get install %s", m.program, m.aptPackage)
	}
	return path, err
}
