package kv

import (
	"io"
	"log/slog"
	"strings"
	"testing"

	"usui/layer/kv/disktest"
)

// TestNumbersAreReadAsRedisReadsThem has both read what strtold of C knows, in all commands that read it, and what it does not.
func TestNumbersAreReadAsRedisReadsThem(t *testing.T) {
	var b strings.Builder
	for _, n := range []string{
		"0x10", "0X1p4", "-0x1.8p-1", "0x", "0x1p", "0xg", "0x1e", "infinity", "-Inf", "+inf", "+-inf", "infin", "nan", "nan(1)", "1e5000", "-1e5000", "1e4932", "1.2e4932", "1e-2000000000", "1e2000000000",
		"1e-4940", "1e-4970", "0e5000", "0e-99999", "0x0p99999", "1e", "e5", "5.", ".5", ".", "+5", "+-5", "1_0", "010", `""`, "0b1", "0o7", "1p5", "1e+5", "1E5", "--1", "0x1p16384", "0x1p16383", "0x1p-16445", "0x1p-16447",
		strings.Repeat("1", 300), strings.Repeat("1", 4000) + "e-3990", strings.Repeat("1", 4930), strings.Repeat("1", 5000), "0." + strings.Repeat("0", 5115) + "1", "0." + strings.Repeat("0", 5200),
	} {
		b.WriteString("a: set f 1\na: incrbyfloat f " + n + "\na: del h f\na: hincrbyfloat h f " + n + "\na: set f " + n + "\na: incrbyfloat f 1\na: hset h f " + n + "\na: hincrbyfloat h f 1\n")
	}
	dialogue(t, b.String())
}

func TestOptionsAreReadAsRedisReadsThem(t *testing.T) {
	dialogue(t, `
a: getex none ex abc
a: lpush l a
a: getex l ex abc
a: getex l
a: set a 1
a: getex a ex abc
a: getex a ex 5000 ex 7000
a: ttl a
a: getex a ex 5 px 7
a: set a 1 ex 5000 ex 9000
a: ttl a
a: set a 1 px 5 ex 9
a: set a 1 keepttl keepttl
a: set a 1 keepttl ex 5
a: getex a persist persist
a: getex a persist ex 5
a: getex a ex 5 persist
a: expire a xx foo
a: expire a abc foo
a: expire a abc nx
a: expire a 5000 nx xx
a: expire a abc nx xx
a: expire a abc gt lt
a: copy a b db 1
a: copy a b db abc
a: copy a b db 1 foo
a: copy a b db 99999999999
a: copy a b db -2147483649
a: copy a b foo db 1
a: copy a a db 1
`)
}

// TestHTTPIsNotExecuted sends what a browser can be made to send.
func TestHTTPIsNotExecuted(t *testing.T) {
	var log syncBuffer
	address, _ := serveFolder(t, disktest.New(), func(c *Config) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	other := connect(t, address)
	other.must(t, "set", "k", "v")
	for _, request := range []string{
		"POST / HTTP/1.1\r\nset k evil\r\n", "get\r\nhost: 127.0.0.1\r\nset k evil\r\n", "Post /\r\n\r\nset k evil\r\n", "multi\r\nHOST: x\r\nset k evil\r\nexec\r\n", "client reply off\r\npost /\r\nset k evil\r\n",
		string(encode("post", "/")) + string(encode("set", "k", "evil")),
	} {
		c := connect(t, address)
		if _, err := c.Write([]byte(request)); err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(c)
		if want := map[byte]string{'g': "-ERR wrong number of arguments for 'get' command\r\n", 'm': "+OK\r\n"}[request[0]]; string(answer) != want || err != nil && !strings.Contains(err.Error(), "reset") {
			t.Errorf("%q: %q, %v; want %q and the end", request, answer, err, want)
		}
	}
	if r := other.must(t, "get", "k"); r != "$1\r\nv\r\n" {
		t.Errorf("GET = %q: what was sent by HTTP was executed", r)
	}
	if n := strings.Count(log.String(), "speaks HTTP"); n != 1 {
		t.Errorf("the log has %d warnings, want 1 a minute:\n%s", n, log.String())
	}
}
