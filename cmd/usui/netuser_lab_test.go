package main_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"usui/host/need"
	"usui/internal/lab"
)

// TestLabNetUser: the default guest comes up with an address, a resolver and a way to the host; it fetches a file from the host and sends
// one, and the host fetches one from it through a published port. What the guest gets by DHCP is the same.
func TestLabNetUser(t *testing.T) {
	need.Lab(t, lab.KVM)
	noise := make([]byte, transferBytes)
	rand.Read(noise)
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write(noise) })}
	go server.Serve(l) // ends with Close
	t.Cleanup(func() { server.Close() })
	up := upload(t, "127.0.0.1:0")
	published := freePort(t)

	script := fmt.Sprintf(`set -e
ip -4 addr show dev eth0 | grep -o 'inet [0-9./]*'
ip route | grep default
ping -c 1 -W 5 10.0.2.2 >/dev/null && echo ping
nslookup -type=a host.usui.internal 10.0.2.3 | grep 'Address.*10.0.2.2$'
udhcpc -i eth0 -n -q -f -s /bin/true 2>&1 | grep -o 'lease of 10.0.2.15 obtained'
wget -q -O /tmp/down http://host.usui.internal:%[1]d/file
echo "down $(sha256sum </tmp/down)"
nc 10.0.2.2 %[2]d </tmp/down
if nc -w 5 10.0.2.2 1 </dev/null 2>/dev/null; then echo 'port 1 is open'; fi
mkdir /tmp/www; mv /tmp/down /tmp/www/file
httpd -p 80 -h /tmp/www
echo serving >&2
read go_on
`, l.Addr().(*net.TCPAddr).Port, up.port())
	stdout := runServing(t, script, []string{"--net", "user", "--publish", strconv.Itoa(published) + ":80"}, func() {
		got, err := fetch(t.Context(), fmt.Sprintf("http://127.0.0.1:%d/file", published))
		if err != nil || !bytes.Equal(got, noise) {
			t.Errorf("through the published port: %d bytes, %v, want %d", len(got), err, len(noise))
		}
	})
	sum := fmt.Sprintf("%x", sha256.Sum256(noise))
	for _, want := range []string{"inet 10.0.2.15/24\n", "default via 10.0.2.2 ", "ping\n", "10.0.2.2\n", "lease of 10.0.2.15 obtained\n", "down " + sum} {
		if !strings.Contains(stdout, want) {
			t.Errorf("the guest says %q, want %q in it", stdout, want)
		}
	}
	if got := <-up.sum; got != sum {
		t.Errorf("the host got what sums to %s, want %s", got, sum)
	}
	if strings.Contains(stdout, "open") {
		t.Error("the guest reached a port of the host that nobody listens on")
	}
}

// runServing runs a script in a guest. It says when it serves, and ends when it is spoken to.
func runServing(t *testing.T, script string, flags []string, meanwhile func()) (stdout string) {
	t.Helper()
	path, err := filepath.Abs(program)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(patience(t), path, append(append([]string{"run", "--no-lab"}, flags...), "--", "sh", "-c", script)...)
	var out bytes.Buffer
	cmd.Stdout = &out
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	for p := make([]byte, 4096); !strings.Contains(said.String(), "serving\n"); {
		n, err := stderr.Read(p)
		said.Write(p[:n])
		if err != nil {
			break
		}
	}
	if strings.Contains(said.String(), "serving\n") {
		meanwhile()
	}
	stdin.Close()
	_, _ = io.Copy(&said, stderr)
	if err := cmd.Wait(); err != nil && cmd.ProcessState.ExitCode() != 1 { // 1: read found the end
		t.Fatalf("usui run: %v; stdout:\n%s\nstderr:\n%s", err, &out, &said)
	}
	return out.String()
}

// freePort is one that nobody listens on now.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func fetch(ctx context.Context, url string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	return io.ReadAll(response.Body)
}
