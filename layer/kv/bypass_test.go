package kv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http/httptest"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"

	"usui/host/need"
	"usui/host/xdp/xdptest"
	"usui/layer/kv/disk"
	"usui/layer/kv/engine"
)

// ownAddress is one that no kernel has.
const ownAddress = "10.9.0.77"

// serveBypass serves a new folder at an address past the kernel's network stack, until the test ends, and returns the end of the cable that
// clients are at.
func serveBypass(t *testing.T) (far *xdptest.End) {
	t.Helper()
	far, s := startBypass(t, "127.0.0.1:0")
	if got, want := s.BypassAddress(), ownAddress+":6379 (native, copy)"; got != want {
		t.Errorf("BypassAddress() = %q, want %q", got, want)
	}
	return far
}

// startBypass is serveBypass, at an address of the kernel's, too.
func startBypass(t testing.TB, listen string) (far *xdptest.End, s *Store) {
	t.Helper()
	near, far := xdptest.Cable(t)
	folder, err := disk.Open(t.TempDir(), engine.IsOurs, disk.Ordinary)
	if err != nil {
		t.Fatal(err)
	}
	near.Do(func() {
		s, err = New(Config{Listen: listen, Folder: folder, SegmentBytes: 1 << 20, Loops: 2,
			Bypass: Bypass{Interface: near.Name, Address: netip.MustParseAddr(ownAddress), Port: 6379, MemoryBytes: 16 << 20}})
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- errors.Join(s.Run(ctx), s.Close()) }() // ends with ctx
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return far, s
}

// dialFar connects from an end of a cable.
func dialFar(t *testing.T, e *xdptest.End) *peer {
	t.Helper()
	var p *peer
	var err error
	e.Do(func() { p, err = dial(ownAddress + ":6379") })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// infoOf reads numbers from INFO bypass.
func infoOf(t *testing.T, p *peer) map[string]string {
	t.Helper()
	all := map[string]string{}
	for line := range strings.Lines(p.must(t, "info", "bypass")) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			all[name] = value
		}
	}
	return all
}

func TestClientsComePastTheKernel(t *testing.T) {
	far := serveBypass(t)
	var wait sync.WaitGroup
	for i := range 8 {
		p := dialFar(t, far)
		wait.Go(func() {
			for n := range 60 {
				key, value := fmt.Sprintf("k:%d:%d", i, n), strings.Repeat(fmt.Sprintf("%d.%d ", i, n), 1+n*n*2)
				if got, err := p.do("set", key, value); got != "+OK\r\n" || err != nil {
					t.Errorf("set of %d bytes = %q, %v", len(value), got, err)
					return
				}
				if got, err := p.do("get", key); got != fmt.Sprintf("$%d\r\n%s\r\n", len(value), value) || err != nil {
					t.Errorf("get of %d bytes has %d, %v", len(value), len(got), err)
					return
				}
			}
			if got, err := p.do("quit"); got != "+OK\r\n" || err != nil {
				t.Errorf("quit = %q, %v", got, err)
			}
			if got, err := p.reply(); err == nil {
				t.Errorf("after quit: %q", got)
			}
		})
	}
	wait.Wait()
	if got := dialFar(t, far).must(t, "dbsize"); got != ":480\r\n" {
		t.Errorf("dbsize = %q", got)
	}
}

func TestCommandsOfOneFrameAreCopiedOnce(t *testing.T) {
	far := serveBypass(t)
	p := dialFar(t, far)
	for range 50 {
		p.must(t, "set", "key", strings.Repeat("v", 1000))
	}
	got := infoOf(t, p)
	if got["bypass_bytes_joined"] != "0" || got["bypass_bytes_merged"] != "0" || got["bypass_frames_bad"] != "0" {
		t.Errorf("50 values of 1000 bytes: %v", got)
	}
	for range 50 {
		p.must(t, "set", "key", strings.Repeat("v", 10_000))
	}
	got = infoOf(t, p)
	joined, _ := strconv.Atoi(got["bypass_bytes_joined"])
	if parts, _ := strconv.Atoi(got["bypass_bytes_in_parts"]); joined > 50*100 || parts < 50*9_900 || got["bypass_system_calls"] == "0" {
		t.Errorf("50 values that lie in several frames each: %v", got)
	}
}

// TestCommandsAreCutAnywhere sends commands in pieces of any size, so that frames end at any byte.
func TestCommandsAreCutAnywhere(t *testing.T) {
	far := serveBypass(t)
	r := rand.New(rand.NewPCG(5, 6))
	p := dialFar(t, far)
	p.must(t, "ping")
	for round := range 150 {
		value := make([]byte, []int{10, 1000, 1100, 5000, 70_000}[r.IntN(5)]+r.IntN(2000))
		for i := range value {
			value[i] = byte('a' + r.IntN(26))
		}
		v := string(value)
		get := fmt.Sprintf("$%d\r\n%s\r\n", len(v), v)
		var out []byte
		var want []string
		add := func(reply string, args ...string) { out, want = append(out, encode(args...)...), append(want, reply) }
		switch round % 8 {
		case 0:
			add("+OK\r\n", "set", "k", v)
		case 1:
			add("+OK\r\n", "set", "k", v, "ex", "100")
			add("+OK\r\n", "set", "k2", v)
		case 2:
			add("+OK\r\n", "setex", "k", "100", v)
		case 3:
			add("+OK\r\n", "multi")
			add("+QUEUED\r\n", "set", "k", v)
			add("+QUEUED\r\n", "append", "k", v)
			add("*2\r\n+OK\r\n:"+fmt.Sprint(2*len(v))+"\r\n", "exec")
			add("+OK\r\n", "set", "k", v)
		case 4:
			add("+OK\r\n", "client", "pause", "1")
			add("+OK\r\n", "set", "k", v)
		case 5:
			add("+OK\r\n", "mset", "k", v, "k2", v, "k3", v)
			add(get, "get", "k3")
		case 6:
			add("-ERR syntax error\r\n", "set", "k", v, "nonsense")
			add("+OK\r\n", "set", "k", v)
		case 7:
			add("$3\r\nold\r\n", "set", "k", v, "get")
		}
		add(get, "get", "k")
		if round%8 == 7 {
			p.must(t, "set", "k", "old")
		}
		sent := make(chan error, 1)
		go func() { // ends when all is sent
			left := out
			for len(left) > 0 {
				n := min(len(left), 1+r.IntN([]int{3, 100, 1500, 20_000}[r.IntN(4)]))
				if _, err := p.Write(left[:n]); err != nil {
					sent <- err
					return
				}
				left = left[n:]
			}
			sent <- nil
		}()
		for i, w := range want {
			if got, err := p.reply(); err != nil || got != w {
				t.Fatalf("round %d, reply %d = %.100q (%d bytes), %v; want %.100q (%d bytes)", round, i, got, len(got), err, w, len(w))
			}
		}
		if err := <-sent; err != nil {
			t.Fatal(err)
		}
	}
	// The one that is held has this very command.
	if got := infoOf(t, p); got["bypass_frames_held"] != "1" || got["bypass_frames_in_parts"] != "0" || got["bypass_bytes_in_parts"] == "0" {
		t.Errorf("at the end: %v", got)
	}
}

func TestWhoDoesNotFetchIsNotReadFrom(t *testing.T) {
	far := serveBypass(t)
	p := dialFar(t, far)
	p.must(t, "set", "key", strings.Repeat("v", 10_000))
	const commands = 3000
	sent := make(chan error, 1)
	go func() { // ends when all is sent, or with the connection
		_, err := p.Write([]byte(strings.Repeat("get key\r\n", commands)))
		sent <- err
	}()
	other := dialFar(t, far)
	other.must(t, "ping")
	for range commands {
		if got, err := p.reply(); err != nil || len(got) != 10_010 {
			t.Fatalf("a reply of %d bytes, %v", len(got), err)
		}
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
}

func TestWhoEndsIsAnsweredFirst(t *testing.T) {
	far := serveBypass(t)
	for range 20 {
		p := dialFar(t, far)
		if _, err := p.Write([]byte("ping\r\nget nothing\r\n")); err != nil {
			t.Fatal(err)
		}
		if err := p.Conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(p); err != nil || string(got) != "+PONG\r\n$-1\r\n" {
			t.Fatalf("%q, %v", got, err)
		}
	}
}

func TestPublishingAndPausesWorkPastTheKernel(t *testing.T) {
	far := serveBypass(t)
	p, q := dialFar(t, far), dialFar(t, far)
	p.must(t, "subscribe", "news")
	q.must(t, "publish", "news", "hello")
	if got, err := p.reply(); err != nil || !strings.Contains(got, "hello") {
		t.Errorf("%q, %v", got, err)
	}
	if got := q.must(t, "client", "list"); !strings.Contains(got, "laddr="+ownAddress+":6379") {
		t.Errorf("client list = %q", got)
	}
	q.must(t, "client", "pause", "50")
	q.must(t, "ping") // is answered when the pause is over
}

func TestClientsBlockPastTheKernel(t *testing.T) {
	far := serveBypass(t)
	admin, p, q := dialFar(t, far), dialFar(t, far), dialFar(t, far)
	if err := blocks(admin, p, "blpop", "l", "0"); err != nil {
		t.Fatal(err)
	}
	started := make(chan bool)
	go func() { // ends when the replies are read
		p.Write(encode("ping"))
		close(started)
		p.Write(bytes.Repeat(encode("ping"), 99_999))
	}()
	<-started
	admin.must(t, "rpush", "l", "x")
	for i := range 100_001 {
		if r, err := p.reply(); err != nil || i == 0 && !strings.Contains(r, "x") || i > 0 && r != "+PONG\r\n" {
			t.Fatalf("reply %d = %q, %v", i, r, err)
		}
	}
	if err := blocks(admin, q, "blpop", "l", "0"); err != nil {
		t.Fatal(err)
	}
	q.Write(encode("ping"))
	for q.Close(); !strings.Contains(admin.must(t, "info", "clients"), "blocked_clients:0"); {
		runtime.Gosched()
	}
	admin.must(t, "rpush", "l", "y")
	if r := admin.must(t, "lpop", "l"); r != "$1\r\ny\r\n" {
		t.Errorf("LPOP = %q, want what a client that has left did not take", r)
	}
}

func TestProgramsOfRedisWorkPastTheKernel(t *testing.T) {
	client, bench := need.Tool(t, "redis-cli", "redis-tools"), need.Tool(t, "redis-benchmark", "redis-tools")
	far := serveBypass(t)
	if got := far.Run(t, client, "-h", ownAddress, "set", "greeting", "hello"); got != "OK\n" {
		t.Errorf("redis-cli set = %q", got)
	}
	if got := far.Run(t, client, "-h", ownAddress, "get", "greeting"); got != "hello\n" {
		t.Errorf("redis-cli get = %q", got)
	}
	for _, args := range []string{"-n 2000 -c 20 -P 1 -t set,get,incr", "-n 5000 -c 20 -P 16 -d 3000 -t set,get", "-n 2000 -c 50 -k 0 -t ping"} {
		got := far.Run(t, bench, append([]string{"-h", ownAddress, "-q"}, strings.Fields(args)...)...)
		if strings.Contains(strings.ToLower(got), "error") || !strings.Contains(got, "requests per second") {
			t.Errorf("redis-benchmark %s:\n%s", args, got)
		}
	}
}

func TestMetricsOfTheBypass(t *testing.T) {
	far, s := startBypass(t, "127.0.0.1:0")
	p := dialFar(t, far)
	p.must(t, "set", "k", strings.Repeat("v", 5000))
	answer := httptest.NewRecorder()
	s.serveMetrics(answer, httptest.NewRequest("GET", "/metrics", nil))
	got := answer.Body.String()
	for _, want := range []string{
		"usui_kv_calls_total ", "usui_kv_bypass_read_total ", "usui_kv_bypass_joined_total ", "usui_kv_bypass_parts_total 5000\n", "usui_kv_bypass_tcp_accepted_total 1\n",
		"usui_kv_bypass_tcp_connections 1\n", "usui_kv_bypass_card_frames_received_total ", "usui_kv_bypass_card_free_frames ",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the metrics lack %q:\n%s", want, got)
		}
	}
}

func TestABypassThatCannotBeLeavesNothing(t *testing.T) {
	near, _ := xdptest.Cable(t)
	for _, tt := range []struct{ name, want string }{
		{"nosuch", "interface nosuch: there is no such interface"},
		{"lo", "interface lo: hardware of type 772, want Ethernet"},
	} {
		folder, err := disk.Open(t.TempDir(), engine.IsOurs, disk.Ordinary)
		if err != nil {
			t.Fatal(err)
		}
		var s *Store
		near.Do(func() {
			s, err = New(Config{Listen: "127.0.0.1:7001", Folder: folder, SegmentBytes: 1 << 20,
				Bypass: Bypass{Interface: tt.name, Address: netip.MustParseAddr(ownAddress), Port: 6379, MemoryBytes: 16 << 20}})
		})
		if err == nil {
			s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("New on %s = %v, want %q", tt.name, err, tt.want)
		}
	}
}

// BenchmarkPastTheKernel compares the two ways to the server in system calls and CPU time for each command; how many commands there are in a
// second, on veth, says nothing of a network card.
func BenchmarkPastTheKernel(b *testing.B) {
	program := need.Tool(b, "redis-benchmark", "redis-tools")
	far, s := startBypass(b, "10.9.0.1:7000")
	count := func() (commands, calls uint64) {
		if err := s.server.Ask(func() {
			n := s.server.Snapshot()
			commands, calls = n.Server.Commands, n.Server.Calls+n.Bypass.Card.Calls
		}); err != nil {
			b.Fatal(err)
		}
		return commands, calls
	}
	for _, load := range []string{"-c 20 -t set", "-c 20 -P 16 -t set", "-c 20 -t get", "-c 20 -d 4000 -t set"} {
		for way, at := range map[string]string{"kernel": "-h 10.9.0.1 -p 7000", "bypass": "-h " + ownAddress} {
			b.Run(load+" "+way, func(b *testing.B) {
				commands, calls := count()
				cpu := processorTime(b, os.Getpid())
				far.Run(b, program, strings.Fields(fmt.Sprintf("%s %s -q -n %d", load, at, max(b.N, 100)))...)
				cpu = processorTime(b, os.Getpid()) - cpu
				commandsNow, callsNow := count()
				n := float64(commandsNow - commands)
				b.ReportMetric(float64(callsNow-calls)/n, "calls/command")
				b.ReportMetric(cpu/n, "cpu-us/command")
			})
		}
	}
}
