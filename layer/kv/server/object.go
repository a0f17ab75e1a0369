package server

import "usui/layer/kv/resp"

func objectCommands() []command {
	return []command{
		{"object", -2, "", 0, 0, 0, nil},
		{"object|encoding", 3, "readonly", 2, 2, 1, encoding},
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
func (k *call) object() ([]byte, bool) {
	e, ok := k.get(k.args[2])
	if !ok {
		k.w.Null()
	}
	return e.Value, ok
}

// Lengths up to which Redis keeps a value as it says (OBJ_ENCODING_EMBSTR_SIZE_LIMIT, and the digits of a long).
const (
	embeddedBytes = 44
	integerBytes  = 20
)

func encoding(k *call) {
	value, ok := k.object()
	if !ok {
		return
	}
	_, integer := resp.ParseInt(value)
	switch {
	case integer && len(value) <= integerBytes:
		k.w.Text("int")
	case len(value) <= embeddedBytes:
		k.w.Text("embstr")
	default:
		k.w.Text("raw")
	}
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
	if value, ok := k.object(); ok {
		k.w.Int(int64(recordBytes + len(k.args[2]) + len(value)))
	}
}

// recordBytes is what a record has beside key and value.
const recordBytes = 32
