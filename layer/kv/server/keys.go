package server

import (
	"slices"
	"strconv"
	"strings"

	"usui/layer/kv/engine"
)

func keyCommands() []command {
	return []command{
		{"del", -2, "write", 1, -1, 1, del},
		{"unlink", -2, "write fast", 1, -1, 1, del},
		{"exists", -2, "readonly fast", 1, -1, 1, exists},
		{"touch", -2, "readonly fast", 1, -1, 1, exists},
		{"type", 2, "readonly fast", 1, 1, 1, typeOf},
		{"keys", 2, "readonly", 0, 0, 0, keys},
		{"scan", -2, "readonly", 0, 0, 0, scan},
		{"randomkey", 1, "readonly", 0, 0, 0, randomKey},
		{"rename", 3, "write", 1, 2, 1, func(k *call) { k.rename(false) }},
		{"renamenx", 3, "write fast", 1, 2, 1, func(k *call) { k.rename(true) }},
		{"copy", -3, "write denyoom", 1, 2, 1, copyKey},
		{"dbsize", 1, "readonly fast", 0, 0, 0, func(k *call) { k.all(); k.w.Int(int64(k.l.store.Len())) }},
		{"flushall", -1, "write", 0, 0, 0, flush},
		{"flushdb", -1, "write", 0, 0, 0, flush},
	}
}

func del(k *call) {
	at := k.c.deleting
	k.need = max(k.need, at.need)
	for ; at.next < len(k.args)-1; at.next++ {
		was, ok := k.remove(k.args[1+at.next])
		if !ok {
			if k.l.store.Short() {
				at.need = k.need
				k.c.deleting = at
			}
			return
		}
		if was {
			at.gone++
		}
	}
	k.w.Int(at.gone)
}

// deleting is how far a DEL came that is to be done again: see call.run.
type deleting struct {
	next int    // argument, of the keys
	gone int64  // of those before
	need uint64 // what its reply waits for
}

func exists(k *call) {
	n := int64(0)
	for _, key := range k.args[1:] {
		if _, ok := k.find(key); ok {
			n++
		}
	}
	k.w.Int(n)
}

func typeOf(k *call) {
	if e, ok := k.find(k.args[1]); ok {
		k.w.Status(e.Kind().String())
	} else {
		k.w.Status("none")
	}
}

func keys(k *call) {
	k.all()
	found := k.scratch[:0]
	n := 0
	for cursor, first := uint64(0), true; first || cursor != 0; first = false {
		cursor = k.l.store.Scan(cursor, 1000, func(key []byte, _ engine.Entry) {
			if match(k.args[1], key) {
				n++
				found = strconv.AppendInt(append(found, '$'), int64(len(key)), 10)
				found = append(append(append(found, "\r\n"...), key...), "\r\n"...)
			}
		})
	}
	k.w.Array(n)
	k.w.Out = append(k.w.Out, found...)
	k.scratch = found
}

func scan(k *call) {
	cursor, ok := k.cursor(k.args[1])
	if !ok {
		return
	}
	o, ok := k.scanOptions(2, true)
	if !ok {
		return
	}
	k.all()
	var found [][]byte
	next := k.l.store.Scan(cursor, o.count, func(key []byte, e engine.Entry) {
		if (o.kind == nil || is(o.kind, strings.ToUpper(e.Kind().String()))) && (o.pattern == nil || match(o.pattern, key)) {
			found = append(found, key)
		}
	})
	k.w.Array(2)
	k.w.Text(strconv.FormatUint(next, 10))
	k.w.Array(len(found))
	for _, key := range found {
		k.w.Bulk(key)
	}
}

func randomKey(k *call) {
	k.all()
	if key, ok := k.l.store.Random(); ok {
		k.w.Bulk(key)
	} else {
		k.w.Null()
	}
}

func (k *call) rename(onlyNew bool) {
	from, to := k.args[1], k.args[2]
	e, ok := k.find(from)
	if !ok {
		k.fail(errNoKey)
		return
	}
	if onlyNew {
		if _, was := k.find(to); was {
			k.w.Int(0)
			return
		}
	}
	if !slices.Equal(from, to) && !k.move(from, to, len(e.Value)) {
		return
	}
	if onlyNew {
		k.w.Int(1)
	} else {
		k.w.Status("OK")
	}
}

// move gives a key's value, which is size bytes long, to another.
func (k *call) move(from, to []byte, size int) (ok bool) {
	if err := k.l.store.Begin(engine.Room(len(to), size) + engine.Room(len(from), 0)); err != nil {
		return k.wrote(err)
	}
	defer k.l.store.End()
	e, _ := k.find(from) // again: Begin may have moved the value
	if err := k.give(to, e, e.Expire); err != nil {
		return k.wrote(err)
	}
	_, ok = k.remove(from)
	return ok
}

func copyKey(k *call) {
	replace := false
	for i := 3; i < len(k.args); i++ {
		switch a := k.args[i]; {
		case is(a, "REPLACE"):
			replace = true
		case is(a, "DB") && i+1 < len(k.args):
			i++
			n, ok := k.integer(k.args[i])
			if !ok {
				return
			}
			if n != int64(int32(n)) {
				k.fail("ERR value is out of range, value must between -2147483648 and 2147483647")
				return
			}
			if n != 0 {
				k.fail("ERR DB index is out of range")
				return
			}
		default:
			k.fail(errSyntax)
			return
		}
	}
	if slices.Equal(k.args[1], k.args[2]) {
		k.fail("ERR source and destination objects are the same")
		return
	}
	if _, was := k.find(k.args[2]); was && !replace {
		k.w.Int(0)
		return
	}
	e, was := k.find(k.args[1])
	switch {
	case !was:
		k.w.Int(0)
	case e.Collection != nil:
		if k.copyCollection(k.args[2], e) {
			k.w.Int(1)
		}
	case k.wrote(k.give(k.args[2], e, e.Expire)):
		k.w.Int(1)
	}
}

func (k *call) copyCollection(to []byte, from engine.Entry) (ok bool) {
	e := k.replace(to, from.Kind())
	e.expire = from.Expire
	e.copy(from.Collection)
	return e.finish()
}

func flush(k *call) {
	if len(k.args) > 2 || len(k.args) == 2 && !is(k.args[1], "SYNC") && !is(k.args[1], "ASYNC") {
		k.fail(errSyntax)
		return
	}
	if k.wrote(k.l.store.Clear()) {
		k.w.Status("OK")
	}
}
