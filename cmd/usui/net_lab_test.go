package main_test

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"usui/host/need"
	"usui/internal/lab"
)

const transferBytes = 16 << 20

// upload and download are the host's ends of one transfer each way. Both wait for the guest, in goroutines that end with the listener.
type transfer struct {
	listener net.Listener
	sum      chan string // of what went through
}

func upload(t *testing.T, address string) transfer {
	return listen(t, address, func(c net.Conn) ([]byte, error) { return io.ReadAll(c) })
}

func download(t *testing.T, address string) transfer {
	noise := make([]byte, transferBytes)
	rand.Read(noise)
	return listen(t, address, func(c net.Conn) ([]byte, error) {
		_, err := c.Write(noise)
		return noise, err
	})
}

// listen serves one connection and tells the sum of what crossed it.
func listen(t *testing.T, address string, serve func(net.Conn) ([]byte, error)) transfer {
	t.Helper()
	l, err := net.Listen("tcp4", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	tr := transfer{l, make(chan string, 1)}
	go func() {
		c, err := l.Accept()
		if err != nil {
			tr.sum <- err.Error()
			return
		}
		defer c.Close()
		b, err := serve(c)
		if err != nil {
			tr.sum <- err.Error()
			return
		}
		tr.sum <- fmt.Sprintf("%x", sha256.Sum256(b))
	}()
	return tr
}

func (tr transfer) port() int { return tr.listener.Addr().(*net.TCPAddr).Port }

// guestSide has the guest with address .2 of a network move transferBytes each way, and print the sums.
func guestSide(network string, up, down transfer) string {
	return fmt.Sprintf(`set -e
ip addr add %[1]s.2/24 dev eth0
ip link set eth0 up
until ping -c 1 -W 1 %[1]s.1 >/dev/null; do :; done
head -c %[2]d /dev/urandom >/tmp/up
nc %[1]s.1 %[3]d </tmp/up
nc %[1]s.1 %[4]d </dev/null >/tmp/down
echo "up $(sha256sum </tmp/up)"
echo "down $(sha256sum </tmp/down)"
`, network, transferBytes, up.port(), down.port())
}

// checkSums compares what the guest printed with what the host saw.
func checkSums(t *testing.T, stdout string, up, down transfer) {
	t.Helper()
	for _, want := range []string{"up " + <-up.sum, "down " + <-down.sum} {
		if !strings.Contains(stdout, want) {
			t.Errorf("the guest says %q, want %q", stdout, want)
		}
	}
}

// TestLabNetMadeTap gives the tap that usui run made an address as soon as its name is told.
func TestLabNetMadeTap(t *testing.T) {
	need.Lab(t, lab.KVM)
	path, err := filepath.Abs(program)
	if err != nil {
		t.Fatal(err)
	}
	up, down := upload(t, "0.0.0.0:0"), download(t, "0.0.0.0:0")
	cmd := exec.CommandContext(patience(t), path, "run", "--no-lab", "--net", "tap", "--", "sh", "-c", guestSide("10.8.0", up, down))
	var stdout bytes.Buffer
	cmd.Stdout = &stdout
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	named, name, said := regexp.MustCompile(`plugged into the tap (\S+), which goes away`), "", ""
	for lines := bufio.NewScanner(stderr); lines.Scan(); said += lines.Text() + "\n" {
		if m := named.FindStringSubmatch(lines.Text()); m != nil {
			name = m[1]
			host(t, "ip", "addr", "add", "10.8.0.1/24", "dev", name)
		}
	}
	if err := cmd.Wait(); err != nil || name == "" {
		t.Fatalf("usui run: %v; stderr:\n%s", err, said)
	}
	checkSums(t, stdout.String(), up, down)
	if _, err := net.InterfaceByName(name); err == nil {
		t.Errorf("the interface %s is still there", name)
	}
}

// TestLabNetSeveralQueues uses a tap that is there, with two queue pairs and a large MTU.
func TestLabNetSeveralQueues(t *testing.T) {
	severalQueues(t, "")
}

// TestLabNetVhost has the lab's kernel serve them.
func TestLabNetVhost(t *testing.T) {
	severalQueues(t, ",vhost")
}

func severalQueues(t *testing.T, option string) {
	need.Lab(t, lab.KVM)
	host(t, "ip", "tuntap", "add", "dev", "many", "mode", "tap", "multi_queue")
	t.Cleanup(func() { exec.Command("ip", "link", "del", "many").Run() })
	host(t, "ip", "addr", "add", "10.9.0.1/24", "dev", "many")
	up, down := upload(t, "10.9.0.1:0"), download(t, "10.9.0.1:0")
	script := guestSide("10.9.0", up, down) + `
echo "mtu $(cat /sys/class/net/eth0/mtu) mac $(cat /sys/class/net/eth0/address) queues $(ls -d /sys/class/net/eth0/queues/rx-* | wc -l)"
grep -c 'virtio.*-input.[01]$' /proc/interrupts`
	r := guestRun{args: []string{"--cpus", "2", "--net", "tap=many,queues=2,mtu=4000,mac=02:00:00:00:00:0a" + option, "--", "sh", "-c", script}}
	r.run(t)
	checkSums(t, string(r.stdout), up, down)
	if want := "mtu 4000 mac 02:00:00:00:00:0a queues 2\n2\n"; !strings.HasSuffix(string(r.stdout), want) {
		t.Errorf("the guest says %q, want %q at the end", r.stdout, want)
	}
}
