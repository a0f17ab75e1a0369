package kv

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"usui/layer/kv/disk"
	"usui/layer/kv/disktest"
	"usui/layer/kv/engine"
)

// gate is a disk whose syncs of batches wait, and then end as the test says.
type gate struct {
	disk.Folder
	mu      sync.Mutex
	closed  bool       // guarded by mu; syncs wait
	entered chan bool  // gets a value when one waits
	result  chan error // gives its end
}

func newGate() *gate {
	return &gate{Folder: disktest.New(), entered: make(chan bool), result: make(chan error)}
}

func (g *gate) Create(name string, head []byte, size int64) (disk.File, error) {
	f, err := g.Folder.Create(name, head, size)
	return &gatedFile{File: f, gate: g}, err
}

func (g *gate) shut(closed bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = closed
}

type gatedFile struct {
	disk.File
	gate *gate
}

func (f *gatedFile) Sync() error {
	f.gate.mu.Lock()
	closed := f.gate.closed
	f.gate.mu.Unlock()
	if !closed {
		return f.File.Sync()
	}
	f.gate.entered <- true
	return <-f.gate.result
}

// info returns a number of INFO.
func (p *peer) info(t *testing.T, name string) (n int) {
	t.Helper()
	_, rest, ok := strings.Cut(p.must(t, "info"), "\n"+name+":")
	if _, err := fmt.Sscan(rest, &n); !ok || err != nil {
		t.Fatalf("INFO has no number %s", name)
	}
	return n
}

// silent says that nothing has arrived.
func (p *peer) silent() bool {
	p.SetReadDeadline(time.Unix(1, 0))
	defer p.SetReadDeadline(time.Time{})
	_, err := p.r.Peek(1)
	return errors.Is(err, os.ErrDeadlineExceeded)
}

// waitForHeld returns when so many replies wait for the disk.
func waitForHeld(t *testing.T, p *peer, n int) {
	t.Helper()
	for p.info(t, "held_replies") < n {
		runtime.Gosched()
	}
}

func TestRepliesWaitForTheDiskAndOtherReadsDoNot(t *testing.T) {
	g := newGate()
	address, stop := serveFolder(t, g, nil)
	admin, writer, reader, other := connect(t, address), connect(t, address), connect(t, address), connect(t, address)
	admin.must(t, "set", "old", "1")
	held := admin.info(t, "held_replies")
	g.shut(true)
	writer.Write(encode("set", "new", "2"))
	<-g.entered
	reader.Write(append(encode("get", "old"), encode("get", "new")...))
	reader.Write(encode("get", "old"))
	if r, err := reader.reply(); r != "$1\r\n1\r\n" {
		t.Errorf("GET old = %q, %v before the GET that waits; want 1", r, err)
	}
	waitForHeld(t, admin, held+2)
	if r := other.must(t, "get", "old"); r != "$1\r\n1\r\n" {
		t.Errorf("GET old = %q while the disk is busy, want 1", r)
	}
	if !writer.silent() || !reader.silent() {
		t.Errorf("the write was acknowledged: %v, read: %v, before it was durable", !writer.silent(), !reader.silent())
	}
	g.shut(false)
	g.result <- nil
	for _, want := range []string{"$1\r\n2\r\n", "$1\r\n1\r\n"} {
		if r, err := reader.reply(); r != want {
			t.Errorf("reply = %q, %v once it is durable; want %q", r, err, want)
		}
	}
	if r, err := writer.reply(); r != "+OK\r\n" {
		t.Errorf("SET = %q, %v, want OK", r, err)
	}
	stop()
}

func TestReadersOfACollectionWaitForItsElements(t *testing.T) {
	g := newGate()
	address, stop := serveFolder(t, g, nil)
	admin, writer := connect(t, address), connect(t, address)
	admin.must(t, "hset", "hash", "f", "1")
	admin.must(t, "sadd", "set", "a")
	held := admin.info(t, "held_replies")
	g.shut(true)
	writer.Write(append(encode("hset", "hash", "f", "2"), encode("srem", "set", "a")...))
	<-g.entered
	readers := map[string]string{"hget hash f": "$1\r\n2\r\n", "hlen hash": ":1\r\n", "scard set": ":0\r\n", "exists set": ":0\r\n", "sunion set none": "*0\r\n"}
	waiting := map[string]*peer{}
	for command := range readers {
		waiting[command] = connect(t, address)
		waiting[command].Write(encode(strings.Fields(command)...))
	}
	waitForHeld(t, admin, held+2+len(readers))
	for command, p := range waiting {
		if !p.silent() {
			t.Errorf("%s was answered before what it speaks of was durable", command)
		}
	}
	g.shut(false)
	g.result <- nil
	for command, p := range waiting {
		if r, err := p.reply(); r != readers[command] {
			t.Errorf("%s = %q, %v once it is durable; want %q", command, r, err, readers[command])
		}
	}
	stop()
}

func TestNothingIsAcknowledgedAfterAFailedSync(t *testing.T) {
	g := newGate()
	s, err := New(Config{Listen: "127.0.0.1:0", Folder: g, SegmentBytes: 1 << 20, Loops: 2})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }() // ends with cancel
	admin, writer := connect(t, s.Address()), connect(t, s.Address())
	admin.must(t, "set", "old", "1")
	g.shut(true)
	writer.Write(encode("set", "new", "2"))
	<-g.entered
	g.shut(false) // the disk would work again
	g.result <- disktest.ErrInjected
	if r, err := writer.reply(); err == nil {
		t.Errorf("the write whose sync failed was answered with %q, want the connection's end", r)
	}
	for _, command := range [][]string{{"set", "a", "1"}, {"del", "old"}, {"get", "new"}, {"flushall"}, {"incr", "old"}, {"hset", "h", "a", "1"}, {"sunionstore", "s", "t"}, {"mset", "a", "1"}, {"rename", "old", "b"}, {"dbsize"}} {
		if r, err := admin.do(command...); !strings.HasPrefix(r, "-MISCONF ") {
			t.Errorf("%q = %q, %v after a failed sync; want MISCONF", command, r, err)
		}
	}
	if r := admin.must(t, "get", "old"); r != "$1\r\n1\r\n" {
		t.Errorf("GET old = %q after a failed sync, want 1", r)
	}
	cancel()
	if err := <-done; !errors.Is(err, engine.ErrSealed) {
		t.Errorf("Run() = %v after a failed sync, want %v", err, engine.ErrSealed)
	}
	if err := s.Close(); !errors.Is(err, engine.ErrSealed) {
		t.Errorf("Close() = %v after a failed sync, want %v", err, engine.ErrSealed)
	}
}

func TestASlowReaderTakesLittleMemory(t *testing.T) {
	address := serve(t)
	admin, slow := connect(t, address), connect(t, address)
	value := strings.Repeat("x", 100_000)
	admin.must(t, "set", "k", value)
	const n = 2000
	sent := make(chan error, 1)
	go func() { // ends when all is read
		var all []byte
		for range n {
			all = append(all, encode("get", "k")...)
		}
		_, err := slow.Write(all)
		sent <- err
	}()
	for range 200 {
		if got := admin.info(t, "client_memory"); got > 2<<20 {
			t.Fatalf("client_memory = %d while one client does not read, want at most 2 MiB", got)
		}
	}
	for i := range n {
		if r, err := slow.reply(); err != nil || len(r) != len(value)+len("$100000\r\n\r\n") {
			t.Fatalf("reply %d has %d bytes, %v; want the value", i, len(r), err)
		}
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
}

func TestHalfCommandsAreBounded(t *testing.T) {
	folder := disktest.New()
	const limit = 1 << 20
	address, _ := serveFolder(t, folder, func(c *Config) { c.ClientMemory = limit })
	admin := connect(t, address)
	for range 30 {
		p := connect(t, address)
		if _, err := p.Write([]byte("*2\r\n$3\r\nGET\r\n$200000\r\n" + strings.Repeat("x", 100_000))); err != nil {
			continue // it was sent away meanwhile
		}
	}
	for admin.info(t, "evicted_clients") == 0 {
		runtime.Gosched()
	}
	if got := admin.info(t, "client_memory"); got > limit+(256<<10) {
		t.Errorf("client_memory = %d, want at most about %d", got, limit)
	}
}

func TestAnInlineFloodEnds(t *testing.T) {
	flood := connect(t, serve(t))
	if _, err := flood.Write([]byte(strings.Repeat("x", 70_000))); err != nil {
		t.Fatal(err)
	}
	if r, _ := flood.reply(); r != "-ERR Protocol error: too big inline request\r\n" {
		t.Errorf("an inline flood = %q, want an error", r)
	}
}

func TestTooManyClientsAreSentAway(t *testing.T) {
	address, _ := serveFolder(t, disktest.New(), func(c *Config) { c.Clients = 2 })
	a, b := connect(t, address), connect(t, address)
	a.must(t, "ping")
	b.must(t, "ping")
	if r, err := connect(t, address).reply(); r != "-ERR max number of clients reached\r\n" {
		t.Errorf("a third client gets %q, %v; want to be sent away", r, err)
	}
}

func TestAPasswordIsWanted(t *testing.T) {
	address, _ := serveFolder(t, disktest.New(), func(c *Config) { c.Password = "secret" })
	p := connect(t, address)
	for _, tt := range []struct{ command, want string }{
		{"get a", "-NOAUTH Authentication required.\r\n"},
		{"hello 3", "-NOAUTH HELLO must be called"},
		{"auth wrong", "-WRONGPASS invalid username-password pair or user is disabled.\r\n"},
		{"auth other secret", "-WRONGPASS"},
		{"get a", "-NOAUTH"},
		{"auth default secret", "+OK\r\n"},
		{"get a", "$-1\r\n"},
	} {
		if r, err := p.do(split(tt.command)...); !strings.HasPrefix(r, tt.want) {
			t.Errorf("%s = %q, %v; want %q", tt.command, r, err, tt.want)
		}
	}
}

// TestIdleClientsLeaveNothing connects many, lets them say one thing, and looks at memory, descriptors and goroutines.
func TestIdleClientsLeaveNothing(t *testing.T) {
	descriptors := func() (links []string) {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if l, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil { // ReadDir's own is gone
				links = append(links, l)
			}
		}
		return links
	}
	first, end := serveFolder(t, disktest.New(), nil) // what Go makes once is made then
	connect(t, first).must(t, "ping")
	end()
	files, goroutines := descriptors(), runtime.NumGoroutine()
	address, stop := serveFolder(t, disktest.New(), nil)
	admin, err := dial(address)
	if err != nil {
		t.Fatal(err)
	}
	var idle []net.Conn
	for range 300 {
		p, err := dial(address)
		if err != nil {
			t.Fatal(err)
		}
		p.must(t, "set", "k", strings.Repeat("x", 1000))
		idle = append(idle, p)
	}
	if got := admin.info(t, "client_memory"); got > 64<<10 {
		t.Errorf("client_memory = %d for %d idle clients, want at most one buffer", got, len(idle))
	}
	for _, c := range idle {
		c.Close()
	}
	for admin.info(t, "connected_clients") > 1 {
		runtime.Gosched()
	}
	admin.Close()
	stop()
	for runtime.NumGoroutine() > goroutines { // one that has sent its last news may not have ended yet
		runtime.Gosched()
	}
	if got := descriptors(); len(got) > len(files) {
		t.Errorf("descriptors are %q, were %q; want none more", got, files)
	}
}

func TestAFolderInUseOrOfOthersIsRefused(t *testing.T) {
	path := t.TempDir()
	ours := func(name string) bool { return name == "segment-000000" }
	f, err := disk.Open(path, ours, disk.Auto)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := disk.Open(path, ours, disk.Auto); !errors.Is(err, disk.ErrInUse) {
		t.Errorf("Open of a folder in use = %v, want %v", err, disk.ErrInUse)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+"/letter.txt", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := disk.Open(path, ours, disk.Auto); err == nil || !strings.Contains(err.Error(), "letter.txt") {
		t.Errorf("Open of a folder with other files = %v, want it refused", err)
	}
}

// TestAWriteBehindLongRepliesIsAcknowledged sends a write behind reads whose replies are more than is executed for at once, to a server that has nothing else to
// do.
func TestAWriteBehindLongRepliesIsAcknowledged(t *testing.T) {
	for _, loops := range []int{1, 3} {
		address, _ := serveFolder(t, disktest.New(), func(c *Config) { c.Loops = loops })
		p := connect(t, address)
		long := strings.Repeat("x", 100_000)
		p.must(t, "set", "long", long)
		for range 5 {
			sent := strings.Repeat(string(encode("get", "long")), 8) + string(encode("set", "key", "value"))
			if _, err := p.Write([]byte(sent)); err != nil {
				t.Fatal(err)
			}
			for range 8 {
				if r, err := p.reply(); err != nil || len(r) < len(long) {
					t.Fatalf("GET has %d bytes, %v", len(r), err)
				}
			}
			if r, err := p.reply(); r != "+OK\r\n" || err != nil {
				t.Fatalf("SET = %q, %v", r, err)
			}
		}
	}
}
