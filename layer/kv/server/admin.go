package server

import (
	"fmt"
	"time"

	"usui/layer/kv/resp"
)

// compatible is the version of Redis whose answers these are.
const compatible = "7.0.15"

func serverCommands() []command {
	return []command{
		{"info", -1, "loading stale", 0, 0, 0, info},
		{"time", 1, "loading stale fast", 0, 0, 0, timeNow},
		{"wait", 3, "noscript", 0, 0, 0, wait},
		{"waitaof", 4, "noscript", 0, 0, 0, waitAOF}, // of Redis 7.2
		{"swapdb", 3, "write fast", 0, 0, 0, swapDB},
		{"shutdown", -1, "admin noscript loading stale no_multi allow_busy", 0, 0, 0, shutdown},
	}
}

func timeNow(k *call) {
	now := time.Now()
	k.w.Array(2)
	k.w.Text(fmt.Sprint(now.Unix()))
	k.w.Text(fmt.Sprint(now.Nanosecond() / 1000))
}

// wait has no replicas to wait for.
func wait(k *call) {
	if _, ok := k.integer(k.args[1]); !ok {
		return
	}
	if _, ok := k.timeout(k.args[2]); ok {
		k.w.Int(0)
	}
}

// waitAOF waits for what was written here, and has no replicas to wait for.
func waitAOF(k *call) {
	local, ok := k.integer(k.args[1])
	if !ok {
		return
	}
	if local < 0 || local > 1 {
		k.fail("ERR value is out of range, must be between 0 and 1")
		return
	}
	if _, ok := k.integer(k.args[2]); !ok {
		return
	}
	if _, ok := k.timeout(k.args[3]); !ok {
		return
	}
	k.all()
	k.w.Array(2)
	k.w.Int(1)
	k.w.Int(0)
}

func (k *call) timeout(p []byte) (int64, bool) {
	n, ok := resp.ParseInt(p)
	switch {
	case !ok:
		k.fail("ERR timeout is not an integer or out of range")
	case n < 0:
		k.fail("ERR timeout is negative")
	}
	return n, ok && n >= 0
}

// swapDB has one database to swap with itself.
func swapDB(k *call) {
	a, ok1 := resp.ParseInt(k.args[1])
	b, ok2 := resp.ParseInt(k.args[2])
	switch {
	case !ok1:
		k.fail("ERR invalid first DB index")
	case !ok2:
		k.fail("ERR invalid second DB index")
	case a != 0 || b != 0:
		k.fail("ERR DB index is out of range")
	default:
		k.w.Status("OK")
	}
}

// shutdown ends the server. There is nothing to save, and nothing that could fail.
func shutdown(k *call) {
	var save, noSave, abort, other bool
	for _, a := range k.args[1:] {
		switch {
		case is(a, "SAVE"):
			save = true
		case is(a, "NOSAVE"):
			noSave = true
		case is(a, "ABORT"):
			abort = true
		case is(a, "NOW"), is(a, "FORCE"):
			other = true
		default:
			k.fail(errSyntax)
			return
		}
	}
	switch {
	case save && noSave, abort && (save || noSave || other):
		k.fail(errSyntax)
	case abort:
		k.fail("ERR No shutdown in progress.")
	default:
		k.s.cfg.Logger.Info("a client ends the server", "id", k.c.id, "addr", k.c.peer)
		k.s.stopping.Store(true)
		k.c.closing = true
	}
}
