package virtiofsd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"usui/host/vhostuser"
	"usui/internal/tail"
)

// Times for a program to end, by itself and after it was killed.
const (
	closeGrace = 5 * time.Second
	killGrace  = 5 * time.Second
)

// wordsKept is how much is kept of what the program says, in bytes.
const wordsKept = 2 << 10

// Config describes a folder to serve.
type Config struct {
	Folder   string // an absolute path without symbolic links
	ReadOnly bool
}

// Server is a virtiofsd that serves one folder over one connection.
type Server struct {
	// Client is the connection.
	Client *vhostuser.Client
	// Sandbox is how the program confines itself: namespace, chroot or none.
	Sandbox string

	cmd   *exec.Cmd
	words *tail.Tail
	done  chan struct{} // closed when all processes are gone

	mu     sync.Mutex
	reaped bool // guarded by mu: the process group's number may be another's
}

// Start starts a virtiofsd and agrees with it on the protocol.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	p, err := find(ctx)
	if err != nil {
		return nil, err
	}
	sandboxes, err := p.sandboxes()
	if err != nil {
		return nil, err
	}
	var first error
	for _, sandbox := range sandboxes {
		s, err := p.start(cfg, sandbox)
		if err == nil {
			return s, nil
		}
		if first == nil {
			first = err
		}
	}
	return nil, first
}

// start is Start with one sandbox.
func (p program) start(cfg Config, sandbox string) (*Server, error) {
	conn, listener, err := socket()
	if err != nil {
		return nil, err
	}
	s := &Server{Sandbox: sandbox, words: tail.New(wordsKept, nil), done: make(chan struct{})}
	s.cmd = exec.Command(p.path, p.args(cfg, sandbox, 3)...)
	s.cmd.ExtraFiles = []*os.File{listener}
	s.cmd.Stdout, s.cmd.Stderr = s.words, s.words
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go s.run(cfg.ReadOnly && os.Geteuid() == 0, started) // ends with the processes
	err = <-started
	listener.Close() // the program alone has it now: when it ends, the connection does
	if err != nil {
		conn.Close()
		return nil, err
	}
	if s.Client, err = vhostuser.New(vhostuser.Config{Conn: conn}); err != nil {
		s.End()
		return nil, fmt.Errorf("%s with sandbox %s: %w%s", p.path, sandbox, err, s.saying())
	}
	return s, nil
}

// saying is what the program said, for the end of an error.
func (s *Server) saying() string {
	if words := s.words.String(); words != "" {
		return "; it says: " + words
	}
	return ""
}

// Words are the last lines that the program said; may be empty.
func (s *Server) Words() string { return s.words.String() }

// socket makes a connection whose other end waits in the backlog of listener.
func socket() (conn *net.UnixConn, listener *os.File, err error) {
	dir, err := os.MkdirTemp("", "usui-share-") // nobody else can enter it
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if gone := os.RemoveAll(dir); err == nil {
			err = gone
		}
	}()
	address := &net.UnixAddr{Name: filepath.Join(dir, "s"), Net: "unix"}
	l, err := net.ListenUnix("unix", address)
	if err != nil {
		return nil, nil, err
	}
	defer l.Close()
	if conn, err = net.DialUnix("unix", nil, address); err != nil {
		return nil, nil, err
	}
	if listener, err = l.File(); err != nil {
		conn.Close()
		return nil, nil, err
	}
	return conn, listener, nil
}

// run starts the program and waits for the end of all its processes. The kernel kills the program when the thread that started it ends, so the
// thread is locked; and since it may be in a mount namespace of its own, it is never given back.
func (s *Server) run(readOnly bool, started chan<- error) {
	runtime.LockOSThread()
	if readOnly {
		if err := readOnlyNamespace(); err != nil {
			started <- err
			return
		}
	}
	if err := s.cmd.Start(); err != nil {
		started <- err
		return
	}
	started <- nil
	for errors.Is(unix.Waitid(unix.P_PID, s.cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil), unix.EINTR) {
	}
	s.kill() // a child that has lost its parent
	s.mu.Lock()
	s.reaped = true
	s.mu.Unlock()
	// It waits for the end of the pipe too, which all processes of the program hold until they have given up their memory. How they ended
	// is of no interest: the connection tells.
	_ = s.cmd.Wait()
	close(s.done)
}

// readOnlyNamespace puts this thread, and what it starts, into a mount namespace in which nothing can be written.
func readOnlyNamespace() error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("read-only folder: %w", os.NewSyscallError("unshare", err))
	}
	all := &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY, Propagation: unix.MS_PRIVATE}
	if err := unix.MountSetattr(unix.AT_FDCWD, "/", unix.AT_RECURSIVE, all); err != nil {
		return fmt.Errorf("read-only folder: %w", os.NewSyscallError("mount_setattr", err))
	}
	return nil
}

// kill kills the program and what it started.
func (s *Server) kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.reaped {
		// An error means that they are gone already.
		_ = unix.Kill(-s.cmd.Process.Pid, unix.SIGKILL)
	}
}

// End ends the server by force. It may be called by anyone and more than once.
func (s *Server) End() {
	s.kill()
	s.ended(killGrace)
}

// Close ends the connection and with it the server.
func (s *Server) Close() error {
	err := s.Client.Close()
	if !s.ended(closeGrace) {
		s.End()
	}
	return err
}

// ended waits until all processes are gone or the time is up.
func (s *Server) ended(limit time.Duration) bool {
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case <-s.done:
		return true
	case <-t.C:
		return false
	}
}
