package kv

import (
	"bytes"
	"fmt"
	"runtime"
	"strings"
	"testing"
)

// TestBlockedClientsAreServedAsByRedis has clients wait for lists in all ways there are.
func TestBlockedClientsAreServedAsByRedis(t *testing.T) {
	dialogue(t, `
a: rpush l 1 2 3
a: blpop l 0
a: brpop none l 0
a: blpop none l 0.01
a: blpop none 0.01
a: brpop none none2 0.001
a: blmove none x left right 0.01
a: brpoplpush none x 0.01
a: blmpop 0.01 1 none left
a: blmpop 0.01 2 none l left
a: set s 1
a: blpop s 0
a: blpop none s 0
a: blpop s none 0
a: blpop none -1
a: blpop none x
a: blpop none ""
a: blpop none nan
a: blpop none inf
a: blpop none -inf
a: blpop none 1e300
a: blpop none 9223372036854775807
a: blpop none 9223372036854776
a: blpop none 0.0000001
a: blpop none
a: blpop
a: blmove none x foo left 0
a: blmove none x left foo 0
a: blmove none x left left y
a: blmove s x left left 0
a: blmove none x left left
a: brpoplpush s x 0
a: brpoplpush none x y
a: blmpop x 1 none left
a: blmpop -1 1 none left
a: blmpop 0 0 none left
a: blmpop 0 2 none left
a: blmpop 0 1 none foo
a: blmpop 0 1 none left count 0
a: blmpop 0 1 none left count
a: blmpop 0 1 none left foo 1
a: blmpop 0 1 s left
a: blmpop 0 1
a: del l
a> blpop l 0
b: rpush l 1
a<
b: exists l
a> blpop l 0
b: rpush l 1 2 3
a<
b: lrange l 0 -1
b: del l
a> brpop l m 0
b: lpush m 1 2 3
a<
b: lrange m 0 -1
b: del m
a> blpop l 0
b> brpop l 0
c> blmpop 0 2 k l right count 2
d: rpush l 1 2 3
a<
b<
c<
d: exists l
a> blpop l 0
b> blpop l 0
d: rpush l 1
a<
d: rpush l 2
b<
a> blmove l m left right 0
d: rpush l x y
a<
d: lrange m 0 -1
d: del l m
a> brpoplpush l l 0
d: rpush l x
a<
d: lrange l 0 -1
d: del l
a> blmove l m left left 0
b> blmove m n left left 0
c> blpop n 0
d: rpush l chain
a<
b<
c<
d: exists l m n
a> blmove l s left left 0
d: rpush l x
a<
d: lrange l 0 -1
d: del l
a> blmove l s left left 0
b> blpop l 0
d: rpush l x
a<
b<
a> blpop l 0
d: set l x
d: del l
d: sadd l x
d: del l
d: rpush l x
a<
a> blpop l 0
d: multi
d: rpush l x
d: del l
d: exec
d: multi
d: rpush l 1
d: rpush l 2
d: lpop l
d: exec
a<
a> blpop l m 0
d: multi
d: rpush m 1
d: rpush l 2
d: exec
a<
d: lrange l 0 -1
d: del l
a> blpop l 0
d: rpush other 1 2
d: rename other l
a<
d: del l
a> blpop l 0
d: rpush other 1 2
d: copy other l
a<
d: del l
a> blpop l 0
d: lmove other l left left
a<
a> blpop l l 0
d: rpush l 1
a<
a: multi
a: blpop none 0
a: blmove none x left left 0
a: brpoplpush none x 0
a: blmpop 0 1 none left
a: exec
a> blpop l 0
d: client unblock 0
d: client unblock x
d: client unblock 1 foo
d: client unblock 1 error foo
d: rpush l x
a<
a: client unblock 99999
a> blpop l 0
d: flushall
d: rpush l x
a<
d: watch l
a> blpop l 0
b: rpush l 1 2
a<
d: multi
d: get x
d: exec
b: del l
a: hello 3
a> blpop l 0
b: rpush l x
a<
a: blpop l 0.01
a: blmove l m left left 0.01
a: multi
a: blpop l 0
a: blmove l m left left 0
a: exec
`)
}

// TestAServedClientWaitsForTheDisk has a client wait for an element whose push and pop are not durable for a while.
func TestAServedClientWaitsForTheDisk(t *testing.T) {
	g := newGate()
	address, stop := serveFolder(t, g, nil)
	admin, waiting, writer := connect(t, address), connect(t, address), connect(t, address)
	if err := blocks(admin, waiting, "blmove", "from", "to", "left", "left", "0"); err != nil {
		t.Fatal(err)
	}
	held := admin.info(t, "held_replies")
	g.shut(true)
	writer.Write(encode("rpush", "from", "x"))
	<-g.entered
	waitForHeld(t, admin, held+2)
	if !waiting.silent() {
		t.Error("a client was served before its element was durable")
	}
	g.shut(false)
	g.result <- nil
	if r, err := waiting.reply(); r != "$1\r\nx\r\n" {
		t.Errorf("once it is durable: %q, %v; want the element", r, err)
	}
	stop()
}

// TestWhoLeavesTakesNothing has clients leave while they are blocked, or be sent away.
func TestWhoLeavesTakesNothing(t *testing.T) {
	address := serve(t)
	admin := connect(t, address)
	for name, leave := range map[string]func(p *peer){
		"closes":                 func(p *peer) { p.Close() },
		"sends more, and closes": func(p *peer) { p.Write([]byte(strings.Repeat("PING\r\n", 10000))); p.Close() },
		"is killed":              func(*peer) { admin.must(t, "client", "kill", "type", "normal", "skipme", "yes") },
	} {
		p := connect(t, address)
		if err := blocks(admin, p, "blpop", "l", "m", "1000000"); err != nil {
			t.Fatal(err)
		}
		for leave(p); admin.info(t, "blocked_clients") > 0; {
			runtime.Gosched()
		}
		admin.must(t, "rpush", "l", "x")
		if r := admin.must(t, "lpop", "l"); r != "$1\r\nx\r\n" {
			t.Errorf("one that was blocked %s: LPOP = %q, want the element", name, r)
		}
	}
}

// TestBlockedClientsAreBounded has a client send a lot while it is blocked.
func TestBlockedClientsAreBounded(t *testing.T) {
	address := serve(t)
	admin, p := connect(t, address), connect(t, address)
	if err := blocks(admin, p, "brpop", "l", "0"); err != nil {
		t.Fatal(err)
	}
	const pings = 1_000_000
	started := make(chan bool)
	go func() { // ends when all is read
		p.Write(encode("ping"))
		close(started)
		p.Write(bytes.Repeat(encode("ping"), pings-1))
	}()
	<-started
	for range 200 {
		if n := admin.info(t, "client_memory"); n > 1<<20 {
			t.Fatalf("client_memory = %d while a client is blocked that sends, want little", n)
		}
	}
	admin.must(t, "rpush", "l", "x")
	if r, err := p.reply(); r != "*2\r\n$1\r\nl\r\n$1\r\nx\r\n" {
		t.Fatalf("BRPOP = %q, %v; want the element", r, err)
	}
	for i := range pings {
		if r, err := p.reply(); r != "+PONG\r\n" {
			t.Fatalf("PING %d = %q, %v", i, r, err)
		}
	}
}

// TestUnblockIsThatOfRedis names clients by the numbers that they have.
func TestUnblockIsThatOfRedis(t *testing.T) {
	theirs, ours := redis(t), serve(t)
	talk := func(address string) (all string) {
		admin, p := connect(t, address), connect(t, address)
		id := strings.Trim(p.must(t, "client", "id"), ":\r\n")
		for _, how := range [][]string{nil, {"timeout"}, {"error"}} {
			for _, what := range []string{"blpop l 0", "blmove l m left left 0", "bzmpop 0 1 z min", "bzpopmax z 1000"} {
				if err := blocks(admin, p, strings.Fields(what)...); err != nil {
					t.Fatal(err)
				}
				all += admin.must(t, append([]string{"client", "unblock", id}, how...)...)
				r, err := p.reply()
				all += fmt.Sprint(what, r, err)
			}
		}
		return all + admin.must(t, "client", "unblock", id)
	}
	if got, want := talk(ours), talk(theirs); got != want {
		t.Errorf("CLIENT UNBLOCK: %q, want %q", got, want)
	}
}
