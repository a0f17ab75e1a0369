package lab

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"usui/internal/tail"
)

// endGrace is how long QEMU may take to close its disks before it is killed.
const endGrace = 5 * time.Second

// tailSize is how much of a stream is kept, in bytes: some 30 lines.
const tailSize = 4 << 10

// process is a running QEMU.
type process struct {
	cmd     *exec.Cmd
	console *tail.Tail    // the guest's serial port
	stderr  *tail.Tail    // QEMU's own words
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
		console: tail.New(tailSize, verbose),
		stderr:  tail.New(tailSize, nil),
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
