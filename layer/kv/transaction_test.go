package kv

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"

	"usui/layer/kv/disktest"
)

func TestTransactionsAreThoseOfRedis(t *testing.T) {
	dialogue(t, `
a: multi
a: set k 1
a: get k
a: incr k
a: ping
a: exec
a: exec
a: discard
a: multi
a: exec
a: multi
a: multi
a: exec
a: multi
a: set k 5
a: discard
a: get k
a: multi
a: nosuch x
a: set k 6
a: exec
a: get k
a: multi
a: get
a: ping
a: exec
a: multi
a: watch k
a: unwatch
a: exec
a: multi
a: set k x
a: incr k
a: set k y
a: exec
a: get k
a: multi
a: reset
a: exec
a: exec x
a: watch
a: unwatch
b: hello 3
a: watch k
b: set k 2
a: multi
a: set k 3
a: exec
a: get k
a: multi
a: get k
a: exec
b: watch k
a: set k 4
b: multi
b: get k
b: exec
b: multi
b: get none
b: exec
a: watch k k none
b: set other 1
a: multi
a: get k
a: exec
a: watch k none
b: set none 1
a: multi
a: ping
a: exec
a: watch k
a: set k 5
a: multi
a: ping
a: exec
a: watch k
b: set k 6
a: unwatch
a: multi
a: ping
a: exec
a: watch k
b: set k 6
a: multi
a: discard
a: multi
a: ping
a: exec
a: watch k other
b: del nothere k
a: multi
a: ping
a: exec
a: watch k other
b: del k nothere
a: multi
a: ping
a: exec
b: mset x 1 y 2
a: watch x
b: expire x 100
a: multi
a: ping
a: exec
a: watch x
b: persist x
a: multi
a: ping
a: exec
a: watch x
b: persist x
a: multi
a: ping
a: exec
a: watch x
b: copy x z
a: multi
a: ping
a: exec
a: watch z
b: copy x z replace
a: multi
a: ping
a: exec
a: watch x
b: rename x w
a: multi
a: ping
a: exec
a: watch x
b: rename w x
a: multi
a: ping
a: exec
a: watch x
b: getset x 9
a: multi
a: ping
a: exec
a: watch x
b: get x
b: ttl x
b: exists x
b: setrange x 0 ""
a: multi
a: ping
a: exec
a: watch x nokey
b: expire x -1
a: multi
a: ping
a: exec
a: watch nokey
b: flushall
a: multi
a: ping
a: exec
b: set x 1
a: watch x
b: flushdb
a: multi
a: ping
a: exec
b: set x 1
a: watch x
b: multi
b: set x 2
a: get x
b: exec
a: multi
a: ping
a: exec
b: set x 1
a: watch x
b: set x 2
a: reset
a: multi
a: ping
a: exec
b: del h s s2
a: watch h s
b: hset h f 1
a: multi
a: ping
a: exec
a: watch h
b: hset h f 2
a: multi
a: hget h f
a: exec
a: watch h
b: hget h f
b: hdel h nofield
a: multi
a: hdel h f
a: exists h
a: exec
b: sadd s 1 2 3
a: watch s
b: smove s s2 1
a: multi
a: ping
a: exec
a: watch s2
b: sunionstore s2 s s2
a: multi
a: ping
a: exec
a: watch s s2
b: scard s
b: sintercard 2 s s2
b: sadd s 2
a: multi
a: srem s 2 3
a: sadd s2 9
a: rename s2 s
a: exec
a: watch s
b: srem s 1 2 3 9
a: multi
a: ping
a: exec
a: set gone v px 1
a: multi
a: echo waits
a: exec
a: multi
a: quit
`)
}

// TestAKeyThatExpiresFailsATransaction watches a key until it is gone, and one that was gone before.
func TestAKeyThatExpiresFailsATransaction(t *testing.T) {
	for _, address := range []string{redis(t), serve(t)} {
		p, other := connect(t, address), connect(t, address)
		for px := 20; ; px *= 2 { // it must still be there when it is watched
			p.must(t, "set", "k", "v", "px", fmt.Sprint(px))
			p.must(t, "watch", "k")
			if p.must(t, "exists", "k") == ":1\r\n" {
				break
			}
			p.must(t, "unwatch")
		}
		for other.must(t, "pttl", "k") != ":-2\r\n" { // it is looked up, and so deleted, by another
			runtime.Gosched()
		}
		p.must(t, "multi")
		p.must(t, "ping")
		if r := p.must(t, "exec"); r != "*-1\r\n" {
			t.Errorf("%s: EXEC = %q after a watched key expired, want nothing", address, r)
		}
		p.must(t, "watch", "k")
		p.must(t, "multi")
		p.must(t, "ping")
		if r := p.must(t, "exec"); r != "*1\r\n+PONG\r\n" {
			t.Errorf("%s: EXEC = %q, though the watched key had expired before; want PONG", address, r)
		}
	}
}

// TestTransactionsWithWatchCountRight has clients add to one counter by reading, watching and setting it.
func TestTransactionsWithWatchCountRight(t *testing.T) {
	address := serve(t)
	const clients, each = 8, 25
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			p, err := dial(address)
			if err != nil {
				t.Error(err)
				return
			}
			defer p.Close()
			for done := 0; done < each; {
				p.do("watch", "n")
				r, _ := p.do("get", "n")
				p.do("multi")
				p.do("set", "n", fmt.Sprint(number(r)+1))
				r, err := p.do("exec")
				if err != nil {
					t.Error(err)
					return
				}
				if strings.HasPrefix(r, "*1") {
					done++
				}
			}
		})
	}
	all.Wait()
	if r := connect(t, address).must(t, "get", "n"); number(r) != clients*each {
		t.Errorf("the counter is %q, want %d", r, clients*each)
	}
}

// TestRandomTransactionsAnswerAsRedis sends pipelines of two clients that watch, write and queue at random.
func TestRandomTransactionsAnswerAsRedis(t *testing.T) {
	theirs, ours := redis(t), serve(t)
	var a, b [2]*peer
	for i := range a {
		a[i], b[i] = connect(t, theirs), connect(t, ours)
	}
	random := rand.New(rand.NewPCG(3, 4))
	key := func() string { return fmt.Sprint("k", random.IntN(4)) }
	commands := []func() []string{
		func() []string { return []string{"multi"} },
		func() []string { return []string{"exec"} },
		func() []string { return []string{"exec"} },
		func() []string { return []string{"discard"} },
		func() []string { return []string{"watch", key(), key()} },
		func() []string { return []string{"unwatch"} },
		func() []string { return []string{"set", key(), fmt.Sprint(random.IntN(9))} },
		func() []string { return []string{"incr", key()} },
		func() []string { return []string{"append", key(), "1"} },
		func() []string { return []string{"get", key()} },
		func() []string { return []string{"del", key(), key()} },
		func() []string { return []string{"rename", key(), key()} },
		func() []string { return []string{"msetnx", key(), "1", key(), "2"} },
		func() []string { return []string{"get"} },
		func() []string { return []string{"flushall"} },
		func() []string { return []string{"ping"} },
	}
	for range 3000 {
		who, c := random.IntN(2), commands[random.IntN(len(commands))]()
		want, err1 := a[who].do(c...)
		got, err2 := b[who].do(c...)
		if got != want || err1 != nil || err2 != nil {
			t.Fatalf("%q of client %d = %q, %v; want %q, %v", c, who, got, err2, want, err1)
		}
	}
}

func TestTheReplyOfATransactionWaitsForItsLastWrite(t *testing.T) {
	g := newGate()
	address, stop := serveFolder(t, g, nil)
	admin, p, loser, watcher := connect(t, address), connect(t, address), connect(t, address), connect(t, address)
	admin.must(t, "set", "old", "1")
	watcher.must(t, "watch", "new")
	held := admin.info(t, "held_replies")
	g.shut(true)
	loser.Write(encode("set", "other", "1"))
	<-g.entered
	for _, c := range [][]string{{"multi"}, {"get", "old"}, {"set", "new", "2"}} {
		p.must(t, c...)
	}
	p.Write(encode("exec"))
	waitForHeld(t, admin, held+2)
	if !p.silent() {
		t.Error("EXEC was answered before its write was durable")
	}
	watcher.must(t, "multi")
	watcher.Write(encode("exec"))
	waitForHeld(t, admin, held+3)
	if !watcher.silent() {
		t.Error("EXEC told of a write that was not durable")
	}
	g.result <- nil // the other's
	<-g.entered
	if !p.silent() || !watcher.silent() {
		t.Error("EXEC was answered when an earlier write was durable")
	}
	g.shut(false)
	g.result <- nil
	if r, err := p.reply(); r != "*2\r\n$1\r\n1\r\n+OK\r\n" {
		t.Errorf("EXEC = %q, %v", r, err)
	}
	if r, err := watcher.reply(); r != "*-1\r\n" {
		t.Errorf("EXEC of a client whose key another wrote = %q, %v; want nothing", r, err)
	}
	stop()
}

func TestQueuedCommandsAreBounded(t *testing.T) {
	const limit = 1 << 20
	address, _ := serveFolder(t, disktest.New(), func(c *Config) { c.ClientMemory = limit })
	admin, p, w := connect(t, address), connect(t, address), connect(t, address)
	p.must(t, "multi")
	for i := range 1000 {
		if _, err := p.do("set", "k", strings.Repeat("x", 10_000)); err != nil {
			break // disconnected
		} else if i == 999 {
			t.Error("a client may queue 10 MB where all of them may have 1 MiB")
		}
	}
	for i := range 1000 {
		if _, err := w.do("watch", fmt.Sprint(strings.Repeat("x", 10_000), i)); err != nil {
			break
		} else if i == 999 {
			t.Error("a client may watch 10 MB of keys where all of them may have 1 MiB")
		}
	}
	for admin.info(t, "evicted_clients") < 2 {
		runtime.Gosched()
	}
	if got := admin.info(t, "client_memory"); got > 64<<10 {
		t.Errorf("client_memory = %d when they are gone, want one buffer", got)
	}
}
