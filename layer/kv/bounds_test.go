package kv

import (
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"

	"usui/layer/kv/disk"
	"usui/layer/kv/disktest"
	"usui/layer/kv/engine"
)

// many returns numbers from low to high-1 with words before them.
func many(low, high int, words ...string) []string {
	for i := low; i < high; i++ {
		words = append(words, fmt.Sprint("member:", i))
	}
	return words
}

// serveLarge serves a store with large segments. heap is how much of Go's heap is in use when all that was sent has been done.
func serveLarge(t *testing.T) (p *peer, heap func() int) {
	t.Helper()
	folder, err := disk.Open(t.TempDir(), engine.IsOurs, disk.Ordinary)
	if err != nil {
		t.Fatal(err)
	}
	address, _ := serveFolder(t, folder, func(c *Config) { c.SegmentBytes = 16 << 20 })
	p = connect(t, address)
	return p, func() int {
		p.must(t, "ping")
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc)
	}
}

// TestAMillionMembersComeAndGo makes a large set, works with it, and deletes it.
func TestAMillionMembersComeAndGo(t *testing.T) {
	p, heap := serveLarge(t)
	before := heap()
	const n, step = 1_000_000, 10_000
	for i := 0; i < n; i += step {
		if r := p.must(t, many(i, i+step, "sadd", "big")...); r != fmt.Sprintf(":%d\r\n", step) {
			t.Fatalf("SADD = %q, want %d", r, step)
		}
	}
	full := heap() - before
	for _, tt := range [][2]string{
		{"scard big", ":1000000\r\n"}, {"sismember big member:999999", ":1\r\n"}, {"sismember big member:1000000", ":0\r\n"},
		{"rename big large", "+OK\r\n"}, {"expire large 1000", ":1\r\n"}, {"sunionstore other large", ":1000000\r\n"},
		{"sintercard 2 other large", ":1000000\r\n"}, {"persist large", ":1\r\n"},
	} {
		if r := p.must(t, strings.Fields(tt[0])...); r != tt[1] {
			t.Errorf("%s = %q, want %q", tt[0], r, tt[1])
		}
	}
	records := p.info(t, "records")
	for _, command := range []string{"unlink large", "set other x", "del other"} {
		p.must(t, strings.Fields(command)...)
	}
	if got := p.info(t, "records") - records; got != 3 {
		t.Errorf("two large sets went with %d records, want 3", got)
	}
	if live, left := p.info(t, "bytes_live"), heap()-before; live != 0 || left > full/5 {
		t.Errorf("afterwards %d bytes are live, and %d of %d bytes of memory are used; want none, and at most a fifth, for buffers", live, left, full)
	}
}

// TestWhatIsTooMuchForAGroup changes more of a collection than a quarter of a segment holds, which is 256 KiB.
func TestWhatIsTooMuchForAGroup(t *testing.T) {
	folder := disktest.New()
	address, stop := serveFolder(t, folder, nil)
	p := connect(t, address)
	p.must(t, "sadd", "set", "first")
	p.must(t, "expireat", "set", "33177117420")
	pairs := []string{"hset", "hash"}
	for i := range 6000 {
		pairs = append(pairs, fmt.Sprint("field:", i), fmt.Sprint("value:", i))
	}
	for _, tt := range []struct {
		command []string
		want    string
	}{
		{many(0, 10_000, "sadd", "set"), ":10000\r\n"},
		{[]string{"scard", "set"}, ":10001\r\n"},
		{[]string{"expiretime", "set"}, ":33177117420\r\n"},
		{many(0, 8_000, "srem", "set"), ":8000\r\n"},
		{[]string{"scard", "set"}, ":2001\r\n"},
		{many(0, 10_000, "sadd", "set"), ":8000\r\n"},
		{[]string{"expiretime", "set"}, ":33177117420\r\n"},
		{[]string{"hset", "hash", "field:1", "old", "other", "kept"}, ":2\r\n"},
		{pairs, ":5999\r\n"},
		{[]string{"hmget", "hash", "field:1", "field:5999", "other"}, "*3\r\n$7\r\nvalue:1\r\n$10\r\nvalue:5999\r\n$4\r\nkept\r\n"},
		{append(many(0, 10_000, "srem", "set"), "first"), ":10001\r\n"},
		{[]string{"exists", "set"}, ":0\r\n"},
		{many(0, 10_000, "sadd", "set"), ":10000\r\n"},
	} {
		if r := p.must(t, tt.command...); r != tt.want {
			t.Errorf("%.40q = %q, want %q", tt.command, r, tt.want)
		}
	}
	if r := p.must(t, "spop", "set", "9000"); strings.Count(r, "member:") != 9000 {
		t.Errorf("SPOP of 9000 answers with %d members", strings.Count(r, "member:"))
	}
	if r, err := p.do(append([]string{"mset"}, pairs[2:]...)...); !strings.HasPrefix(r, "-ERR more than a quarter of a segment") || !strings.Contains(r, "262144") {
		t.Errorf("MSET of too much = %q, %v; want an error that names the limit", r, err)
	}
	want := p.must(t, "smembers", "set")
	stop()
	again, _ := serveFolder(t, folder.Crash(1), nil)
	p = connect(t, again)
	if got := p.must(t, "smembers", "set"); normal("smembers", got) != normal("smembers", want) || strings.Count(got, "member:") != 1000 {
		t.Errorf("after a restart the set has %d members, want the 1000 that were left", strings.Count(got, "member:"))
	}
	if r := p.must(t, "hlen", "hash"); r != ":6001\r\n" {
		t.Errorf("after a restart HLEN hash = %q, want 6001", r)
	}
}

// TestAReplyWithoutEndEndsTheClient asks for more than any client may get.
func TestAReplyWithoutEndEndsTheClient(t *testing.T) {
	address, _ := serveFolder(t, disktest.New(), func(c *Config) { c.ClientMemory = 8 << 20 })
	admin := connect(t, address)
	admin.must(t, "sadd", "set", "a", "b")
	admin.must(t, "hset", "hash", "f", strings.Repeat("x", 10_000))
	for _, command := range []string{"srandmember set -9223372036854775807", "hrandfield hash -4611686018427387903 withvalues"} {
		greedy := connect(t, address)
		if _, err := greedy.Write(encode(strings.Fields(command)...)); err != nil {
			t.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, greedy); err != nil && n > 8<<20 {
			t.Errorf("%s: %d bytes, %v; want the end", command, n, err)
		}
	}
	if n := admin.info(t, "evicted_clients"); n != 2 {
		t.Errorf("evicted_clients = %d, want both", n)
	}
}

// TestAMillionElementsAreInReach makes a long list and a large sorted set, and works at their middles.
func TestAMillionElementsAreInReach(t *testing.T) {
	p, heap := serveLarge(t)
	before := heap()
	const n, step = 1_000_000, 10_000
	for i := 0; i < n; i += step {
		p.must(t, many(i, i+step, "rpush", "list")...)
	}
	ofList := heap() - before
	for i := 0; i < n; i += step {
		words := []string{"zadd", "zset"}
		for j := i; j < i+step; j++ {
			words = append(words, fmt.Sprint(j), fmt.Sprint("member:", j))
		}
		p.must(t, words...)
	}
	ofZSet := heap() - before - ofList
	t.Logf("%d bytes for an element of a list, %d for one of a sorted set", ofList/n, ofZSet/n)
	if ofList > 30*n || ofZSet > 200*n {
		t.Errorf("%d bytes for an element of a list, %d for one of a sorted set; want at most 30 and 200", ofList/n, ofZSet/n)
	}
	records := p.info(t, "records")
	for _, tt := range [][2]string{
		{"llen list", ":1000000\r\n"}, {"lindex list 500000", "$13\r\nmember:500000\r\n"}, {"lrange list -400000 -399999", "*2\r\n$13\r\nmember:600000\r\n$13\r\nmember:600001\r\n"},
		{"linsert list before member:500000 x", ":1000001\r\n"}, {"lindex list 500000", "$1\r\nx\r\n"}, {"lpos list member:700000", ":700001\r\n"},
		{"lrem list 1 x", ":1\r\n"}, {"ltrim list 600000 600009", "+OK\r\n"}, {"lrange list 0 0", "*1\r\n$13\r\nmember:600000\r\n"},
		{"zrank zset member:123456", ":123456\r\n"}, {"zrange zset 500000 500000", "*1\r\n$13\r\nmember:500000\r\n"}, {"zcount zset 1 (900000", ":899999\r\n"},
		{"zincrby zset 0.5 member:777777", "$8\r\n777777.5\r\n"}, {"zrevrank zset member:777777", ":222222\r\n"}, {"zpopmax zset", "*2\r\n$13\r\nmember:999999\r\n$6\r\n999999\r\n"},
	} {
		if r := p.must(t, strings.Fields(tt[0])...); r != tt[1] {
			t.Errorf("%s = %q, want %q", tt[0], r, tt[1])
		}
	}
	if got := p.info(t, "records") - records; got > 30 {
		t.Errorf("%d records were written by a few changes, want at most 30", got)
	}
}
