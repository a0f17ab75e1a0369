package server

import (
	"usui/layer/kv/engine"
	"usui/layer/kv/resp"
)

// object tells what Redis would say of how it keeps a key. There is nothing like it here but what programs ask for.
func object(k *call) {
	sub := k.args[1]
	if len(k.args) != 3 {
		k.unknownSub("OBJECT", "encoding refcount idletime freq")
		return
	}
	e, was := k.find(k.args[2])
	switch {
	case !is(sub, "ENCODING") && !is(sub, "REFCOUNT") && !is(sub, "IDLETIME") && !is(sub, "FREQ"):
		k.unknownSub("OBJECT", "encoding refcount idletime freq")
	case !was:
		k.w.Null()
	case is(sub, "ENCODING"):
		k.w.Text(encoding(e))
	case is(sub, "REFCOUNT"):
		k.w.Int(1)
	case is(sub, "IDLETIME"):
		k.w.Int(0)
	default:
		k.fail("ERR An LFU maxmemory policy is not selected, access frequency not tracked. " +
			"Please note that when switching between policies at runtime LRU and LFU data will take some time to adjust.")
	}
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
