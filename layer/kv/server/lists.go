package server

import (
	"bytes"
	"errors"
	"math"
	"slices"

	"usui/layer/kv/collection"
	"usui/layer/kv/engine"
	"usui/layer/kv/resp"
)

func listTypeCommands() []command {
	return []command{
		{"lpush", -3, "write denyoom fast", 1, 1, 1, func(k *call) { k.push(head, true) }},
		{"rpush", -3, "write denyoom fast", 1, 1, 1, func(k *call) { k.push(tail, true) }},
		{"lpushx", -3, "write denyoom fast", 1, 1, 1, func(k *call) { k.push(head, false) }},
		{"rpushx", -3, "write denyoom fast", 1, 1, 1, func(k *call) { k.push(tail, false) }},
		{"lpop", -2, "write fast", 1, 1, 1, func(k *call) { k.popFrom(head) }},
		{"rpop", -2, "write fast", 1, 1, 1, func(k *call) { k.popFrom(tail) }},
		{"lmpop", -4, "write movablekeys", 0, 0, 0, lmpop},
		{"lmove", 5, "write denyoom", 1, 2, 1, lmove},
		{"rpoplpush", 3, "write denyoom", 1, 2, 1, func(k *call) { k.moveElement(k.args[1], k.args[2], tail, head) }},
		{"blpop", -3, "write noscript blocking", 1, -2, 1, func(k *call) { k.blockingPop(head) }},
		{"brpop", -3, "write noscript blocking", 1, -2, 1, func(k *call) { k.blockingPop(tail) }},
		{"blmpop", -5, "write blocking movablekeys", 0, 0, 0, blmpop},
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

// insert puts an element in before the i-th. There is room for it: see widen.
func (e *edit) insert(i int, value []byte) {
	l := e.c.Elements.(*collection.Series)
	label, ok := l.Between(i)
	if !ok && e.err == nil {
		e.err = errCrowded
	}
	key := collection.Label(label)
	e.put(key[:], value)
}

// errCrowded is that of a list with more elements than labels that are far enough from each other.
var errCrowded = errors.New("a list has at most 2147483648 elements")

// widen sees to it that n elements fit before the i-th: mostly there is nothing to do. It changes labels, but not what clients see, and
// answers if that fails.
func (k *call) widen(key []byte, c *engine.Collection, i, n int) (_ *engine.Collection, ok bool) {
	if c == nil {
		return nil, true
	}
	l := c.Elements.(*collection.Series)
	if l.Fits(i, n) {
		return c, true
	}
	if i > 0 && i < l.Len() && k.spread(c, i) {
		return c, true
	}
	e := k.replace(key, collection.List)
	old, _ := k.find(key)
	e.expire = old.Expire
	for i := range l.Len() {
		_, at := l.At(i)
		k.scratch = append(k.scratch[:0], k.s.store.Value(at)...)
		e.insert(i, k.scratch)
	}
	return e.c, e.finish()
}

// spread gives some elements around the i-th other labels, or says false if they are too much for a group.
func (k *call) spread(c *engine.Collection, i int) bool {
	s, l := k.s.store, c.Elements.(*collection.Series)
	low, high, label, step := l.Spread(i)
	values, r := make([][]byte, 0, high-low), room{}
	for j := low; j < high; j++ {
		_, at := l.At(j)
		values = append(values, bytes.Clone(s.Value(at)))
		r.add(collection.LabelBytes, 0)
		r.add(collection.LabelBytes, len(values[j-low]))
	}
	if s.Begin(r.bytes) != nil {
		return false
	}
	defer s.End()
	e := edit{k: k, c: c}
	for range values {
		old, _ := l.At(low)
		key := collection.Label(old)
		e.remove(key[:])
	}
	for j, value := range values {
		if low+j == i {
			label += step
		}
		key := collection.Label(label)
		e.put(key[:], value)
		label += step
	}
	return k.wrote(e.err)
}

// push is LPUSH and its like.
func (k *call) push(to side, create bool) {
	key, values := k.args[1], k.args[2:]
	c, _, ok := k.list(key)
	switch {
	case !ok:
	case c == nil && !create:
		k.w.Int(0)
	default:
		if n, ok := k.pushAll(key, c, values, to); ok {
			k.w.Int(int64(n))
		}
	}
}

// pushAll pushes one value after the other and returns how many elements the list has then.
func (k *call) pushAll(key []byte, c *engine.Collection, values [][]byte, to side) (n int, ok bool) {
	var r room
	for _, v := range values {
		r.add(collection.LabelBytes, len(v))
	}
	if c != nil {
		if c, ok = k.widen(key, c, int(to)*c.Elements.Len(), len(values)); !ok {
			return 0, false
		}
	}
	e, ok := k.edit(key, c, collection.List, r)
	if !ok {
		return 0, false
	}
	for _, v := range values {
		e.insert(int(to)*e.c.Elements.Len(), v)
	}
	n = e.c.Elements.Len()
	return n, e.finish()
}

// span is elements from low to high-1.
type span struct{ low, high int }

// cut takes elements out; the spans are in order. If they are too many for a group, what stays is written anew.
func (k *call) cut(key []byte, c *engine.Collection, spans ...span) (ok bool) {
	l := c.Elements.(*collection.Series)
	var r room
	for _, s := range spans {
		r.records += s.high - s.low
	}
	r.bytes = r.records * engine.Room(collection.LabelBytes, 0)
	switch {
	case r.records == 0:
		return true
	case r.records == l.Len():
		_, ok = k.remove(key)
		return ok
	case r.bytes > k.s.store.MaxValue():
		return k.keepRest(key, l, spans)
	}
	e, ok := k.reduce(key, c, r)
	if !ok {
		return false
	}
	l = e.c.Elements.(*collection.Series)
	for i := len(spans) - 1; i >= 0; i-- {
		for j := spans[i].high - 1; j >= spans[i].low; j-- {
			label, _ := l.At(j)
			at := collection.Label(label)
			e.remove(at[:])
		}
	}
	return e.finish()
}

func (k *call) keepRest(key []byte, l *collection.Series, spans []span) (ok bool) {
	e := k.replace(key, collection.List)
	old, _ := k.find(key)
	e.expire = old.Expire
	for i := 0; i < l.Len(); i++ {
		if len(spans) > 0 && i == spans[0].low {
			i = spans[0].high - 1
			spans = spans[1:]
			continue
		}
		_, at := l.At(i)
		k.scratch = append(k.scratch[:0], k.s.store.Value(at)...)
		e.insert(e.c.Elements.Len(), k.scratch)
	}
	return e.finish()
}

// element answers with the i-th.
func (k *call) element(l *collection.Series, i int) {
	_, at := l.At(i)
	k.w.Bulk(k.s.store.Value(at))
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

// span is that of count elements at one end.
func (s side) span(l *collection.Series, count int) span {
	if s == head {
		return span{0, count}
	}
	return span{l.Len() - count, l.Len()}
}

// take answers with count elements at one end, in a way that answer knows, and takes them out.
func (k *call) take(key []byte, c *engine.Collection, count int, from side, answer func(l *collection.Series)) {
	l, start := c.Elements.(*collection.Series), len(k.w.Out)
	answer(l)
	end := len(k.w.Out)
	if !k.cut(key, c, from.span(l, count)) { // and the reason was answered
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

func (k *call) popFrom(from side) {
	count, many := 1, len(k.args) == 3
	if len(k.args) > 3 {
		k.fail("ERR wrong number of arguments for '" + k.c.command + "' command")
		return
	}
	if many {
		n, ok := k.positive(k.args[2])
		if !ok {
			return
		}
		count = n
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

func lmpop(k *call) {
	m, ok := k.several(k.args[1:], k.side)
	if !ok {
		return
	}
	key, c, ok := k.first(m.keys, collection.List)
	switch {
	case !ok:
	case c == nil:
		k.w.NullArray()
	default:
		k.takeSeveral(key, c, m)
	}
}

func blmpop(k *call) {
	until, ok := k.deadline(k.args[1])
	if !ok {
		return
	}
	m, ok := k.several(k.args[2:], k.side)
	if !ok {
		return
	}
	k.popOrBlock(m.keys, collection.List, until, func(k *call, key []byte, c *engine.Collection) { k.takeSeveral(key, c, m) })
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

func lmove(k *call) {
	from, ok := k.side(k.args[3])
	if !ok {
		return
	}
	if to, ok := k.side(k.args[4]); ok {
		k.moveElement(k.args[1], k.args[2], from, to)
	}
}

func blmove(k *call) {
	from, ok := k.side(k.args[3])
	if !ok {
		return
	}
	if to, ok := k.side(k.args[4]); ok {
		k.blockingMove(from, to, k.args[5])
	}
}

// blockingMove is BLMOVE and BRPOPLPUSH.
func (k *call) blockingMove(from, to side, timeout []byte) {
	until, ok := k.deadline(timeout)
	if !ok {
		return
	}
	c, _, ok := k.list(k.args[1])
	switch {
	case !ok:
	case c != nil:
		k.carry(k.args[1], c, k.args[2], from, to)
	case k.enclosed:
		k.w.Null()
	default:
		k.block(k.args[1:2], collection.List, until, func(k *call, key []byte, c *engine.Collection) {
			k.carry(key, c, k.args[2], from, to)
		})
	}
}

// moveElement takes one out at an end of a list and puts it in at an end of another, or the same.
func (k *call) moveElement(source, target []byte, from, to side) {
	c, _, ok := k.list(source)
	switch {
	case !ok:
	case c == nil:
		k.w.Null()
	default:
		k.carry(source, c, target, from, to)
	}
}

// carry does that, and answers with the element.
func (k *call) carry(source []byte, c *engine.Collection, target []byte, from, to side) {
	d, l, ok := k.list(target)
	if !ok {
		return
	}
	if d, ok = k.widen(target, d, int(to)*l.Len(), 1); !ok {
		return
	}
	if bytes.Equal(source, target) {
		c = d // it may be another one now
	}
	l = c.Elements.(*collection.Series)
	label, at := l.At(from.of(l.Len()))
	key, size := collection.Label(label), len(k.s.store.Value(at))
	if err := k.s.store.Begin(engine.Room(collection.LabelBytes, 0) + engine.Room(collection.LabelBytes, size) + engine.Room(len(source), 0) + engine.Room(len(target), 0)); err != nil {
		k.wrote(err)
		return
	}
	defer k.s.store.End()
	_, at = l.At(from.of(l.Len()))
	k.scratch = append(k.scratch[:0], k.s.store.Value(at)...)
	if c == d && l.Len() == 1 { // where it is
		if k.wrote(k.s.store.PutElement(c, key[:], k.scratch)) {
			k.w.Bulk(k.scratch)
		}
		return
	}
	in, ok := k.edit(target, d, collection.List, room{})
	if !ok {
		return
	}
	if in.insert(int(to)*in.c.Elements.Len(), k.scratch); !in.finish() {
		return
	}
	out, ok := k.reduce(source, c, room{})
	if !ok {
		return
	}
	if out.remove(key[:]); out.finish() {
		k.w.Bulk(k.scratch)
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
	if k.wrote(k.s.store.PutElement(c, key[:], k.args[3])) {
		k.w.Status("OK")
	}
}

// matches says whether the i-th element has that value.
func (k *call) matches(l *collection.Series, i int, value []byte) bool {
	_, at := l.At(i)
	return bytes.Equal(k.s.store.Value(at), value)
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
			k.w.Int(int64(c.Elements.Len()))
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

// search is what LPOS looks for.
type search struct {
	rank     int64 // the first match to tell, from 1; negative from the end
	count    int   // of matches to tell
	many     bool
	elements int // to look at
}

func (k *call) search() (s search, ok bool) {
	s = search{rank: 1, count: 1, elements: math.MaxInt}
	for i := 3; i < len(k.args); i += 2 {
		if i+1 == len(k.args) {
			k.fail(errSyntax)
			return s, false
		}
		n, ok := int64(0), true
		switch a, value := k.args[i], k.args[i+1]; {
		case is(a, "RANK"):
			if n, ok = k.integer(value); ok && n == 0 {
				k.fail("ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use negative to start from the end of the list")
				ok = false
			}
			s.rank = n
		case is(a, "COUNT"):
			if n, ok = resp.ParseInt(value); !ok || n < 0 {
				k.fail("ERR COUNT can't be negative")
				ok = false
			}
			if s.count, s.many = int(n), true; n == 0 {
				s.count = math.MaxInt
			}
		case is(a, "MAXLEN"):
			if n, ok = resp.ParseInt(value); !ok || n < 0 {
				k.fail("ERR MAXLEN can't be negative")
				ok = false
			}
			if s.elements = int(n); n == 0 {
				s.elements = math.MaxInt
			}
		default:
			k.fail(errSyntax)
			return s, false
		}
		if !ok {
			return s, false
		}
	}
	return s, true
}

func lpos(k *call) {
	s, ok := k.search()
	if !ok {
		return
	}
	_, l, ok := k.list(k.args[1])
	if !ok {
		return
	}
	var found []int
	back, skip := s.rank < 0, s.rank-1
	if back {
		skip = max(-s.rank, 1) - 1 // the least number has no opposite
	}
	for i := 0; i < min(s.elements, l.Len()) && len(found) < s.count; i++ {
		place := i
		if back {
			place = l.Len() - 1 - i
		}
		if !k.matches(l, place, k.args[2]) {
			continue
		}
		if skip == 0 {
			found = append(found, place)
		} else {
			skip--
		}
	}
	switch {
	case s.many:
		k.w.Array(len(found))
		for _, i := range found {
			k.w.Int(int64(i))
		}
	case len(found) == 0:
		k.w.Null()
	default:
		k.w.Int(int64(found[0]))
	}
}
