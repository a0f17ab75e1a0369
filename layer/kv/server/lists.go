package server

import (
	"bytes"
	"slices"

	"usui/layer/kv/collection"
	"usui/layer/kv/engine"
)

func listTypeCommands() []command {
	return []command{
		{"lpush", -3, "write denyoom fast", 1, 1, 1, func(k *call) { k.push(head, true) }},
		{"rpush", -3, "write denyoom fast", 1, 1, 1, func(k *call) { k.push(tail, true) }},
		{"lpushx", -3, "write denyoom fast", 1, 1, 1, func(k *call) { k.push(head, false) }},
		{"rpushx", -3, "write denyoom fast", 1, 1, 1, func(k *call) { k.push(tail, false) }},
		{"lpop", -2, "write fast", 1, 1, 1, func(k *call) { k.popFrom(head) }},
		{"rpop", -2, "write fast", 1, 1, 1, func(k *call) { k.popFrom(tail) }},
		{"lmpop", -4, "write movablekeys", 0, 0, 0, func(k *call) { k.popSeveral(collection.List, k.side, (*call).takeSeveral) }},
		{"lmove", 5, "write denyoom", 1, 2, 1, lmove},
		{"rpoplpush", 3, "write denyoom", 1, 2, 1, func(k *call) { k.moveElement(k.args[1], k.args[2], tail, head) }},
		{"blpop", -3, "write noscript blocking", 1, -2, 1, func(k *call) { k.blockingPop(head) }},
		{"brpop", -3, "write noscript blocking", 1, -2, 1, func(k *call) { k.blockingPop(tail) }},
		{"blmpop", -5, "write blocking movablekeys", 0, 0, 0, func(k *call) { k.blockingPopSeveral(collection.List, k.side, (*call).takeSeveral) }},
		{"blmove", 6, "write denyoom noscript blocking", 1, 2, 1, blmove},
		{"brpoplpush", 4, "write denyoom noscript blocking", 1, 2, 1, func(k *call) { k.blockingMove(tail, head, k.args[3]) }},
		{"llen", 2, "readonly fast", 1, 1, 1, llen},
		{"lrange", 4, "readonly", 1, 1, 1, lrange},
		{"lindex", 3, "readonly", 1, 1, 1, lindex},
		{"lpos", -3, "readonly", 1, 1, 1, lpos},
		{"lset", 4, "write denyoom", 1, 1, 1, lset},
		{"linsert", 5, "write denyoom", 1, 1, 1, linsert},
		{"lrem", 4, "write", 1, 1, 1, lrem},
		{"ltrim", 4, "write", 1, 1, 1, ltrim},
	}
}

// side is an end of a list, or of a sorted set.
type side int

const (
	head side = iota
	tail
)

// of is the index of an element at that end, of n.
func (s side) of(n int) int {
	if s == head {
		return 0
	}
	return n - 1
}

// side reads LEFT or RIGHT, and answers if it is neither.
func (k *call) side(arg []byte) (s side, ok bool) {
	switch {
	case is(arg, "LEFT"):
		return head, true
	case is(arg, "RIGHT"):
		return tail, true
	}
	k.fail(errSyntax)
	return head, false
}

// list is collection for lists: what a key has, to read and to change. A key that is not there has an empty list, and c is nil.
func (k *call) list(key []byte) (c *engine.Collection, l *collection.Series, ok bool) {
	c, ok = k.collection(key, collection.List)
	if c == nil {
		return nil, &k.s.noList, ok
	}
	return c, c.Elements.(*collection.Series), ok
}

// element answers with the i-th.
func (k *call) element(l *collection.Series, i int) {
	_, at := l.At(i)
	k.w.Bulk(k.l.store.Value(at))
}

// elements answers with count of them from one end on.
func (k *call) elements(l *collection.Series, count int, from side) {
	k.w.Array(count)
	for i := 0; i < count && !k.full(); i++ {
		if from == head {
			k.element(l, i)
		} else {
			k.element(l, l.Len()-1-i)
		}
	}
}

func llen(k *call) {
	if _, l, ok := k.list(k.args[1]); ok {
		k.w.Int(int64(l.Len()))
	}
}

// interval reads two indexes, of which negative ones count from the end, and makes a span of n elements of them.
func interval(first, last int64, n int) span {
	if first < 0 {
		first = max(0, int64(n)+first)
	}
	if last < 0 {
		last += int64(n)
	}
	if last = min(last, int64(n)-1); first > last {
		return span{}
	}
	return span{int(first), int(last) + 1}
}

// bounds reads two whole numbers, and answers if they are none.
func (k *call) bounds(a, b []byte) (first, last int64, ok bool) {
	if first, ok = k.integer(a); !ok {
		return 0, 0, false
	}
	last, ok = k.integer(b)
	return first, last, ok
}

func lrange(k *call) {
	first, last, ok := k.bounds(k.args[2], k.args[3])
	if !ok {
		return
	}
	_, l, ok := k.list(k.args[1])
	if !ok {
		return
	}
	s := interval(first, last, l.Len())
	k.w.Array(s.high - s.low)
	for i := s.low; i < s.high && !k.full(); i++ {
		k.element(l, i)
	}
}

// at makes an index of one that counts from the end if it is negative. ok is false if there is no such element.
func at(i int64, n int) (int, bool) {
	if i < 0 {
		i += int64(n)
	}
	return int(i), i >= 0 && i < int64(n)
}

func lindex(k *call) {
	c, l, ok := k.list(k.args[1])
	if !ok {
		return
	}
	if c == nil {
		k.w.Null()
		return
	}
	i, ok := k.integer(k.args[2])
	if !ok {
		return
	}
	if i, ok := at(i, l.Len()); ok {
		k.element(l, i)
	} else {
		k.w.Null()
	}
}

func lset(k *call) {
	c, l, ok := k.list(k.args[1])
	if !ok {
		return
	}
	if c == nil {
		k.fail(errNoKey)
		return
	}
	i, ok := k.integer(k.args[2])
	if !ok {
		return
	}
	place, ok := at(i, l.Len())
	if !ok {
		k.fail("ERR index out of range")
		return
	}
	label, _ := l.At(place)
	key := collection.Label(label)
	if k.wrote(k.l.store.PutElement(c, key[:], k.args[3])) {
		k.w.Status("OK")
	}
}

// matches says whether the i-th element has that value.
func (k *call) matches(l *collection.Series, i int, value []byte) bool {
	_, at := l.At(i)
	return bytes.Equal(k.l.store.Value(at), value)
}

func linsert(k *call) {
	behind := is(k.args[2], "AFTER")
	if !behind && !is(k.args[2], "BEFORE") {
		k.fail(errSyntax)
		return
	}
	c, l, ok := k.list(k.args[1])
	switch {
	case !ok:
		return
	case c == nil:
		k.w.Int(0)
		return
	}
	for i := range l.Len() {
		if !k.matches(l, i, k.args[3]) {
			continue
		}
		if behind {
			i++
		}
		if c, ok = k.widen(k.args[1], c, i, 1); !ok {
			return
		}
		e, ok := k.edit(k.args[1], c, collection.List, room{})
		if !ok {
			return
		}
		if e.insert(i, k.args[4]); e.finish() {
			k.w.Int(int64(e.c.Elements.Len()))
		}
		return
	}
	k.w.Int(-1)
}

func lrem(k *call) {
	count, ok := k.integer(k.args[2])
	if !ok {
		return
	}
	c, l, ok := k.list(k.args[1])
	switch {
	case !ok:
		return
	case c == nil:
		k.w.Int(0)
		return
	}
	var spans []span
	most := count
	if count < 0 {
		most = -count // the least number has no opposite, and means all, as in Redis
	}
	for i := range l.Len() {
		place := i
		if count < 0 {
			place = l.Len() - 1 - i
		}
		if k.matches(l, place, k.args[3]) {
			spans = append(spans, span{place, place + 1})
			if int64(len(spans)) == most {
				break
			}
		}
	}
	if count < 0 {
		slices.Reverse(spans)
	}
	if k.cut(k.args[1], c, spans...) {
		k.w.Int(int64(len(spans)))
	}
}

func ltrim(k *call) {
	first, last, ok := k.bounds(k.args[2], k.args[3])
	if !ok {
		return
	}
	c, l, ok := k.list(k.args[1])
	if !ok {
		return
	}
	if c == nil {
		k.w.Status("OK")
		return
	}
	keep := interval(first, last, l.Len())
	if k.cut(k.args[1], c, span{0, keep.low}, span{keep.high, l.Len()}) {
		k.w.Status("OK")
	}
}
