package kv

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"net"
	"os/exec"
	"strings"
	"testing"

	"usui/host/need"
)

// redis starts a Redis without persistence and returns its address.
func redis(t *testing.T) string {
	t.Helper()
	address, _ := startRedis(t, "--save", "")
	return address
}

// startRedis starts a Redis in a folder of its own and returns its address and its process.
func startRedis(t testing.TB, flags ...string) (string, int) {
	t.Helper()
	program := need.Tool(t, "redis-server", "redis-server")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	_, port, _ := net.SplitHostPort(address)
	c := exec.Command(program, append(flags, "--port", port, "--bind", "127.0.0.1", "--dir", t.TempDir(), "--databases", "1", "--daemonize", "no")...)
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Process.Kill(); c.Wait() })
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if strings.Contains(lines.Text(), "Ready to accept connections") {
			go func() { // ends with Redis
				for lines.Scan() {
				}
			}()
			return address, c.Process.Pid
		}
	}
	t.Fatal("redis-server ended before it was ready")
	return "", 0
}

// conversation is what both are told; the replies have to be the same, byte by byte. Words are split at spaces; "" is an empty word.
const conversation = `
ping
ping hello
ping a b
echo hi
echo
select 0
select 1
select x
nosuch
nosuch a b c
NoSuch 'a
get
get a b
set a
set a 1
get a
type a
type none
set a 2 nx
set a 2 xx
set b 2 xx
set b 2 nx
set b 3 get
set c 3 get
set c 4 nx get
set c 4 xx get
set a 1 nx xx
set a 1 ex
set a 1 ex x
set a 1 ex 0
set a 1 ex -1
set a 1 px 0
set a 1 ex 10 px 10
set a 1 ex 10 keepttl
set a 1 ex 9223372036854775807
set a 1 px 9223372036854775807
set a 1 exat 9223372036854775807
set a 1 foo
set a 1 exat 33177117420
expiretime a
set a 2 keepttl
pexpiretime a
set a 3
ttl a
set "" empty
get ""
setnx a 1
setnx d 1
setex e 0 v
setex e x v
setex e 100 v
ttl e
psetex e 100000 v
getset a new
getset f new
getdel f
getdel f
getex a
getex a ex 100
ttl a
getex a persist
ttl a
getex a persist ex 1
getex a exat 1
exists a
getex none ex 10
mget a b c none
mset a 1 b 2
mset a 1 b
msetnx a 1 z 2
msetnx y 1 z 2
exists y z y
append a xyz
append g xyz
get g
strlen g
strlen none
set n 10
incr n
decr n
incrby n 5
decrby n 7
incrby n x
decrby n -9223372036854775808
incrby n 9223372036854775807
set n 9223372036854775807
incr n
set n -9223372036854775808
decr n
set n abc
incr n
set n 012
incr n
incr fresh
incrbyfloat fl 10.5
incrbyfloat fl 0.1
incrbyfloat fl -5
incrbyfloat fl 1e2
incrbyfloat fl abc
incrbyfloat n2 3
incrbyfloat n2 0.00000001
incrbyfloat fl inf
set r hello
getrange r 0 -1
getrange r 1 3
getrange r -3 -2
getrange r 4 2
getrange r -1 -3
getrange r 10 20
getrange r -100 1
getrange r 0 100
getrange r x 1
getrange none 0 -1
substr r 1 2
setrange r 1 XY
get r
setrange r 8 Z
get r
setrange new 3 abc
get new
setrange none 0 ""
exists none
setrange r -1 x
setrange r 999999999 x
del a b none
unlink c
exists a b c
touch r n
expire r 100
ttl r
expire r 200 nx
expire r 200 xx
expire r 100 gt
expire r 300 gt
expire r 100 lt
expire r 100 nx xx
expire r 100 gt lt
expire r 100 foo
expire r x
expire none 100
pexpire r 100000
expireat r 33177117420
pexpireat r 33177117420000
pexpiretime r
persist r
persist r
pttl r
pttl none
expire r -1
exists r
set s 1
pexpireat s 0
get s
expire n 9223372036854775807
expire n -9223372036854775807
set p 1 px 100000
rename p q
pexpiretime none
rename none q
rename q q
renamenx q n
renamenx q q2
exists q q2
persist q2
copy q2 q3
copy q2 q3
copy q2 q3 replace
copy q2 q2
copy none q4
scan x
scan 0 count 0
scan 0 match
scan 0 foo bar
client getname
client setname me
client getname
client setname "a b"
hello 4
hello x
hello 2 foo
auth x
auth a b c
auth default
wait 0 0
wait x 0
wait 0 -1
config set appendfsync
config nosuch
client nosuch x
command count x
set inf inf
incrbyfloat inf 1
incrbyfloat n2 nan
del inf
config get databases
flushall foo
flushall async
dbsize
keys *
flushdb
randomkey
reset
quit
`

func split(line string) []string {
	words := strings.Split(line, " ")
	for i, w := range words {
		words[i] = strings.ReplaceAll(w, `""`, "")
	}
	return words
}

func TestAnswersAreThoseOfRedis(t *testing.T) {
	a, b := connect(t, redis(t)), connect(t, serve(t))
	converse(t, a, b, conversation)
	for _, p := range []*peer{a, b} {
		if r, err := p.reply(); err == nil {
			t.Errorf("after QUIT: %q, want the end", r)
		}
	}
}

// randomCommands are commands of few keys.
func randomCommands(random *rand.Rand) []func() []string {
	key := func() string { return fmt.Sprint("k", random.IntN(5)) }
	number := func() string { return fmt.Sprint(random.IntN(40) - 20) }
	hash := func() string { return fmt.Sprint("h", random.IntN(4)) }
	set := func() string { return fmt.Sprint("s", random.IntN(4)) }
	any := func() string { return []func() string{key, hash, set}[random.IntN(3)]() }
	return []func() []string{
		func() []string { return []string{"set", key(), number()} },
		func() []string { return []string{"set", key(), number(), "get"} },
		func() []string { return []string{"set", key(), number(), "nx", "ex", "1000"} },
		func() []string { return []string{"set", key(), strings.Repeat("x", random.IntN(50000))} },
		func() []string { return []string{"get", key()} },
		func() []string { return []string{"getdel", key()} },
		func() []string { return []string{"append", key(), number()} },
		func() []string { return []string{"incrby", key(), number()} },
		func() []string { return []string{"getrange", key(), number(), number()} },
		func() []string { return []string{"setrange", key(), fmt.Sprint(random.IntN(30)), number()} },
		func() []string { return []string{"del", key(), key()} },
		func() []string { return []string{"rename", key(), key()} },
		func() []string { return []string{"copy", key(), key(), "replace"} },
		func() []string { return []string{"mset", key(), number(), key(), number()} },
		func() []string { return []string{"msetnx", key(), number(), key(), number()} },
		func() []string { return []string{"mget", key(), key(), key()} },
		func() []string { return []string{"expire", key(), "1000"} },
		func() []string { return []string{"persist", key()} },
		func() []string { return []string{"ttl", key()} },
		func() []string { return []string{"exists", key(), key()} },
		func() []string { return []string{"dbsize"} },

		func() []string { return []string{"hset", hash(), number(), number(), number(), number()} },
		func() []string { return []string{"hset", hash(), number(), strings.Repeat("x", random.IntN(50000))} },
		func() []string { return []string{"hsetnx", hash(), number(), number()} },
		func() []string { return []string{"hget", hash(), number()} },
		func() []string { return []string{"hmget", hash(), number(), number()} },
		func() []string { return []string{"hgetall", hash()} },
		func() []string { return []string{"hdel", hash(), number(), number(), number()} },
		func() []string { return []string{"hlen", hash()} },
		func() []string { return []string{"hstrlen", hash(), number()} },
		func() []string { return []string{"hincrby", hash(), number(), number()} },
		func() []string { return []string{"hvals", hash()} },
		func() []string { return []string{"sadd", set(), number(), number(), number()} },
		func() []string { return []string{"sadd", set(), "x" + number()} },
		func() []string { return []string{"srem", set(), number(), number(), number()} },
		func() []string { return []string{"smembers", set()} },
		func() []string { return []string{"smismember", set(), number(), number()} },
		func() []string { return []string{"scard", set()} },
		func() []string { return []string{"smove", set(), set(), number()} },
		func() []string { return []string{"spop", set(), "1000"} },
		func() []string { return []string{"srandmember", set(), "1000"} },
		func() []string { return []string{"sinter", set(), set()} },
		func() []string { return []string{"sintercard", "2", set(), set(), "limit", "2"} },
		func() []string { return []string{"sunion", set(), set()} },
		func() []string { return []string{"sdiff", set(), set()} },
		func() []string { return []string{"sinterstore", any(), set(), set()} },
		func() []string { return []string{"sunionstore", set(), set(), set()} },
		func() []string { return []string{"sdiffstore", set(), set(), set()} },
		func() []string { return []string{"rename", any(), any()} },
		func() []string { return []string{"renamenx", any(), any()} },
		func() []string { return []string{"copy", any(), any(), "replace"} },
		func() []string { return []string{"del", any()} },
		func() []string { return []string{"expire", any(), "1000"} },
		func() []string { return []string{"persist", any()} },
		func() []string { return []string{"type", any()} },
		func() []string { return []string{"object", "encoding", hash()} },
		func() []string { return []string{"get", any()} },
		func() []string { return []string{"hget", any(), number()} },
		func() []string { return []string{"scard", any()} },
	}
}

// TestRandomCommandsAnswerAsRedis sends commands of few keys in long pipelines.
func TestRandomCommandsAnswerAsRedis(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	randomly(t, random, connect(t, redis(t)), connect(t, serve(t)), randomCommands(random), 300)
}

// randomly tells both the same, in so many pipelines, and compares.
func randomly(t *testing.T, random *rand.Rand, a, b *peer, commands []func() []string, pipelines int) {
	t.Helper()
	for range pipelines {
		var pipeline []byte
		var sent [][]string
		for range 1 + random.IntN(40) {
			c := commands[random.IntN(len(commands))]()
			if c[0] == "copy" && c[1] == c[2] {
				continue
			}
			sent = append(sent, c)
			pipeline = append(pipeline, encode(c...)...)
		}
		replies := func(p *peer) (all []string) {
			t.Helper()
			go p.Write(pipeline) // ends when the replies are read
			for range sent {
				r, err := p.reply()
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, r)
			}
			return all
		}
		want, got := replies(a), replies(b)
		for i, c := range sent {
			if normal(c[0], got[i]) != normal(c[0], want[i]) {
				t.Fatalf("%.60q = %.200q, want %.200q", c, got[i], want[i])
			}
		}
	}
}

// TestProgramsOfRedisWork runs redis-cli and redis-benchmark.
func TestProgramsOfRedisWork(t *testing.T) {
	cli, bench := need.Tool(t, "redis-cli", "redis-tools"), need.Tool(t, "redis-benchmark", "redis-tools")
	_, port, _ := net.SplitHostPort(serve(t))
	for _, v := range []string{"-2", "-3"} {
		if out, err := exec.Command(cli, "-p", port, v, "set", "k", "v").CombinedOutput(); err != nil || string(out) != "OK\n" {
			t.Errorf("redis-cli %s set k v = %q, %v; want OK", v, out, err)
		}
		if out, err := exec.Command(cli, "-p", port, v, "--scan").CombinedOutput(); err != nil || string(out) != "k\n" {
			t.Errorf("redis-cli %s --scan = %q, %v; want k", v, out, err)
		}
	}
	if out, err := exec.Command(bench, "-p", port, "-t", "ping,set,get,incr,mset", "-n", "2000", "-c", "20", "-P", "4", "-q").CombinedOutput(); err != nil || strings.Count(string(out), "requests per second") < 5 || strings.Contains(string(out), "rror") {
		t.Errorf("redis-benchmark: %v\n%s", err, out)
	}
}
