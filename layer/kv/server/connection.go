package server

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"slices"
	"strings"

	"usui/layer/kv/resp"
)

func connectionCommands() []command {
	return []command{
		{"ping", -1, "fast", 0, 0, 0, ping},
		{"echo", 2, "loading stale fast", 0, 0, 0, func(k *call) { k.w.Bulk(k.args[1]) }},
		{"select", 2, "loading stale fast", 0, 0, 0, selectDB},
		{"hello", -1, "noscript loading stale fast no_auth allow_busy", 0, 0, 0, hello},
		{"auth", -2, "noscript loading stale fast no_auth allow_busy", 0, 0, 0, auth},
		{"client", -2, "", 0, 0, 0, clientCommand},
		{"quit", -1, "noscript loading stale fast no_auth allow_busy", 0, 0, 0, func(k *call) { k.w.Status("OK"); k.c.closing = true }},
		{"reset", 1, "noscript loading stale fast no_auth allow_busy", 0, 0, 0, reset},
	}
}

func ping(k *call) {
	switch len(k.args) {
	case 1:
		k.w.Status("PONG")
	case 2:
		k.w.Bulk(k.args[1])
	default:
		k.fail("ERR wrong number of arguments for 'ping' command")
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
	v3 := k.w.V3
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
	w.V3 = v3
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

func reset(k *call) {
	k.w.V3 = false
	k.c.name = ""
	k.c.trusted = k.s.cfg.Password == ""
	k.c.parser.Stranger = !k.c.trusted
	k.w.Status("RESET")
}

func validName(p []byte) bool {
	return !slices.ContainsFunc(p, func(b byte) bool { return b < '!' || b > '~' })
}

func clientCommand(k *call) {
	sub := k.args[1]
	switch n := len(k.args); {
	case is(sub, "ID") && n == 2:
		k.w.Int(int64(k.c.id))
	case is(sub, "GETNAME") && n == 2:
		if k.c.name == "" {
			k.w.Null()
		} else {
			k.w.Text(k.c.name)
		}
	case is(sub, "SETNAME") && n == 3:
		if !validName(k.args[2]) {
			k.fail("ERR Client names cannot contain spaces, newlines or special characters.")
			return
		}
		k.c.name = string(k.args[2])
		k.w.Status("OK")
	case is(sub, "SETINFO") && n == 4, is(sub, "NO-EVICT") && n == 3, is(sub, "NO-TOUCH") && n == 3:
		k.w.Status("OK") // libraries announce themselves; the other two are for what is not here
	case is(sub, "INFO") && n == 2:
		k.w.Verbatim(k.describe(k.c))
	case is(sub, "LIST") && n == 2:
		k.w.Verbatim(k.listClients())
	case is(sub, "KILL") && n == 4 && is(k.args[2], "ID"):
		k.kill()
	default:
		k.unknownSub("CLIENT", "id getname setname setinfo no-evict no-touch info list kill")
	}
}

// unknownSub answers as Redis does: known are the subcommands that there are, for which the number of arguments was wrong.
func (k *call) unknownSub(of, known string) {
	sub := strings.ToLower(string(k.args[1][:min(len(k.args[1]), 128)]))
	if slices.Contains(strings.Fields(known), sub) {
		k.fail(fmt.Sprintf("ERR wrong number of arguments for '%s|%s' command", strings.ToLower(of), sub))
		return
	}
	k.fail(fmt.Sprintf("ERR unknown subcommand '%s'. Try %s HELP.", k.args[1][:min(len(k.args[1]), 128)], of))
}

func (k *call) kill() {
	id, ok := resp.ParseInt(k.args[3])
	if !ok || id <= 0 {
		k.fail("ERR client-id should be greater than 0")
		return
	}
	for _, c := range k.s.clients {
		switch {
		case c.id != uint64(id):
		case c == k.c:
			c.closing = true
			k.w.Int(1)
			return
		default:
			k.s.drop(c)
			k.w.Int(1)
			return
		}
	}
	k.w.Int(0)
}

func (k *call) listClients() string {
	var b strings.Builder
	all := make([]*client, 0, len(k.s.clients))
	for _, c := range k.s.clients {
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b *client) int { return cmp.Compare(a.id, b.id) })
	for _, c := range all {
		b.WriteString(k.describe(c))
	}
	return b.String()
}

func (k *call) describe(c *client) string {
	version := 2
	if c.out.V3 {
		version = 3
	}
	return fmt.Sprintf("id=%d addr=%s fd=%d name=%s age=%d idle=%d flags=N db=0 qbuf=%d omem=%d tot-mem=%d cmd=%s user=default resp=%d\n",
		c.id, c.peer, c.fd, c.name, (k.s.now-c.since)/1000, (k.s.now-c.last)/1000, len(c.in), len(c.out.Out)-c.sent, c.memory, c.command, version)
}
