package kv

import (
	"fmt"
	"regexp"
	"runtime"
	"strings"
	"testing"
)

func TestCommandsOfClientsAreThoseOfRedis(t *testing.T) {
	dialogue(t, `
a: client
a: client nosuch
a: client id x
a: client getname
a: client setname me
a: client getname
a: client setname "a b"
a: client kill
a: client kill nobody
a: client kill id 0
a: client kill id x
a: client kill id
a: client kill type x
a: client kill user nobody
a: client kill skipme maybe
a: client kill id 1000000 skipme no
a: client kill addr 1.2.3.4:5
a: client kill laddr 1.2.3.4:5 type normal user default
a: client kill id 1000000 foo
a: client list foo
a: client list type foo
a: client list type replica
a: client list type master
a: client list id x
a: client list id 1000000
a: client no-evict off
a: client no-evict x
a: client tracking off
a: client trackinginfo
a: client getredir
a: client caching yes
a: client unblock 1000000
a: client unblock x
a: client unblock 1 foo
a: client unblock 1 timeout x
a: client pause 10 foo
a: client pause x
a: client pause -1
a: client pause 10 all x
a: client unpause
a: client reply foo
b: hello 3
b: client trackinginfo
b: client getname
b: client kill type pubsub
c: subscribe x
b: client kill type pubsub
c<
b: publish x 1
b: client kill skipme no type normal user default laddr 1.1.1.1:1
a: multi
a: client nosuch
a: exec
a: multi
a: client id x
a: exec
a: multi
a: shutdown
a: exec
a: shutdown foo
a: shutdown nosave save
a: shutdown abort
a: shutdown abort now
a: subscribe x
a: client id
a: config get x
a: unsubscribe
a: swapdb 0 0
a: swapdb x 0
a: swapdb 0 x
a: swapdb 0 1
a: command count x
a: command nosuch
a: command getkeys
a: command getkeys get
a: command getkeys get a
a: command getkeys mset a b c d
a: command getkeys nosuch a
a: command getkeys ping a
a: command getkeys get a b
a: command getkeys rename a b
a: command getkeys object encoding k
a: command info nosuch
a: command list filterby foo x
a: command list filterby pattern xyz*
a: command list filterby module x
a: command list x
a: config get notify-keyspace-events
a: config set notify-keyspace-events ""
a: config set slowlog-max-len 7 slowlog-log-slower-than -1
a: config get slowlog-max-len
a: config get slowlog-log-slower-than
a: config set slowlog-max-len 5 slowlog-max-len 6
a: config set slowlog-max-len x
a: config set slowlog-log-slower-than -2
a: config set nosuch 1
a: config set slowlog-max-len
a: config set slowlog-max-len 8 nosuch 1
a: config get slowlog-max-len
a: config set slowlog-max-len 8 slowlog-log-slower-than x
a: config get slowlog-max-len
a: config set slowlog-max-len 8 slowlog-log-slower-than
a: config set client-output-buffer-limit foo
a: config set client-output-buffer-limit "pubsub
a: config get nosuch
a: config rewrite
a: config resetstat x
a: config resetstat
a: slowlog
a: slowlog get
a: slowlog len
a: slowlog reset
a: slowlog get x
a: slowlog get -2
a: slowlog nosuch
a: slowlog len x
a: slowlog get 1 2
a: set n 12
a: object encoding n
a: set s hello
a: object encoding s
a: set l 0123456789012345678901234567890123456789012345
a: object encoding l
a: object encoding none
a: object refcount s
a: object freq s
a: object freq none
a: object nosuch s
a: object encoding
a: memory usage none
a: memory usage s samples x
a: memory usage s samples -1
a: memory usage s foo
a: memory nosuch
a: latency latest
a: latency history x
a: latency reset
a: latency nosuch
a: info nosuch
a: wait 0 0
a: echo a b
a: client reply on
a: client kill skipme no type normal
b: ping
`)
}

// TestRepliesCanBeSwitchedOff reads what is left of the replies to a pipeline.
func TestRepliesCanBeSwitchedOff(t *testing.T) {
	for _, pipeline := range []string{
		"client reply skip;set a 1;get a",
		"client reply skip;client reply skip;set a 1;get a",
		"client reply off;set a 2;client reply skip;get a;nosuch;client reply on;get a",
		"client reply off;incr a;publish x y;hello 3;client reply on;get none",
		"hello 3;client reply off;subscribe x;publish x y;client reply on;get none",
		"client reply off;reset;get a",
		"multi;client reply off;get a;client reply on;get a;exec;get a;client reply on",
		"client reply skip;multi;set a 5;exec;get a",
	} {
		var replies []string
		for _, address := range []string{redis(t), serve(t)} {
			p := connect(t, address)
			for line := range strings.SplitSeq(pipeline, ";") {
				p.Write(encode(split(line)...))
			}
			replies = append(replies, clientNumber.ReplaceAllString(p.rest(), "id N"))
		}
		if replies[0] != replies[1] {
			t.Errorf("%s = %q, want %q", pipeline, replies[1], replies[0])
		}
	}
}

func TestAListOfClientsHasAllOfThem(t *testing.T) {
	names := regexp.MustCompile(`\b([a-z-]+)=`)
	var fields []string
	for _, address := range []string{redis(t), serve(t)} {
		a, b := connect(t, address), connect(t, address)
		b.must(t, "client", "setname", "other")
		b.must(t, "multi")
		b.must(t, "get", "k")
		list := a.must(t, "client", "list")
		if n := strings.Count(list, "\n"); n != 2+2 {
			t.Errorf("%s: CLIENT LIST has %d clients: %q, want 2", address, n-2, list)
		}
		for _, want := range []string{" name=other ", " flags=x ", " multi=1 ", " cmd=client|list ", " laddr=" + address + " ", " addr=" + a.LocalAddr().String() + " "} {
			if !strings.Contains(list, want) {
				t.Errorf("%s: CLIENT LIST lacks %q: %q", address, want, list)
			}
		}
		fields = append(fields, fmt.Sprint(names.FindAllString(a.must(t, "client", "info"), -1)))
	}
	if fields[0] != fields[1] {
		t.Errorf("CLIENT INFO has %s, want %s", fields[1], fields[0])
	}
}

func TestAPauseHoldsCommandsBack(t *testing.T) {
	address := serve(t)
	admin, reader, writer := connect(t, address), connect(t, address), connect(t, address)
	admin.must(t, "client", "pause", "100000", "write")
	writer.Write(append(append(encode("set", "k", "1"), encode("get", "k")...), encode("client", "id")...))
	if r := reader.must(t, "get", "k"); r != "$-1\r\n" {
		t.Errorf("GET = %q while writes are paused, want nothing", r)
	}
	for !strings.Contains(admin.must(t, "client", "list"), " flags=b ") {
		runtime.Gosched()
	}
	reader.must(t, "multi")
	if !writer.silent() {
		t.Error("a write was answered while writes are paused")
	}
	admin.must(t, "client", "unpause")
	for _, want := range []string{"+OK\r\n", "$1\r\n1\r\n"} {
		if r, err := writer.reply(); r != want {
			t.Errorf("reply = %q, %v after the pause, want %q", r, err, want)
		}
	}
	admin.must(t, "client", "pause", "50") // of all, itself, until the time is over
	if r := admin.must(t, "ping"); r != "+PONG\r\n" {
		t.Errorf("PING = %q after a pause", r)
	}
	gone := connect(t, address)
	admin.must(t, "client", "pause", "100000", "write")
	gone.Write(encode("set", "k", "2"))
	for !strings.Contains(admin.must(t, "client", "list"), " flags=b ") {
		runtime.Gosched()
	}
	gone.Close()
	admin.must(t, "client", "kill", "type", "normal")
	admin.must(t, "client", "unpause")
	admin.must(t, "set", "k", "3")
}

func TestSettingsThatCannotBeChangedSayWhy(t *testing.T) {
	p := connect(t, serve(t))
	for _, tt := range []struct{ name, value, why string }{
		{"maxmemory", "100mb", "nothing is evicted"},
		{"maxmemory-policy", "allkeys-lru", "nothing is evicted"},
		{"appendfsync", "no", "durable"},
		{"save", "60 1", "snapshots"},
		{"notify-keyspace-events", "KEA", "no messages"},
		{"timeout", "5", "idle clients"},
	} {
		if r, err := p.do("config", "set", tt.name, tt.value); !strings.HasPrefix(r, "-ERR CONFIG SET failed") || !strings.Contains(r, tt.why) {
			t.Errorf("CONFIG SET %s %s = %q, %v; want it refused because %s", tt.name, tt.value, r, err, tt.why)
		}
	}
	p.must(t, "config", "set", "maxmemory", "0", "maxmemory-policy", "noeviction", "appendfsync", "always")
	p.must(t, "config", "set", "client-output-buffer-limit", "pubsub 1mb 512kb 10")
	if r := p.must(t, "config", "get", "client-out*", "slowlog-max-???"); !strings.Contains(r, "pubsub 1048576 524288 10") || !strings.Contains(r, "slowlog-max-len") {
		t.Errorf("CONFIG GET = %q", r)
	}
	for _, c := range [][]string{{"client", "tracking", "on"}, {"client", "no-evict", "on"}} {
		if r, err := p.do(c...); !strings.HasPrefix(r, "-ERR ") {
			t.Errorf("%q = %q, %v; want it refused", c, r, err)
		}
	}
}

func TestTheSlowLogIsThatOfRedis(t *testing.T) {
	numbers := regexp.MustCompile(`:\d{10}\r\n:\d+\r\n|127\.0\.0\.1:\d+`) // when, how long, and who
	sequence := regexp.MustCompile(`\*6\r\n:\d+`)
	var logs []string
	for _, address := range []string{redis(t), serve(t)} {
		p := connect(t, address)
		p.must(t, "client", "setname", "me")
		p.must(t, "config", "set", "slowlog-max-len", "4", "slowlog-log-slower-than", "0")
		p.must(t, "get", "a")
		p.must(t, "set", strings.Repeat("k", 128), strings.Repeat("v", 129))
		p.must(t, append([]string{"del"}, strings.Split(strings.Repeat("x", 31), "")...)...)
		p.must(t, append([]string{"del"}, strings.Split(strings.Repeat("x", 32), "")...)...)
		p.do("auth", "secret")
		p.must(t, "multi")
		p.must(t, "get", "inside")
		p.must(t, "exec")
		log := p.must(t, "slowlog", "get", "10")
		log += p.must(t, "slowlog", "get", "1") + p.must(t, "slowlog", "len")
		p.must(t, "slowlog", "reset")
		log += p.must(t, "slowlog", "len") + p.must(t, "slowlog", "get", "-1")
		logs = append(logs, sequence.ReplaceAllString(numbers.ReplaceAllString(log, "N"), "*6 N"))
	}
	if logs[0] != logs[1] {
		t.Errorf("SLOWLOG = %q, want %q", logs[1], logs[0])
	}
}

func TestInfoCountsCommands(t *testing.T) {
	p := connect(t, serve(t))
	p.must(t, "set", "k", "v")
	p.do("incr", "k")
	p.do("get")
	p.must(t, "client", "id")
	all := p.must(t, "info", "everything")
	for _, want := range []string{"# Server\r\n", "# Clients\r\n", "# Memory\r\n", "# Persistence\r\n", "# Stats\r\n", "# Replication\r\n", "# CPU\r\n", "# Commandstats\r\n",
		"# Errorstats\r\n", "# Cluster\r\ncluster_enabled:0\r\n", "# Keyspace\r\ndb0:keys=1,expires=0", "\ncmdstat_set:calls=1,", "\ncmdstat_incr:calls=1,", "failed_calls=1\r\n",
		"cmdstat_client|id:calls=1", "cmdstat_get:calls=0,usec=0,usec_per_call=0.00,rejected_calls=1", "errorstat_ERR:count=2\r\n"} {
		if !strings.Contains(all, want) {
			t.Errorf("INFO everything lacks %q: %s", want, all)
		}
	}
	if r := p.must(t, "info"); strings.Contains(r, "cmdstat") {
		t.Error("INFO by itself has statistics of commands")
	}
	if r := p.must(t, "info", "KEYSPACE", "cpu"); strings.Contains(r, "# Server") || !strings.Contains(r, "# Keyspace") || !strings.Contains(r, "# CPU") {
		t.Errorf("INFO keyspace cpu = %q", r)
	}
	p.must(t, "config", "resetstat")
	if r := p.must(t, "info", "commandstats"); strings.Contains(r, "cmdstat_set") {
		t.Errorf("CONFIG RESETSTAT left %q", r)
	}
}

func TestSHUTDOWNEndsTheServer(t *testing.T) {
	v, err := startVictim(t, t.TempDir(), plain)
	if err != nil {
		t.Fatal(err)
	}
	p := connect(t, v.address)
	p.must(t, "set", "k", "v")
	p.Write(encode("shutdown", "nosave"))
	if r, err := p.reply(); err == nil {
		t.Errorf("SHUTDOWN = %q, want the connection's end", r)
	}
	if err := v.Wait(); err != nil {
		t.Errorf("the server's end after SHUTDOWN: %v", err)
	}
}
