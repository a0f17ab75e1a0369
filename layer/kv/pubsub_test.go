package kv

import (
	"bytes"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"

	"usui/layer/kv/disktest"
)

func TestPublishingIsThatOfRedis(t *testing.T) {
	dialogue(t, `
a: subscribe news
a: get k
a: multi
a: nosuch
a: get
a: ping
a: ping x
a: ping x y
b: publish news hello
a<
b: publish other hello
b: publish news ""
a<
b: publish news
b: pubsub channels
b: pubsub channels n*
b: pubsub channels x*
b: pubsub channels a b
b: pubsub numsub news other
b: pubsub numsub
b: pubsub numpat
b: pubsub numpat x
b: pubsub shardchannels
b: pubsub shardnumsub news
b: pubsub foo
b: pubsub
a: unsubscribe news
a: unsubscribe news
a: unsubscribe
a: get k
a: psubscribe n*
a: psubscribe n*
b: publish news hello
a<
b: pubsub numpat
b: pubsub channels
a: punsubscribe
a: punsubscribe
a: punsubscribe x
a: ssubscribe s
a: get k
a: subscribe c
a: psubscribe c*
b: spublish s 1
a<
b: publish s 1
b: publish c 2
a<
a<
b: pubsub shardchannels
b: pubsub shardnumsub s t
b: pubsub channels
a: sunsubscribe
a: sunsubscribe
a: sunsubscribe x
a: get k
a: reset
a: get k
b: publish c 3
b: multi
b: subscribe m
b: unsubscribe m
b: publish m 1
b: exec
b: multi
b: subscribe m
b: exec
b: get k
b: unsubscribe
c: hello 3
c: subscribe v3
c: get k
c: ping
c: ping x
b: publish v3 hello
c<
c: publish v3 self
c<
c: multi
c: publish v3 inside
c: set k v
c: exec
c<
c: psubscribe v*
c: publish v3 twice
c<
c<
c: unsubscribe
c: punsubscribe
c: unsubscribe
c: ssubscribe x
c: spublish x y
c<
c: hello 2
c: get k
c: hello 3
c: subscribe
c: subscribe q
c: quit
b: publish q 1
`)
}

func TestSubscribersTakeLittleMemory(t *testing.T) {
	const limit = 1 << 20
	var log syncBuffer
	address, _ := serveFolder(t, disktest.New(), func(c *Config) {
		c.ClientMemory = 100 << 20
		c.Logger = slog.New(slog.NewTextHandler(&log, nil))
	})
	admin, slow, publisher := connect(t, address), connect(t, address), connect(t, address)
	slow.must(t, "client", "setname", "sleepy")
	slow.must(t, "subscribe", "c")
	message := strings.Repeat("x", 200_000)
	for i := 0; publisher.must(t, "publish", "c", message) == ":1\r\n"; i++ {
		if i == 1000 { // 200 MB
			t.Fatal("a subscriber that reads nothing is still there")
		}
	}
	if got := admin.info(t, "client_memory"); got > limit {
		t.Errorf("client_memory = %d when it is gone, want the buffers of two", got)
	}
	if !strings.Contains(log.String(), "sleepy") {
		t.Errorf("the log does not say that sleepy was disconnected: %s", log.String())
	}
	many, err := dial(address)
	if err != nil {
		t.Fatal(err)
	}
	defer many.Close()
	for i := range 200 {
		many.do("subscribe", fmt.Sprint(i, message))
	}
	for admin.info(t, "evicted_clients") == 0 && admin.info(t, "pubsub_channels") < 200 {
		runtime.Gosched()
	}
	if got := admin.info(t, "client_memory"); got < 200*2*200_000 && admin.info(t, "evicted_clients") == 0 {
		t.Errorf("client_memory = %d for 200 channels with names of 200 kB, want that counted", got)
	}
}

// syncBuffer is a buffer for two goroutines.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer // guarded by mu
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// TestAMessageWaitsForTheWritesBeforeIt publishes what was just written: a subscriber must not hear of it before a crash cannot take it back.
func TestAMessageWaitsForTheWritesBeforeIt(t *testing.T) {
	g := newGate()
	address, stop := serveFolder(t, g, nil)
	admin, writer, listener := connect(t, address), connect(t, address), connect(t, address)
	listener.must(t, "subscribe", "c")
	admin.must(t, "set", "old", "1")
	held := admin.info(t, "held_replies")
	g.shut(true)
	writer.Write(append(encode("set", "new", "2"), encode("publish", "c", "new")...))
	<-g.entered
	waitForHeld(t, admin, held+2)
	if !listener.silent() {
		t.Error("a subscriber heard of a write that is not durable")
	}
	admin.must(t, "publish", "d", "x")
	g.shut(false)
	g.result <- nil
	if r, err := listener.reply(); r != "*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$3\r\nnew\r\n" {
		t.Errorf("message = %q, %v", r, err)
	}
	stop()
}

func TestSubscribersThatLeaveAreForgotten(t *testing.T) {
	address := serve(t)
	admin := connect(t, address)
	for range 20 {
		p, err := dial(address)
		if err != nil {
			t.Fatal(err)
		}
		p.must(t, "hello", "3")
		p.must(t, "subscribe", "a")
		p.must(t, "psubscribe", "a*")
		p.must(t, "ssubscribe", "a")
		p.Close()
	}
	for admin.info(t, "connected_clients") > 1 {
		runtime.Gosched()
	}
	for _, c := range [][]string{{"publish", "a", "1"}, {"spublish", "a", "1"}, {"pubsub", "numpat"}} {
		if r := admin.must(t, c...); r != ":0\r\n" {
			t.Errorf("%q = %q when all subscribers have left, want 0", c, r)
		}
	}
}
