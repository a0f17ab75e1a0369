package usernet

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Name is the file name of the program.
const Name = "usui-net"

// FindProgram returns the path of usui-net, which lies beside the running executable.
func FindProgram() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find %s: %w", Name, err)
	}
	path := filepath.Join(filepath.Dir(self), Name)
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("find %s (make build makes it): %w", Name, err)
	}
	return path, nil
}

// Process is a usui-net that serves one card.
type Process struct {
	// Frames are the card's ends of the sockets, one for each queue pair: descriptors that are non-blocking, closed on exec and not in
	// Go's poller. Close closes them, and the process ends when one is closed.
	Frames []int

	// Ports are where the published ports listen, in the order of the configuration.
	Ports []netip.AddrPort

	cfg  Config
	cmd  *exec.Cmd
	done chan struct{} // closed when the process has ended
	err  error         // set before done is closed: how it ended
	end  sync.Once
}

// Times that the process gets. A port that listens takes none; the rest is for a host that is very busy.
const (
	startTime = 30 * time.Second
	endTime   = 5 * time.Second
)

// ready is the first word of the line that the process writes to its standard output when its ports listen. Their addresses follow.
const ready = "ready"

// readyBytes is more than a line for all ports.
const readyBytes = 16 << 10

// Ready is that line.
func Ready(ports []netip.AddrPort) string {
	line := ready
	for _, p := range ports {
		line += " " + p.String()
	}
	return line + "\n"
}

// parseReady reads it.
func parseReady(line string) (ports []netip.AddrPort, ok bool) {
	words := strings.Fields(line)
	if len(words) == 0 || words[0] != ready || !strings.HasSuffix(line, "\n") {
		return nil, false
	}
	for _, w := range words[1:] {
		p, err := netip.ParseAddrPort(w)
		if err != nil {
			return nil, false
		}
		ports = append(ports, p)
	}
	return ports, true
}

// Start runs program, a usui-net, for a card with that many queue pairs. What it says goes to stderr.
func Start(program string, cfg Config, queuePairs int, stderr io.Writer) (_ *Process, err error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	p := &Process{cfg: cfg, done: make(chan struct{})}
	var theirs []*os.File
	defer func() {
		closeAll(theirs)
		if err != nil {
			p.closeFrames()
		}
	}()
	for range queuePairs {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return nil, os.NewSyscallError("socketpair", err)
		}
		for _, fd := range fds {
			enlarge(fd)
		}
		p.Frames = append(p.Frames, fds[0])
		theirs = append(theirs, os.NewFile(uintptr(fds[1]), Name))
	}
	last := &lastLine{next: stderr}
	p.cmd = exec.Command(program, append(cfg.args(), "--queues", strconv.Itoa(queuePairs))...)
	p.cmd.Env = []string{}
	p.cmd.Dir = "/"
	p.cmd.Stderr = last
	p.cmd.ExtraFiles = theirs // the child's descriptors from 3 on
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	if err := p.await(out, last); err != nil {
		return nil, err
	}
	return p, nil
}

// frameBytes is what each direction of a socket may hold: a few segments of 64 KiB. Without privilege the kernel cuts it down to
// net.core.wmem_max.
const frameBytes = 1 << 20

func enlarge(fd int) {
	// What the kernel does not grant costs speed only.
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, frameBytes) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, frameBytes)
	}
}

// await waits until the process is ready, or ends it.
func (p *Process) await(out io.ReadCloser, last *lastLine) error {
	line := make(chan string, 1)
	go func() { // ends with the process at the latest
		text, _ := bufio.NewReader(io.LimitReader(out, readyBytes)).ReadString('\n') // cut off: not the line
		line <- text
		_, _ = io.Copy(io.Discard, out)
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	patience := time.NewTimer(startTime)
	defer patience.Stop()
	select {
	case text := <-line:
		var ok bool
		if p.Ports, ok = parseReady(text); ok && len(p.Ports) == len(p.cfg.Publish) {
			last.begun()
			return nil
		}
	case <-patience.C:
		_ = p.cmd.Process.Kill() // it has ended already, or ends now
		<-p.done
		return fmt.Errorf("%s: not ready after %v", Name, startTime)
	}
	_ = p.cmd.Process.Kill()
	<-p.done
	if said := last.text(); said != "" {
		return errors.New(said)
	}
	return fmt.Errorf("%s: ended before it was ready: %v", Name, p.err)
}

// PID is the process's id, as long as it has not ended.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// closeFrames closes the card's ends.
func (p *Process) closeFrames() {
	for _, fd := range p.Frames {
		_ = unix.Close(fd) // nothing of ours is lost by an error
	}
}

// Close closes the card's ends, waits for the process, and ends it if it does not end by itself.
func (p *Process) Close() error {
	p.end.Do(func() {
		p.closeFrames()
		patience := time.NewTimer(endTime)
		defer patience.Stop()
		select {
		case <-p.done:
		case <-patience.C:
			_ = p.cmd.Process.Kill()
			<-p.done
		}
	})
	return nil
}

// closeAll closes files that a child has its own of.
func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}

// lastLine keeps what a process says until it is ready, where it is the reason why it is not, and passes on what it says then.
type lastLine struct {
	next io.Writer

	mu    sync.Mutex
	said  []byte
	ready bool
}

// Write implements io.Writer.
func (l *lastLine) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.ready {
		l.said = append(l.said, p[:min(len(p), 4096-len(l.said))]...)
		return len(p), nil
	}
	if l.next != nil {
		// A log that cannot be written must not stop the process.
		_, _ = l.next.Write(p)
	}
	return len(p), nil
}

func (l *lastLine) begun() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ready = true
}

func (l *lastLine) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.TrimSpace(string(l.said))
}
