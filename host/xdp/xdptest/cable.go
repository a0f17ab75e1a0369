package xdptest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"usui/host/need"
)

// End is one end of a cable.
type End struct {
	Name    string // of the interface
	Address string // IPv4
	PID     int    // names the namespace to ip(8)
	calls   chan func()
}

// Cable makes two network namespaces and a pair of veth interfaces between them, with addresses 10.9.0.1 and 10.9.0.2 and one queue in each
// direction. They are gone with the test.
func Cable(t testing.TB) (near, far *End) {
	t.Helper()
	return CableOf(t, 1)
}

// CableOf is Cable with several queues in each direction.
func CableOf(t testing.TB, queues int) (near, far *End) {
	t.Helper()
	need.Root(t)
	need.BPF(t)
	need.Tool(t, "ip", "iproute2")
	near, far = newEnd(t, "near", "10.9.0.1"), newEnd(t, "far", "10.9.0.2")
	n := fmt.Sprint(queues)
	near.Run(t, "ip", "link", "add", near.Name, "numrxqueues", n, "numtxqueues", n, "type", "veth",
		"peer", "name", far.Name, "numrxqueues", n, "numtxqueues", n, "netns", fmt.Sprint(far.PID))
	for _, e := range []*End{near, far} {
		e.Run(t, "ip", "addr", "add", e.Address+"/24", "dev", e.Name)
		e.Run(t, "ip", "link", "set", e.Name, "up")
		e.Run(t, "ip", "link", "set", "lo", "up")
	}
	return near, far
}

// newEnd starts a thread with a network of its own.
func newEnd(t testing.TB, name, address string) *End {
	t.Helper()
	e := &End{Name: name, Address: address, calls: make(chan func())}
	started, ended := make(chan error), make(chan struct{})
	go func() { // ends when calls is closed
		defer close(ended)
		runtime.LockOSThread() // never unlocked: the thread ends, and its namespace with it
		err := unix.Unshare(unix.CLONE_NEWNET)
		e.PID = unix.Gettid()
		started <- err
		for f := range e.calls {
			f()
		}
	}()
	t.Cleanup(func() {
		close(e.calls)
		<-ended
	})
	if err := <-started; err != nil {
		t.Fatalf("unshare the network: %v", err)
	}
	return e
}

// Do runs f on the thread whose network this end is. Sockets and processes that f makes belong to it for good. f must not end the test.
func (e *End) Do(f func()) {
	done := make(chan struct{})
	e.calls <- func() {
		defer close(done)
		f()
	}
	<-done
}

// Run runs a program there, which must succeed, and returns what it printed.
func (e *End) Run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := e.Output(name, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return out
}

// Output runs a program there and returns what it printed.
func (e *End) Output(name string, args ...string) (string, error) {
	c := exec.Command(name, args...)
	var b strings.Builder
	c.Stdout, c.Stderr = &b, &b
	var err error
	e.Do(func() { err = c.Start() })
	if err != nil {
		return "", err
	}
	err = c.Wait()
	return b.String(), err
}

// Packets is a packet socket on the end's interface.
func (e *End) Packets(t testing.TB) *os.File {
	t.Helper()
	var fd int
	var err error
	e.Do(func() { fd, err = packets(e.Name) })
	if err != nil {
		t.Fatalf("packet socket: %v", err)
	}
	f := os.NewFile(uintptr(fd), "packets of "+e.Name)
	t.Cleanup(func() { f.Close() })
	return f
}

func packets(name string) (fd int, err error) {
	const all = unix.ETH_P_ALL
	fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, unix.Close(fd))
		}
	}()
	r, err := unix.NewIfreq(name)
	if err != nil {
		return -1, err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, r); err != nil {
		return -1, err
	}
	return fd, unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all<<8 | all>>8, Ifindex: int(r.Uint32())})
}
