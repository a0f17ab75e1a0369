package kv

import (
	"bufio"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// members is a conversation about hashes and sets, of one kind of reply after the other.
const members = `
set s 1
hset s a 1
hget s a
sadd s a
hset h a
hset h a 1 b
hset h a 1
hset h a 2 b 3 b 4
hset h a 5
hmset h a 1
hmset h a 1 c 6
hmset h a 1 b
hmset h
hsetnx h a 9
hsetnx h n 9
hsetnx s n 9
hsetnx h2 n 9
hsetnx h n
hget h a
hget h none
hget none a
hget h
hmget h a none b
hmget none a b
hmget s a
hmget h
hgetall h
hgetall none
hgetall s
hgetall
hkeys h
hkeys none
hkeys s
hvals h
hvals none
hvals s
hlen h
hlen none
hlen s
hexists h a
hexists h none
hexists none a
hexists s a
hstrlen h a
hstrlen h none
hstrlen none a
hstrlen s a
hdel h a none a
hdel h
hdel none a
hdel s a
hdel h b c n
exists h
hset h "" ""
hget h ""
hgetall h
hdel h ""
exists h
hincrby h n 5
hincrby h n -7
hincrby h n x
hincrby h n 1.5
hincrby s n 1
hincrby s n x
hset h t abc
hincrby h t 1
hset h m 9223372036854775807
hincrby h m 1
hincrby h m -1
hincrby h n
hincrbyfloat h f 10.5
hincrbyfloat h f 0.1
hincrbyfloat h f -5
hincrbyfloat h f 1e2
hincrbyfloat h f x
hincrbyfloat h f inf
hincrbyfloat h f -inf
hincrbyfloat h f nan
hincrbyfloat h t 1
hincrbyfloat s t 1
hincrbyfloat h n 1.5
hincrby h n 1
hscan h 0
hscan h 0 match f*
hscan h 0 count 1
hscan h 0 count 0
hscan h 0 count x
hscan h 0 match
hscan h 0 type hash
hscan h x
hscan h -1
hscan h +0
hscan h ""
hscan h -
hscan h 18446744073709551616
hscan none 0
hscan none 0 count x
hscan none x
hscan s 0
hscan h
del h
hset h a 1
hrandfield h
hrandfield h 1
hrandfield h -3
hrandfield h 5 withvalues
hrandfield h -2 withvalues
hrandfield h 0
hrandfield h 0 withvalues
hrandfield h x
hrandfield h 1 foo
hrandfield h 1 withvalues foo
hrandfield h -9223372036854775808
hrandfield h 9223372036854775807 withvalues
hrandfield h -9223372036854775807 withvalues
hrandfield h 9223372036854775807
hrandfield none
hrandfield none 1
hrandfield none -1 withvalues
hrandfield s
hrandfield s 1
sadd set a b c a
sadd set a
sadd set d
sadd set
sadd h a
srem set d none
srem set
srem none a
srem h a
srem set none
smembers set
smembers none
smembers h
sismember set a
sismember set none
sismember none a
sismember h a
smismember set a none b
smismember none a
smismember h a
smismember set
scard set
scard none
scard h
sscan set 0
sscan set 0 match a
sscan none 0
sscan h 0
sscan set x
sscan set 0 foo 1
sadd one x
srandmember one
srandmember one 1
srandmember one 5
srandmember one -3
srandmember one 0
srandmember one x
srandmember one 1 2
srandmember one -9223372036854775808
srandmember none
srandmember none 1
srandmember h
srandmember h 1
srandmember h x
spop one 0
spop one -1
spop one x
spop one 1 2
spop h
spop h 1
spop none
spop none 1
spop none 0
spop one
exists one
sadd one x y
spop one 2
exists one
sadd one x y z
spop one 10
exists one
sadd a 1 2 3 4
sadd b 3 4 5
sadd c 4 5 6
sinter a
sinter a b
sinter a b c
sinter a none
sinter none
sinter a h
sinter none h
sinter h none
sinter
sunion a b c
sunion a none
sunion none
sunion a h
sdiff a b c
sdiff a none
sdiff none a
sdiff b a
sdiff a h
sdiff none h
sinterstore d a b
smembers d
sinterstore d a none
exists d
sinterstore d a h
sunionstore d a b c
smembers d
sunionstore d d none
scard d
sunionstore s2 none
sdiffstore d d a
smembers d
sdiffstore d none a
exists d
set d 1
sinterstore d a b
type d
sunionstore h a
type h
sunionstore d none
exists d
hset h a 1
del h
hset h a 1
sintercard 1 a
sintercard 2 a b
sintercard 2 a b limit 1
sintercard 2 a b limit 0
sintercard 2 a b limit -1
sintercard 2 a b limit x
sintercard 2 a b limit
sintercard 2 a b foo 1
sintercard 0 a
sintercard x a
sintercard -1 a
sintercard 3 a b
sintercard 1 h
sintercard 2 a none
sintercard 1
smove a b 1
smembers b
smove a b none
smove a b 3
smove a a 2
smove a a none
smove none b 1
smove none h 1
smove a h 2
smove h a 2
smove a new 2
smove a new 4
exists a
smembers new
smove a b
type h
type set
type none
get h
get set
set h x get
set h x nx
set h x xx get
getset h x
getdel h
getex h
getex h ex 10
append h x
strlen h
incr h
incrby h 1
decr h
incrbyfloat h 1
getrange h 0 1
setrange h 0 x
setrange h 0 ""
mget h set s
setnx h x
msetnx h x y z
expireat h 33177117420
expiretime h
persist h
ttl h
rename h h3
type h3
exists h
hgetall h3
rename h3 set
type set
hgetall set
renamenx set b
renamenx set h
copy h h4
copy h b
copy h b replace
hgetall b
expireat b 33177117420
copy b h5
expiretime h5
hset b a 2
hgetall h5
hset h5 z 1
hgetall b
rename h5 b
expiretime b
hgetall b
del b
exists b
hset b a 1
expire b -1
exists b
set h4 1
get h4
sadd h5 1
mset h5 1 h5 2
get h5
object encoding new
sadd new x
object encoding new
object encoding h
hset h a 1234567890123456789012345678901234567890123456789012345678901234
object encoding h
hset h a 12345678901234567890123456789012345678901234567890123456789012345
object encoding h
hset h a 1
object encoding h
object encoding s
set s abc
object encoding s
set s 123456789012345678901234567890123456789012345
object encoding s
object encoding none
object refcount h
object freq h
object foo h
object encoding
object
scan 0 count 1000 type hash
scan 0 count 1000 type SET
scan 0 count 1000 type foo
command count x
dbsize
`

// orderless are commands whose replies have no order, with how many elements of a reply belong together; -1 is for those that begin with a
// cursor.
var orderless = map[string]int{
	"hgetall": 2, "hkeys": 1, "hvals": 1,
	"smembers": 1, "sinter": 1, "sunion": 1, "sdiff": 1, "spop": 1, "srandmember": 1, "sscan": -1, "zscan": -1, "scan": -1,
}

// normal returns a reply with its elements in order.
func normal(command, reply string) string {
	group := orderless[command]
	if group < 0 {
		head, rest, ok := strings.Cut(reply, "*2\r\n")
		if !ok || head != "" {
			return reply
		}
		p := peer{r: bufio.NewReader(strings.NewReader(rest))}
		cursor, _ := p.reply()
		elements, _ := p.reply()
		return cursor + normal("smembers", elements)
	}
	if group == 0 || reply == "" || !strings.Contains("*%~", reply[:1]) {
		return reply
	}
	line, rest, _ := strings.Cut(reply, "\r\n")
	p := peer{r: bufio.NewReader(strings.NewReader(rest))}
	var parts []string
	for {
		part := ""
		for range group {
			r, _ := p.reply()
			part += r
		}
		if part == "" {
			slices.Sort(parts)
			return line + "\r\n" + strings.Join(parts, "")
		}
		parts = append(parts, part)
	}
}

// converse tells both the same, and compares.
func converse(t *testing.T, redis, usui *peer, conversation string) {
	t.Helper()
	for line := range strings.Lines(strings.TrimSpace(conversation)) {
		words := split(strings.TrimSuffix(line, "\n"))
		want, err1 := redis.do(words...)
		got, err2 := usui.do(words...)
		if normal(words[0], got) != normal(words[0], want) || fmt.Sprint(err1) != fmt.Sprint(err2) {
			t.Errorf("%s = %q, %v; want %q, %v", strings.TrimSpace(line), got, err2, want, err1)
		}
	}
}

func TestAnswersAboutHashesAndSetsAreThoseOfRedis(t *testing.T) {
	a, b := connect(t, redis(t)), connect(t, serve(t))
	converse(t, a, b, members)
	for _, p := range []*peer{a, b} {
		p.must(t, "flushall")
		p.must(t, "hello", "3")
	}
	converse(t, a, b, members)
}

// TestTheTableOfCommandsIsThatOfRedis compares what COMMAND says of each command that there is.
func TestTheTableOfCommandsIsThatOfRedis(t *testing.T) {
	a, b := connect(t, redis(t)), connect(t, serve(t))
	for name := range strings.SplitSeq(b.must(t, "command", "list", "filterby", "pattern", "*"), "\r\n") {
		if name == "" || strings.ContainsAny(name[:1], "*$") {
			continue
		}
		describe := func(p *peer) string {
			lines := strings.Split(p.must(t, "command", "info", name), "\r\n")
			if len(lines) < 10 {
				return "none"
			}
			var flags []string
			i := 6 // behind the number of flags
			for ; i < len(lines) && strings.HasPrefix(lines[i], "+"); i++ {
				flags = append(flags, lines[i])
			}
			slices.Sort(flags)
			return fmt.Sprint(lines[4], flags, lines[i:i+3])
		}
		if got, want := describe(b), describe(a); got != want && want != "none" {
			t.Errorf("COMMAND INFO %s = %s, want %s", name, got, want)
		}
	}
}
