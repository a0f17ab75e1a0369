package server

import (
	"usui/layer/kv/engine"
	"usui/layer/kv/resp"
)

func objectCommands() []command {
	return []command{
		{"object", -2, "", 0, 0, 0, nil},
		{"object|encoding", 3, "readonly", 2, 2, 1, func(k *call) {
			if e, ok := k.object(); ok {
				k.w.Text(encoding(e))
			}
		}},
		{"object|refcount", 3, "readonly", 2, 2, 1, func(k *call) {
			if _, ok := k.object(); ok {
				k.w.Int(1)
			}
		}},
		{"object|freq", 3, "readonly", 2, 2, 1, func(k *call) {
			if _, ok := k.object(); ok {
				k.fail("ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching between policies at " +
					"runtime LRU and LFU data will take some time to adjust.")
			}
		}},
		{"object|idletime", 3, "readonly", 2, 2, 1, func(k *call) {
			if _, ok := k.object(); ok {
				k.fail("ERR idle time is not tracked")
			}
		}},
		{"memory", -2, "", 0, 0, 0, nil},
		{"memory|usage", -3, "readonly", 2, 2, 1, memoryUsage},
		{"latency", -2, "", 0, 0, 0, nil},
		{"latency|latest", 2, "admin noscript loading stale", 0, 0, 0, func(k *call) { k.w.Array(0) }}, // there is no monitor
		{"latency|history", 3, "admin noscript loading stale", 0, 0, 0, func(k *call) { k.w.Array(0) }},
		{"latency|reset", -2, "admin noscript loading stale", 0, 0, 0, func(k *call) { k.w.Int(0) }},
	}
}

// object reads the key that OBJECT names, and answers if there is none.
func (k *call) object() (engine.Entry, bool) {
	e, ok := k.find(k.args[2])
	if !ok {
		k.w.Null()
	}
	return e, ok
}

// embedded is how long a string is at most that Redis keeps beside its object (OBJ_ENCODING_EMBSTR_SIZE_LIMIT).
const embedded = 44

// encoding is Redis' name for how it would keep a value that was set as a whole. That a string was appended to is not known here.
func encoding(e engine.Entry) string {
	if e.Collection != nil {
		return e.Collection.Elements.Encoding()
	}
	if _, ok := resp.ParseInt(e.Value); ok {
		return "int"
	}
	if len(e.Value) <= embedded {
		return "embstr"
	}
	return "raw"
}

// memoryUsage answers with what a key takes in the log.
func memoryUsage(k *call) {
	for i := 3; i < len(k.args); i += 2 {
		if !is(k.args[i], "SAMPLES") || i+1 == len(k.args) {
			k.fail(errSyntax)
			return
		}
		n, ok := k.integer(k.args[i+1])
		if !ok {
			return
		}
		if n < 0 {
			k.fail(errSyntax)
			return
		}
	}
	e, ok := k.object()
	if !ok {
		return
	}
	n := engine.Room(len(k.args[2]), len(e.Value))
	if e.Collection != nil {
		e.Collection.Elements.Each(func(key string, at uint64) bool {
			n += engine.Room(len(key), len(k.l.store.Value(at)))
			return true
		})
	}
	k.w.Int(int64(n))
}
