package server

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"usui/layer/kv/resp"
)

func slowlogCommands() []command {
	const flags = "admin loading stale"
	return []command{
		{"slowlog", -2, "", 0, 0, 0, nil},
		{"slowlog|get", -2, flags, 0, 0, 0, slowlogGet},
		{"slowlog|len", 2, flags, 0, 0, 0, func(k *call) { k.w.Int(int64(len(k.s.slow.entries))) }},
		{"slowlog|reset", 2, flags, 0, 0, 0, func(k *call) { k.s.slow.entries = nil; k.w.Status("OK") }},
	}
}

// Bounds of the slow log: how much of a command is kept (SLOWLOG_ENTRY_MAX_ARGC and _STRING of Redis), and how many at most.
const (
	slowArguments = 32
	slowBytes     = 128
	maxSlow       = 10000 // takes 50 MB if all are as long as may be
)

// slowlog is the last commands that took long.
type slowlog struct {
	threshold int64 // microseconds; negative: none is kept
	most      int

	mu      sync.Mutex // guards what follows; who has all of the server needs it not
	lastID  int64
	entries []slowEntry // oldest first
}

type slowEntry struct {
	id, at     int64 // at is Unix time in seconds
	took       time.Duration
	args       []string
	peer, name string
}

// keep throws away all but the last n. More will not be kept from now on.
func (l *slowlog) keep(n int) {
	l.most = n
	l.trim()
}

func (l *slowlog) trim() {
	if over := len(l.entries) - l.most; over > 0 {
		l.entries = slices.Delete(l.entries, 0, over)
	}
}

// noteSlow keeps a command if it took long. Passwords are left out.
func (s *Server) noteSlow(c *client, cmd *known, args [][]byte, took time.Duration) {
	l := &s.slow
	if l.threshold < 0 || took.Microseconds() < l.threshold || l.most == 0 || cmd.hidden {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	e := slowEntry{id: l.lastID, at: s.now.Load() / 1000, took: took, peer: c.peer, name: c.name}
	l.lastID++
	if c.left.open() {
		args = slices.Clone(args)
		args[c.left.number] = c.left.bytes()
	}
	for i, a := range args {
		if left := len(args) - i; i == slowArguments-1 && left > 1 {
			e.args = append(e.args, fmt.Sprintf("... (%d more arguments)", left))
			break
		}
		switch over := len(a) - slowBytes; {
		case i > 0 && cmd.secret:
			e.args = append(e.args, "(redacted)")
		case over > 0:
			e.args = append(e.args, fmt.Sprintf("%s... (%d more bytes)", a[:slowBytes], over))
		default:
			e.args = append(e.args, string(a))
		}
	}
	l.entries = append(l.entries, e)
	l.trim()
}

func slowlogGet(k *call) {
	n := int64(10)
	switch {
	case len(k.args) > 3:
		k.failSub()
		return
	case len(k.args) == 3:
		var ok bool
		if n, ok = resp.ParseInt(k.args[2]); !ok || n < -1 {
			k.fail("ERR count should be greater than or equal to -1")
			return
		}
	}
	all := k.s.slow.entries
	if n >= 0 {
		all = all[max(0, int64(len(all))-n):]
	}
	w := k.w
	w.Array(len(all))
	for _, e := range slices.Backward(all) {
		w.Array(6)
		w.Int(e.id)
		w.Int(e.at)
		w.Int(e.took.Microseconds())
		w.Array(len(e.args))
		for _, a := range e.args {
			w.Text(a)
		}
		w.Text(e.peer)
		w.Text(e.name)
	}
}
