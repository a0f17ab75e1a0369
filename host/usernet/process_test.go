package usernet_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"usui/host/usernet"
)

// program builds usui-net as the Makefile does, once.
var program = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "usernet-test-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, usernet.Name)
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, "usui/cmd/usui-net")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", errors.New(string(out))
	}
	return path, nil
})

func TestMain(m *testing.M) {
	status := m.Run()
	if path, err := program(); err == nil {
		os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(status)
}

// start starts usui-net, whose last words come back when it is closed.
func start(t *testing.T, cfg usernet.Config, queuePairs int) (*usernet.Process, error) {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	p, err := usernet.Start(path, cfg, queuePairs, os.Stderr)
	if err == nil {
		t.Cleanup(func() { p.Close() })
	}
	return p, err
}

// arpQuestion asks for the gateway, behind a virtio header.
var arpQuestion = "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" + "\xff\xff\xff\xff\xff\xff\x52\x54\x00\x12\x34\x56\x08\x06" +
	"\x00\x01\x08\x00\x06\x04\x00\x01\x52\x54\x00\x12\x34\x56\x0a\x00\x02\x0f\x00\x00\x00\x00\x00\x00\x0a\x00\x02\x02"

func TestProcessServesACard(t *testing.T) {
	p, err := start(t, usernet.Default(), 2)
	if err != nil {
		t.Fatal(err)
	}
	if err := usernet.SendDriver(p.Frames[0], usernet.Driver{Offload: usernet.OffloadChecksum, Pairs: 2}); err != nil {
		t.Fatal(err)
	}
	for i, f := range p.Frames {
		if _, err := unix.Write(f, []byte(arpQuestion)); err != nil {
			t.Fatal(err)
		}
		answer := make([]byte, 100)
		if _, err := unix.Poll([]unix.PollFd{{Fd: int32(p.Frames[0]), Events: unix.POLLIN}}, -1); err != nil && err != unix.EINTR {
			t.Fatal(err)
		}
		n, err := unix.Read(p.Frames[0], answer) // what has no flow comes by the first queue
		if err != nil || !bytes.Contains(answer[:n], []byte("\x0a\x00\x02\x02\x52\x54\x00\x12\x34\x56")) {
			t.Errorf("queue %d: answer % x, %v, want the gateway's", i, answer[:n], err)
		}
	}
}

// TestProcessEndsWithItsCard: as when the monitor is killed, whose ends the kernel closes.
func TestProcessEndsWithItsCard(t *testing.T) {
	p, err := start(t, usernet.Default(), 2)
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range p.Frames { // of which this process still has the number: Close closes nothing else
		if err := unix.Shutdown(fd, unix.SHUT_RDWR); err != nil {
			t.Fatal(err)
		}
	}
	<-p.Done()
}

// TestMonitorIsKilled: the process ends though nobody told it to.
func TestMonitorIsKilled(t *testing.T) {
	const variable = "USUI_TEST_USERNET_MONITOR"
	if path := os.Getenv(variable); path != "" { // the monitor: it says who serves it, and waits
		p, err := usernet.Start(path, usernet.Default(), 1, os.Stderr)
		if err != nil {
			t.Fatal(err)
		}
		os.Stdout.WriteString("process " + strconv.Itoa(p.PID()) + "\n")
		select {}
	}
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	monitor := exec.Command(os.Args[0], "-test.run=^TestMonitorIsKilled$")
	monitor.Env = append(os.Environ(), variable+"="+path)
	// usui-net has the other end of its standard output closed when it ends, and this pipe with it.
	said, err := monitor.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	alive, inherited, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer alive.Close()
	monitor.Stderr = inherited // an *os.File is passed on as it is, to usui-net too
	if err := monitor.Start(); err != nil {
		t.Fatal(err)
	}
	inherited.Close()
	line := make([]byte, 64)
	n, err := said.Read(line)
	if err != nil || !strings.HasPrefix(string(line[:n]), "process ") {
		t.Fatalf("monitor said %q, %v", line[:n], err)
	}
	if err := monitor.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = monitor.Wait()
	if text, err := io.ReadAll(alive); err != nil || len(text) > 0 { // ends when nobody has its other end
		t.Errorf("last words %q, %v, want none", text, err)
	}
}

func TestProcessTellsItsPorts(t *testing.T) {
	cfg := usernet.Default()
	for _, text := range []string{"0:80", "0:53/udp"} {
		p, err := usernet.ParsePublish(text)
		if err != nil {
			t.Fatal(err)
		}
		cfg.Publish = append(cfg.Publish, p)
	}
	p, err := start(t, cfg, 1)
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Ports) != 2 || p.Ports[0].Port() == 0 {
		t.Fatalf("ports %v, want two", p.Ports)
	}
	c, err := net.Dial("tcp", p.Ports[0].String())
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

func TestProcessSaysWhatIsWrong(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cfg := usernet.Default()
	p, err := usernet.ParsePublish(l.Addr().String() + ":80")
	if err != nil {
		t.Fatal(err)
	}
	cfg.Publish = []usernet.Publish{p}
	if _, err := start(t, cfg, 1); err == nil || !strings.HasPrefix(err.Error(), "usui-net: publish 127.0.0.1:") || !strings.HasSuffix(err.Error(), "address already in use") {
		t.Errorf("Start with a port in use = %v", err)
	}
	if _, err := usernet.Start("/bin/true", usernet.Default(), 1, nil); err == nil || !strings.Contains(err.Error(), "before it was ready") {
		t.Errorf("Start of another program = %v", err)
	}
	if _, err := usernet.Start("/none", usernet.Default(), 1, nil); err == nil {
		t.Error("Start of no program = nil")
	}
}

// TestProcessByHand: who starts it himself is told.
func TestProcessByHand(t *testing.T) {
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{nil, {"--queues", "1"}, {"extra"}} {
		out, err := exec.Command(path, args...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), "usui run --net user") {
			t.Errorf("usui-net %q: %v, %q, want an error that names usui run", args, err, out)
		}
	}
}

// TestProcessGivesUpPrivileges reads what the kernel says of it.
func TestProcessGivesUpPrivileges(t *testing.T) {
	p, err := start(t, usernet.Default(), 1)
	if err != nil {
		t.Fatal(err)
	}
	threads, err := filepath.Glob("/proc/" + strconv.Itoa(p.PID()) + "/task/*/status")
	if err != nil || len(threads) == 0 {
		t.Fatalf("threads %q, %v", threads, err)
	}
	for _, file := range threads {
		status, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"NoNewPrivs:\t1\n", "CapPrm:\t0000000000000000\n", "CapEff:\t0000000000000000\n"} {
			if !bytes.Contains(status, []byte(want)) {
				t.Errorf("%s lacks %q", file, want)
			}
		}
	}
}
