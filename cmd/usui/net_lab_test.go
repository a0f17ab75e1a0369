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

// transfer is the host's end of one transfer, which waits for the guest in a goroutine that ends with the listener.
type transfer struct {
	listener net.Listener
	bytes    int64
	sum      chan string // of what went through
}

// upload takes what the guest sends.
func upload(t *testing.T, address string) transfer {
	return listen(t, address, transferBytes, func(c net.Conn, sum io.Writer) error {
		_, err := io.Copy(sum, c)
		return err
	})
}

// download sends random bytes.
func download(t *testing.T, address string) transfer { return downloadBytes(t, address, transferBytes) }

func downloadBytes(t *testing.T, address string, n int64) transfer {
	return listen(t, address, n, func(c net.Conn, sum io.Writer) error {
		_, err := io.CopyN(io.MultiWriter(c, sum), rand.Reader, n)
		return err
	})
}

// listen serves one connection and tells the sum of what crossed it.
func listen(t *testing.T, address string, n int64, serve func(c net.Conn, sum io.Writer) error) transfer {
	t.Helper()
	l, err := net.Listen("tcp4", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	tr := transfer{l, n, make(chan string, 1)}
	go func() {
		c, err := l.Accept()
		if err != nil {
			tr.sum <- err.Error()
			return
		}
		defer c.Close()
		sum := sha256.New()
		if err := serve(c, sum); err != nil {
			tr.sum <- err.Error()
			return
		}
		tr.sum <- fmt.Sprintf("%x", sum.Sum(nil))
	}()
	return tr
}

func (tr transfer) port() int { return tr.listener.Addr().(*net.TCPAddr).Port }

// guestSide has the guest with address .2 of a network move bytes each way, as many as down has, and print the sums.
func guestSide(network string, up, down transfer) string {
	return fmt.Sprintf(`set -e
ip addr add %[1]s.2/24 dev eth0
ip link set eth0 up
until ping -c 1 -W 1 %[1]s.1 >/dev/null; do :; done
`, network) + transfers(network+".1", up, down)
}

// transfers are those to and from the host at an address. They go through files: pipes cost an emulated guest more than the network does.
func transfers(host string, up, down transfer) string {
	return fmt.Sprintf(`
head -c %[2]d /dev/urandom >/tmp/copy
nc %[1]s %[3]d </tmp/copy
echo "up $(sha256sum </tmp/copy)"
rm /tmp/copy
nc %[1]s %[4]d </dev/null >/tmp/copy
echo "down $(sha256sum </tmp/copy)"
rm /tmp/copy
`, host, down.bytes, up.port(), down.port())
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
