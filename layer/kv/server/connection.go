package server

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"slices"
	"time"

	"usui/layer/kv/resp"
)

func connectionCommands() []command {
	return []command{
		{"ping", -1, "fast", 0, 0, 0, ping},
		{"echo", 2, "loading stale fast", 0, 0, 0, func(k *call) { k.w.Bulk(k.args[1]) }},
		{"select", 2, "loading stale fast", 0, 0, 0, selectDB},
		{"hello", -1, "noscript loading stale fast no_auth allow_busy", 0, 0, 0, hello},
		{"auth", -2, "noscript loading stale fast no_auth allow_busy", 0, 0, 0, auth},
		{"quit", -1, "noscript loading stale fast no_auth allow_busy", 0, 0, 0, func(k *call) { k.w.Status("OK"); k.c.closing = true }},
		{"reset", 1, "noscript loading stale fast no_auth allow_busy", 0, 0, 0, reset},
	}
}

// isHTTP says that a command is a line of HTTP: of a request with a body, or its header that every request has.
func isHTTP(name []byte) bool { return is(name, "POST") || is(name, "HOST:") }

// refuseHTTP ends a connection without an answer: a page on the web may have a browser talk to servers behind its firewall, and lines of what it
// sends would be executed. Redis does the same (securityWarningCommand).
func (s *Server) refuseHTTP(c *client) {
	l := c.loop
	l.stats.ProtocolErrors++
	c.closing = true
	if l.clock.Sub(l.warned) < time.Minute {
		return
	}
	l.warned = l.clock
	s.cfg.Logger.Warn("a client that speaks HTTP was disconnected; it may be a browser that a web page has send commands", "addr", c.peer)
}

func ping(k *call) {
	switch n := len(k.args); {
	case n > 2:
		k.fail("ERR wrong number of arguments for 'ping' command")
	case k.c.listens():
		k.w.Array(2)
		k.w.Text("pong")
		if n == 2 {
			k.w.Bulk(k.args[1])
		} else {
			k.w.Text("")
		}
	case n == 2:
		k.w.Bulk(k.args[1])
	default:
		k.w.Status("PONG")
	}
}

func selectDB(k *call) {
	n, ok := resp.ParseInt(k.args[1])
	switch {
	case !ok:
		k.fail("ERR value is not an integer or out of range")
	case n != 0:
		k.fail("ERR DB index is out of range")
	default:
		k.w.Status("OK")
	}
}

// login compares a user and a password with what the server was given; the time it takes tells nothing about it.
func (k *call) login(user, password []byte) bool {
	got, want := sha256.Sum256(password), sha256.Sum256([]byte(k.s.cfg.Password))
	same := subtle.ConstantTimeCompare(got[:], want[:]) == 1
	if !bytes.Equal(user, []byte("default")) || !same && k.s.cfg.Password != "" {
		k.fail("WRONGPASS invalid username-password pair or user is disabled.")
		return false
	}
	k.c.trusted, k.c.parser.Stranger = true, false
	return true
}

func auth(k *call) {
	switch {
	case len(k.args) > 3:
		k.fail(errSyntax)
	case len(k.args) == 2 && k.s.cfg.Password == "":
		k.fail("ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?")
	case len(k.args) == 2 && k.login([]byte("default"), k.args[1]), len(k.args) == 3 && k.login(k.args[1], k.args[2]):
		k.w.Status("OK")
	}
}

func hello(k *call) {
	v3 := k.c.out.V3
	next := 1
	if len(k.args) > 1 {
		n, ok := resp.ParseInt(k.args[1])
		if !ok {
			k.fail("ERR Protocol version is not an integer or out of range")
			return
		}
		if n < 2 || n > 3 {
			k.fail("NOPROTO unsupported protocol version")
			return
		}
		v3, next = n == 3, 2
	}
	name, named := "", false
	for ; next < len(k.args); next++ {
		switch a, left := k.args[next], len(k.args)-next-1; {
		case is(a, "AUTH") && left >= 2:
			if !k.login(k.args[next+1], k.args[next+2]) {
				return
			}
			next += 2
		case is(a, "SETNAME") && left >= 1:
			next++
			if name, named = string(k.args[next]), true; !validName(k.args[next]) {
				k.fail("ERR Client names cannot contain spaces, newlines or special characters.")
				return
			}
		default:
			k.fail(fmt.Sprintf("ERR Syntax error in HELLO option '%s'", a))
			return
		}
	}
	if !k.c.trusted {
		k.fail("NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time")
		return
	}
	if named {
		k.c.name = name
	}
	k.greet(v3)
}

// greet is HELLO's reply.
func (k *call) greet(v3 bool) {
	w := k.w
	w.V3, k.c.out.V3 = v3, v3
	w.Map(7)
	w.Text("server")
	w.Text("redis")
	w.Text("version")
	w.Text(compatible)
	w.Text("proto")
	w.Int(map[bool]int64{false: 2, true: 3}[v3])
	w.Text("id")
	w.Int(int64(k.c.id))
	w.Text("mode")
	w.Text("standalone")
	w.Text("role")
	w.Text("master")
	w.Text("modules")
	w.Array(0)
}

// reset makes the connection as it was when it came.
func reset(k *call) {
	c := k.c
	k.s.forget(c)
	k.s.leaveAll(c)
	k.s.endBackup(c)
	c.out.V3, c.mute, c.skip, c.skipNext = false, false, false, false
	c.name = ""
	c.trusted = k.s.cfg.Password == ""
	c.parser.Stranger = !c.trusted
	k.w = &c.out
	k.w.Status("RESET")
}

func validName(p []byte) bool {
	return !slices.ContainsFunc(p, func(b byte) bool { return b < '!' || b > '~' })
}
