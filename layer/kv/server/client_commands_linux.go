package server

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"usui/layer/kv/resp"
)

func clientCommands() []command {
	const plain, admin = "noscript loading stale", "admin noscript loading stale"
	return []command{
		{"client", -2, "", 0, 0, 0, nil},
		{"client|id", 2, plain, 0, 0, 0, func(k *call) { k.w.Int(int64(k.c.id)) }},
		{"client|getname", 2, plain, 0, 0, 0, getName},
		{"client|setname", 3, plain, 0, 0, 0, setName},
		{"client|setinfo", 4, plain, 0, 0, 0, func(k *call) { k.w.Status("OK") }}, // of Redis 7.2: libraries tell their names
		{"client|info", 2, plain, 0, 0, 0, func(k *call) { k.w.Verbatim(k.describe(k.c)) }},
		{"client|list", -2, admin, 0, 0, 0, listClients},
		{"client|kill", -3, admin, 0, 0, 0, killClients},
		{"client|pause", -3, admin, 0, 0, 0, pauseClients},
		{"client|unpause", 2, admin, 0, 0, 0, func(k *call) { k.s.unpause(); k.w.Status("OK") }},
		{"client|reply", 3, plain, 0, 0, 0, chooseReplies},
		{"client|no-evict", 3, admin, 0, 0, 0, noEvict},
		{"client|no-touch", 3, plain, 0, 0, 0, noTouch}, // of Redis 7.2
		{"client|unblock", -3, admin, 0, 0, 0, unblockClient},
		{"client|tracking", -3, plain, 0, 0, 0, tracking},
		{"client|trackinginfo", 2, plain, 0, 0, 0, trackingInfo},
		{"client|caching", 3, plain, 0, 0, 0, func(k *call) {
			k.fail("ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled")
		}},
		{"client|getredir", 2, plain, 0, 0, 0, func(k *call) { k.w.Int(-1) }},
	}
}

func getName(k *call) {
	if k.c.name == "" {
		k.w.Null()
	} else {
		k.w.Text(k.c.name)
	}
}

func setName(k *call) {
	if !validName(k.args[2]) {
		k.fail("ERR Client names cannot contain spaces, newlines or special characters.")
		return
	}
	k.c.name = string(k.args[2])
	k.w.Status("OK")
}

// chooseReplies is CLIENT REPLY. What was chosen counts from its own reply on.
func chooseReplies(k *call) {
	c := k.c
	switch a := k.args[2]; {
	case is(a, "ON"):
		c.mute, c.skip = false, false
		k.w = &c.out
		k.w.Status("OK")
	case is(a, "OFF"):
		c.mute = true
		k.w = k.l.nowhere(c)
	case is(a, "SKIP"):
		c.skipNext = !c.mute
	default:
		k.fail(errSyntax)
	}
}

// nowhere is a writer for the replies that c does not want.
func (l *loop) nowhere(c *client) *resp.Writer {
	if cap(l.unwanted.Out) > bufferBytes {
		l.unwanted.Out = nil
	}
	l.unwanted = resp.Writer{Out: l.unwanted.Out[:0], V3: c.out.V3, Max: outputBytes}
	return &l.unwanted
}

func noEvict(k *call) {
	switch a := k.args[2]; {
	case is(a, "OFF"):
		k.w.Status("OK")
	case is(a, "ON"):
		k.fail("ERR memory for clients is bounded, with no exception")
	default:
		k.fail(errSyntax)
	}
}

// noTouch has nothing to do: when a key was read is not kept.
func noTouch(k *call) {
	if is(k.args[2], "ON") || is(k.args[2], "OFF") {
		k.w.Status("OK")
		return
	}
	k.fail(errSyntax)
}

func tracking(k *call) {
	switch a := k.args[2]; {
	case is(a, "OFF") && len(k.args) == 3:
		k.w.Status("OK")
	case is(a, "ON"):
		k.fail("ERR client tracking is not there: the server does not keep what clients have read")
	default:
		k.fail(errSyntax)
	}
}

func trackingInfo(k *call) {
	k.w.Map(3)
	k.w.Text("flags")
	k.w.Set(1)
	k.w.Text("off")
	k.w.Text("redirect")
	k.w.Int(-1)
	k.w.Text("prefixes")
	k.w.Array(0)
}

// clientFilter says which clients CLIENT LIST and KILL mean.
type clientFilter struct {
	id            uint64
	ids           []uint64 // any of them
	role          string   // normal, pubsub; others have no clients
	address, here string
	skip          *client
	listed        bool // ids count, even if there are none
}

func (f *clientFilter) matches(c *client) bool {
	role := "normal"
	if c.subscriber() {
		role = "pubsub"
	}
	return (f.id == 0 || c.id == f.id) && (!f.listed || slices.Contains(f.ids, c.id)) && (f.role == "" || role == f.role) &&
		(f.address == "" || c.peer == f.address) && (f.here == "" || c.local() == f.here) && c != f.skip
}

// role reads a type of clients, and answers if there is none of that name.
func (k *call) role(p []byte) (string, bool) {
	name := strings.ToLower(string(p))
	if name == "slave" {
		name = "replica"
	}
	if !slices.Contains([]string{"normal", "replica", "pubsub", "master"}, name) {
		k.fail(fmt.Sprintf("ERR Unknown client type '%s'", p))
		return "", false
	}
	return name, true
}

func listClients(k *call) {
	var f clientFilter
	switch n := len(k.args); {
	case n == 4 && is(k.args[2], "TYPE"):
		role, ok := k.role(k.args[3])
		if !ok {
			return
		}
		f.role = role
	case n > 3 && is(k.args[2], "ID"):
		f.listed = true
		for _, a := range k.args[3:] {
			id, ok := resp.ParseInt(a)
			if !ok {
				k.fail("ERR Invalid client ID")
				return
			}
			f.ids = append(f.ids, uint64(id))
		}
	case n != 2:
		k.fail(errSyntax)
		return
	}
	var b strings.Builder
	for _, c := range k.s.ordered() {
		if f.matches(c) {
			b.WriteString(k.describe(c))
		}
	}
	k.w.Verbatim(b.String())
}

// ordered is all clients in the order in which they came.
func (s *Server) ordered() []*client {
	return slices.SortedFunc(maps.Values(s.clients), func(a, b *client) int { return cmp.Compare(a.id, b.id) })
}

// killClients is CLIENT KILL, in its old form with an address and in the new one with filters.
func killClients(k *call) {
	f, old, ok := clientFilter{skip: k.c}, len(k.args) == 3, true
	if old {
		f.address, f.skip = string(k.args[2]), nil
	} else if f, ok = k.killFilter(); !ok {
		return
	}
	n := int64(0)
	for _, c := range k.s.ordered() {
		if !f.matches(c) {
			continue
		}
		if n++; c == k.c {
			c.closing = true
		} else {
			k.s.drop(c)
		}
		if old {
			break
		}
	}
	switch {
	case !old:
		k.w.Int(n)
	case n == 0:
		k.fail("ERR No such client")
	default:
		k.w.Status("OK")
	}
}

// killFilter reads pairs of filters, and answers if they are wrong.
func (k *call) killFilter() (clientFilter, bool) {
	f := clientFilter{skip: k.c}
	for i := 2; i < len(k.args); i += 2 {
		if i+1 == len(k.args) {
			k.fail(errSyntax)
			return f, false
		}
		ok := true
		switch a, value := k.args[i], k.args[i+1]; {
		case is(a, "ID"):
			id, valid := resp.ParseInt(value)
			if f.id, ok = uint64(id), valid && id > 0; !ok {
				k.fail("ERR client-id should be greater than 0")
			}
		case is(a, "TYPE"):
			f.role, ok = k.role(value)
		case is(a, "ADDR"):
			f.address = string(value)
		case is(a, "LADDR"):
			f.here = string(value)
		case is(a, "USER"):
			if ok = string(value) == "default"; !ok {
				k.fail(fmt.Sprintf("ERR No such user '%s'", value))
			}
		case is(a, "SKIPME") && is(value, "YES"):
			f.skip = k.c
		case is(a, "SKIPME") && is(value, "NO"):
			f.skip = nil
		default:
			ok = false
			k.fail(errSyntax)
		}
		if !ok {
			return f, false
		}
	}
	return f, true
}

// local is the address at which a client came in.
func (c *client) local() string {
	if c.here == "" {
		a, err := unix.Getsockname(c.fd)
		if err != nil {
			return "" // it is gone
		}
		c.here = address(a)
	}
	return c.here
}

// describe is a line of CLIENT LIST.
func (k *call) describe(c *client) string {
	version, queued := 2, -1
	if c.out.V3 {
		version = 3
	}
	if c.queue != nil {
		queued = len(c.queue.commands)
	}
	waits := len(c.out.Out) - c.sent
	return fmt.Sprintf("id=%d addr=%s laddr=%s fd=%d name=%s age=%d idle=%d flags=%s db=0 sub=%d psub=%d ssub=%d multi=%d qbuf=%d qbuf-free=%d argv-mem=0 "+
		"multi-mem=%d rbs=%d rbp=%d obl=%d oll=0 omem=%d tot-mem=%d events=%s cmd=%s user=default redir=-1 resp=%d\n",
		c.id, c.peer, c.local(), c.fd, c.name, (k.l.now-c.since)/1000, (k.l.now-c.last)/1000, c.flags(),
		len(c.topics[channels]), len(c.topics[patterns]), len(c.topics[shards]), queued, len(c.in), cap(c.in)-len(c.in),
		c.queue.memory(), cap(c.out.Out), cap(c.out.Out), waits, waits, c.memory, c.interests(), cmp.Or(c.command, "NULL"), version)
}

// flags are letters for what a client is, those of Redis.
func (c *client) flags() string {
	all := ""
	for _, f := range []struct {
		set    bool
		letter string
	}{{c.subscriber(), "P"}, {c.queue != nil, "x"}, {c.stalled || c.wait != nil, "b"}, {c.stale, "d"}, {c.closing, "c"}, {c.unix, "U"}} {
		if f.set {
			all += f.letter
		}
	}
	return cmp.Or(all, "N")
}

// interests are letters for what the poll looks for.
func (c *client) interests() string {
	all := ""
	if c.events&unix.EPOLLIN != 0 {
		all = "r"
	}
	if c.events&unix.EPOLLOUT != 0 {
		all += "w"
	}
	return all
}
