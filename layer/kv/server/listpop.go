package server

import (
	"usui/layer/kv/collection"
	"usui/layer/kv/engine"
	"usui/layer/kv/resp"
)

// take answers with count elements at one end, in a way that answer knows, and takes them out.
func (k *call) take(key []byte, c *engine.Collection, count int, from side, answer func(l *collection.Series)) {
	l, start := c.Elements.(*collection.Series), len(k.w.Out)
	answer(l)
	end := len(k.w.Out)
	if !k.cut(key, c, from.span(l.Len(), count)) { // and the reason was answered
		k.w.Out = append(k.w.Out[:start], k.w.Out[end:]...)
	}
}

// positive reads a number that is not negative, and answers if it is none.
func (k *call) positive(arg []byte) (int, bool) {
	n, ok := resp.ParseInt(arg)
	if !ok || n < 0 {
		k.fail("ERR value is out of range, must be positive")
		return 0, false
	}
	return int(n), true
}

// popCount reads how many elements a pop is to take: one, unless there is a count. It answers if that is none.
func (k *call) popCount() (count int, many, ok bool) {
	if len(k.args) == 2 {
		return 1, false, true
	}
	count, ok = k.positive(k.args[2])
	return count, true, ok
}

func (k *call) popFrom(from side) {
	if len(k.args) > 3 {
		k.fail("ERR wrong number of arguments for '" + k.c.command + "' command")
		return
	}
	count, many, ok := k.popCount()
	if !ok {
		return
	}
	c, l, ok := k.list(k.args[1])
	switch {
	case !ok:
	case c == nil && many:
		k.w.NullArray()
	case c == nil:
		k.w.Null()
	case count == 0:
		k.w.Array(0)
	case many:
		count = min(count, l.Len())
		k.take(k.args[1], c, count, from, func(l *collection.Series) { k.elements(l, count, from) })
	default:
		k.take(k.args[1], c, 1, from, func(l *collection.Series) { k.element(l, from.of(l.Len())) })
	}
}

// several is what LMPOP and ZMPOP have in their arguments.
type several struct {
	keys  [][]byte
	from  side
	count int
}

// several reads a number of keys, these, an end, and perhaps a count, and answers if that is not what it finds.
func (k *call) several(args [][]byte, side func([]byte) (side, bool)) (m several, ok bool) {
	n, ok := resp.ParseInt(args[0])
	if !ok || n < 1 {
		k.fail("ERR numkeys should be greater than 0")
		return m, false
	}
	if n > int64(len(args)-2) {
		k.fail(errSyntax)
		return m, false
	}
	m.keys, m.count, args = args[1:n+1], 1, args[n+1:]
	if m.from, ok = side(args[0]); !ok {
		return m, false
	}
	counted := false
	for args = args[1:]; len(args) > 0; args = args[2:] {
		if counted || len(args) < 2 || !is(args[0], "COUNT") {
			k.fail(errSyntax)
			return m, false
		}
		counted = true
		n, ok := resp.ParseInt(args[1])
		if !ok || n < 1 {
			k.fail("ERR count should be greater than 0")
			return m, false
		}
		m.count = int(n)
	}
	return m, true
}

// first finds the first of keys that has a collection of that kind. c is nil if none has; ok is false if one has something else.
func (k *call) first(keys [][]byte, kind collection.Kind) (key []byte, c *engine.Collection, ok bool) {
	for _, key := range keys {
		if c, ok = k.collection(key, kind); !ok || c != nil {
			return key, c, ok
		}
	}
	return nil, nil, true
}

// popSeveral is LMPOP and ZMPOP.
func (k *call) popSeveral(kind collection.Kind, end func([]byte) (side, bool), serve func(*call, []byte, *engine.Collection, several)) {
	m, ok := k.several(k.args[1:], end)
	if !ok {
		return
	}
	key, c, ok := k.first(m.keys, kind)
	switch {
	case !ok:
	case c == nil:
		k.w.NullArray()
	default:
		serve(k, key, c, m)
	}
}

// blockingPopSeveral is BLMPOP and BZMPOP.
func (k *call) blockingPopSeveral(kind collection.Kind, end func([]byte) (side, bool), serve func(*call, []byte, *engine.Collection, several)) {
	until, ok := k.deadline(k.args[1])
	if !ok {
		return
	}
	if m, ok := k.several(k.args[2:], end); ok {
		k.popOrBlock(m.keys, kind, until, func(k *call, key []byte, c *engine.Collection) { serve(k, key, c, m) })
	}
}

// blockingPop is BLPOP and BRPOP.
func (k *call) blockingPop(from side) {
	last := len(k.args) - 1
	until, ok := k.deadline(k.args[last])
	if !ok {
		return
	}
	k.popOrBlock(k.args[1:last], collection.List, until, func(k *call, key []byte, c *engine.Collection) {
		k.take(key, c, 1, from, func(l *collection.Series) {
			k.w.Array(2)
			k.w.Bulk(key)
			k.element(l, from.of(l.Len()))
		})
	})
}

// popOrBlock serves from the first of keys that has a collection of that kind, or waits until one has.
func (k *call) popOrBlock(keys [][]byte, kind collection.Kind, until int64, serve func(k *call, key []byte, c *engine.Collection)) {
	key, c, ok := k.first(keys, kind)
	switch {
	case !ok:
	case c == nil:
		k.block(keys, kind, until, serve)
	default:
		serve(k, key, c)
	}
}

// takeSeveral answers as LMPOP does.
func (k *call) takeSeveral(key []byte, c *engine.Collection, m several) {
	count := min(m.count, c.Elements.Len())
	k.take(key, c, count, m.from, func(l *collection.Series) {
		k.w.Array(2)
		k.w.Bulk(key)
		k.elements(l, count, m.from)
	})
}
