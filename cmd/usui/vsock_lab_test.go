package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	needs "usui/host/need" // doctor.go has a need of its own
	"usui/internal/lab"
)

// vsockGuestName is the name under which this test binary is [vsockGuest].
const vsockGuestName = "usui-vsock-guest"

const (
	vsockGuestPort = 52   // the guest listens
	vsockHostPort  = 1024 // the host listens
	vsockBytes     = 16 << 20
	vsockCID       = 42
)

// vsockNoise is what goes through the sockets.
func vsockNoise(seed byte) []byte {
	b := make([]byte, vsockBytes)
	rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

// endedStream is a stream that ends in each direction by itself.
type endedStream interface {
	io.ReadWriteCloser
	CloseWrite() error
}

// sendAndCompare sends noise, wants it back, and then the end.
func sendAndCompare(s endedStream, seed byte) error {
	noise := vsockNoise(seed)
	var sender sync.WaitGroup
	var sendErr error
	sender.Go(func() {
		_, err := s.Write(noise)
		sendErr = errors.Join(err, s.CloseWrite())
	})
	back, err := io.ReadAll(s)
	sender.Wait()
	if err := errors.Join(err, sendErr, s.Close()); err != nil {
		return err
	}
	if !bytes.Equal(back, noise) {
		return fmt.Errorf("%d bytes came back, and not the %d that were sent", len(back), len(noise))
	}
	return nil
}

// echo sends back what comes, to its end.
func echo(s endedStream) error {
	_, err := io.Copy(struct{ io.Writer }{s}, struct{ io.Reader }{s})
	return errors.Join(err, s.CloseWrite(), s.Close())
}

// vsockStream is a connected AF_VSOCK socket.
type vsockStream struct {
	*os.File
	fd int
}

func (s vsockStream) CloseWrite() error { return unix.Shutdown(s.fd, unix.SHUT_WR) }

func newVsockStream(fd int) (endedStream, error) {
	err := unix.SetNonblock(fd, true)
	return vsockStream{os.NewFile(uintptr(fd), "vsock"), fd}, err
}

func vsockSocket() (int, error) {
	return unix.Socket(unix.AF_VSOCK, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
}

func vsockDial(cid, port uint32) (endedStream, error) {
	fd, err := vsockSocket()
	if err != nil {
		return nil, err
	}
	if err := unix.Connect(fd, &unix.SockaddrVM{CID: cid, Port: port}); err != nil {
		return nil, fmt.Errorf("connect to %d:%d: %w", cid, port, err)
	}
	return newVsockStream(fd)
}

// vsockListen listens at a port of this machine. The function it returns takes one connection.
func vsockListen(port uint32) (accept func() (endedStream, error), err error) {
	fd, err := vsockSocket()
	if err != nil {
		return nil, err
	}
	if err := unix.Bind(fd, &unix.SockaddrVM{CID: unix.VMADDR_CID_ANY, Port: port}); err != nil {
		return nil, fmt.Errorf("bind port %d: %w", port, err)
	}
	if err := unix.Listen(fd, 1); err != nil {
		return nil, err
	}
	return func() (endedStream, error) {
		conn, _, err := unix.Accept4(fd, unix.SOCK_CLOEXEC)
		if err != nil {
			return nil, err
		}
		return newVsockStream(conn)
	}, nil
}

// vsockGuest is a program in the guest: it connects to the host, then the host connects to it.
func vsockGuest() {
	if err := vsockGuestBoth(); err != nil {
		fmt.Fprintln(os.Stderr, "guest:", err)
		os.Exit(1)
	}
}

func vsockGuestBoth() error {
	accept, err := vsockListen(vsockGuestPort)
	if err != nil {
		return err
	}
	if c, err := vsockDial(2, vsockHostPort+1); err == nil {
		return fmt.Errorf("a port where nobody listens took a connection: %v", c)
	}
	c, err := vsockDial(2, vsockHostPort)
	if err != nil {
		return err
	}
	if err := sendAndCompare(c, 1); err != nil {
		return fmt.Errorf("to the host and back: %w", err)
	}
	if c, err = accept(); err != nil {
		return err
	}
	return echo(c)
}

// vsockRun runs the program in a guest beside the host's side of it.
func vsockRun(t *testing.T, flag string, accept, dial func() (endedStream, error)) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	var host sync.WaitGroup
	var hostErr error
	host.Go(func() {
		hostErr = func() error {
			c, err := accept()
			if err != nil {
				return err
			}
			if err := echo(c); err != nil {
				return fmt.Errorf("echo: %w", err)
			}
			if c, err = dial(); err != nil {
				return err
			}
			return sendAndCompare(c, 2)
		}()
	})
	path := "/tmp/" + vsockGuestName
	// The lab's processor lets a guest hang now and then: then the test fails, and is run once more.
	ctx, stop := context.WithTimeoutCause(t.Context(), 4*time.Minute, errors.New("the guest hangs"))
	defer stop()
	cmd := exec.CommandContext(ctx, "../../bin/usui", "run", "--no-lab", "--vsock", flag,
		"--", "sh", "-c", "cat >"+path+" && chmod +x "+path+" && exec "+path)
	cmd.Stdin = bytes.NewReader(program)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%q: %v\n%s", cmd.Args, err, out)
	}
	host.Wait()
	if hostErr != nil {
		t.Errorf("the host's side: %v", hostErr)
	}
}

// TestLabVsockEcho sends 16 MiB to the host and back, and 16 MiB to the guest and back, with a stock guest.
func TestLabVsockEcho(t *testing.T) {
	needs.Lab(t, lab.KVM)
	dir := t.TempDir()
	path := filepath.Join(dir, "v.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: path + "_" + strconv.Itoa(vsockHostPort)})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	vsockRun(t, fmt.Sprintf("cid=%d,path=%s", vsockCID, path),
		func() (endedStream, error) { return l.AcceptUnix() },
		func() (endedStream, error) {
			c, err := net.DialUnix("unix", nil, &net.UnixAddr{Net: "unix", Name: path})
			if err != nil {
				return nil, err
			}
			if _, err := fmt.Fprintf(c, "CONNECT %d\n", vsockGuestPort); err != nil {
				return nil, err
			}
			answer, err := bufio.NewReaderSize(c, 16).ReadString('\n') // nothing follows it before we send something
			if err != nil || !strings.HasPrefix(answer, "OK ") {
				return nil, fmt.Errorf("answer %q: %v", answer, err)
			}
			return c, nil
		})
	if left, err := filepath.Glob(path); err != nil || len(left) > 0 {
		t.Errorf("%v is left behind, %v", left, err)
	}
}

// TestLabVsockEchoByVhost does the same with the host's kernel in the device's place.
func TestLabVsockEchoByVhost(t *testing.T) {
	needs.Lab(t, lab.KVM)
	needs.VhostVsock(t)
	accept, err := vsockListen(vsockHostPort)
	if err != nil {
		t.Fatal(err)
	}
	vsockRun(t, fmt.Sprintf("cid=%d,vhost", vsockCID), accept, func() (endedStream, error) { return vsockDial(vsockCID, vsockGuestPort) })
}
