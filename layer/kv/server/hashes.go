package server

import (
	"math"
	"math/big"
	"math/rand/v2"
	"strconv"

	"usui/layer/kv/collection"
	"usui/layer/kv/resp"
)

func hashCommands() []command {
	return []command{
		{"hset", -4, "write denyoom fast", 1, 1, 1, hset},
		{"hmset", -4, "write denyoom fast", 1, 1, 1, hset},
		{"hsetnx", 4, "write denyoom fast", 1, 1, 1, hsetNX},
		{"hget", 3, "readonly fast", 1, 1, 1, hget},
		{"hmget", -3, "readonly fast", 1, 1, 1, hmget},
		{"hgetall", 2, "readonly", 1, 1, 1, hgetAll},
		{"hkeys", 2, "readonly", 1, 1, 1, hkeys},
		{"hvals", 2, "readonly", 1, 1, 1, hvals},
		{"hdel", -3, "write fast", 1, 1, 1, func(k *call) { k.removeFrom(collection.Hash) }},
		{"hlen", 2, "readonly fast", 1, 1, 1, func(k *call) { k.count(collection.Hash) }},
		{"hexists", 3, "readonly fast", 1, 1, 1, func(k *call) { k.has(collection.Hash) }},
		{"hstrlen", 3, "readonly fast", 1, 1, 1, hstrlen},
		{"hincrby", 4, "write denyoom fast", 1, 1, 1, hincrBy},
		{"hincrbyfloat", 4, "write denyoom fast", 1, 1, 1, hincrByFloat},
		{"hrandfield", -2, "readonly", 1, 1, 1, hrandField},
		{"hscan", -3, "readonly", 1, 1, 1, func(k *call) { k.scanTable(collection.Hash) }},
	}
}

func hset(k *call) {
	if len(k.args)%2 != 0 {
		k.fail("ERR wrong number of arguments for '" + k.c.command + "' command")
		return
	}
	key, pairs := k.args[1], k.args[2:]
	c, ok := k.collection(key, collection.Hash)
	if !ok {
		return
	}
	var r room
	for i := 0; i < len(pairs); i += 2 {
		r.add(len(pairs[i]), len(pairs[i+1]))
	}
	e, ok := k.edit(key, c, collection.Hash, r)
	if !ok {
		return
	}
	before := e.c.Elements.Len()
	for i := 0; i < len(pairs); i += 2 {
		e.put(pairs[i], pairs[i+1])
	}
	switch added := e.c.Elements.Len() - before; {
	case !e.finish():
	case k.c.command == "hmset":
		k.w.Status("OK")
	default:
		k.w.Int(int64(added))
	}
}

// setField writes one field and says whether that succeeded.
func (k *call) setField(key, field, value []byte) bool {
	c, ok := k.collection(key, collection.Hash)
	if !ok {
		return false
	}
	e, ok := k.edit(key, c, collection.Hash, room{})
	if !ok {
		return false
	}
	e.put(field, value)
	return e.finish()
}

func hsetNX(k *call) {
	t, ok := k.table(k.args[1], collection.Hash)
	switch {
	case !ok:
	case t.Find(k.args[2]) != 0:
		k.w.Int(0)
	case k.setField(k.args[1], k.args[2], k.args[3]):
		k.w.Int(1)
	}
}

// field answers with the value of a field.
func (k *call) field(t *collection.Table, field []byte) {
	if at := t.Find(field); at != 0 {
		k.w.Bulk(k.l.store.Value(at))
	} else {
		k.w.Null()
	}
}

func hget(k *call) {
	if t, ok := k.table(k.args[1], collection.Hash); ok {
		k.field(t, k.args[2])
	}
}

func hmget(k *call) {
	t, ok := k.table(k.args[1], collection.Hash)
	if !ok {
		return
	}
	k.w.Array(len(k.args) - 2)
	for _, field := range k.args[2:] {
		k.field(t, field)
	}
}

func hgetAll(k *call) {
	t, ok := k.table(k.args[1], collection.Hash)
	if !ok {
		return
	}
	k.w.Map(t.Len())
	for i := 0; i < t.Len() && !k.full(); i++ {
		key, at := t.At(i)
		k.w.Text(key)
		k.w.Bulk(k.l.store.Value(at))
	}
}

func hkeys(k *call) {
	t, ok := k.table(k.args[1], collection.Hash)
	if !ok {
		return
	}
	k.w.Array(t.Len())
	for i := 0; i < t.Len() && !k.full(); i++ {
		key, _ := t.At(i)
		k.w.Text(key)
	}
}

func hvals(k *call) {
	t, ok := k.table(k.args[1], collection.Hash)
	if !ok {
		return
	}
	k.w.Array(t.Len())
	for i := 0; i < t.Len() && !k.full(); i++ {
		_, at := t.At(i)
		k.w.Bulk(k.l.store.Value(at))
	}
}

func hstrlen(k *call) {
	t, ok := k.table(k.args[1], collection.Hash)
	if !ok {
		return
	}
	n := 0
	if at := t.Find(k.args[2]); at != 0 {
		n = len(k.l.store.Value(at))
	}
	k.w.Int(int64(n))
}

func hincrBy(k *call) {
	by, ok := k.integer(k.args[3])
	if !ok {
		return
	}
	t, ok := k.table(k.args[1], collection.Hash)
	if !ok {
		return
	}
	old := int64(0)
	if at := t.Find(k.args[2]); at != 0 {
		if old, ok = resp.ParseInt(k.l.store.Value(at)); !ok {
			k.fail("ERR hash value is not an integer")
			return
		}
	}
	sum := old + by
	if by > 0 && sum < old || by < 0 && sum > old {
		k.fail(errOverflow)
		return
	}
	k.scratch = strconv.AppendInt(k.scratch[:0], sum, 10)
	if k.setField(k.args[1], k.args[2], k.scratch) {
		k.w.Int(sum)
	}
}

func hincrByFloat(k *call) {
	by, ok := parseFloat(k.args[3])
	switch {
	case !ok:
		k.fail(errFloat)
		return
	case by.IsInf():
		k.fail("ERR value is NaN or Infinity")
		return
	}
	t, ok := k.table(k.args[1], collection.Hash)
	if !ok {
		return
	}
	old := new(big.Float).SetPrec(floatPrecision)
	if at := t.Find(k.args[2]); at != 0 {
		if old, ok = parseFloat(k.l.store.Value(at)); !ok {
			k.fail("ERR hash value is not a float")
			return
		}
	}
	text, ok := k.sum(old, by)
	if ok && k.setField(k.args[1], k.args[2], []byte(text)) {
		k.w.Text(text)
	}
}

func hrandField(k *call) {
	if len(k.args) == 2 {
		if t, ok := k.table(k.args[1], collection.Hash); ok {
			k.any(t)
		}
		return
	}
	n, ok := k.countOf(k.args[2])
	if !ok {
		return
	}
	values := len(k.args) == 4 && is(k.args[3], "WITHVALUES")
	switch {
	case len(k.args) > 3 && !values:
		k.fail(errSyntax)
		return
	case values && (n > math.MaxInt64/2 || n < -math.MaxInt64/2):
		k.fail("ERR value is out of range")
		return
	}
	if t, ok := k.table(k.args[1], collection.Hash); ok {
		k.someOf(t, n, values)
	}
}

// countOf reads how many elements are wanted by chance.
func (k *call) countOf(arg []byte) (int64, bool) {
	n, ok := k.integer(arg)
	if ok && n == math.MinInt64 {
		k.fail("ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807")
		return 0, false
	}
	return n, ok
}

// any answers with one element by chance.
func (k *call) any(t *collection.Table) {
	if t.Len() == 0 {
		k.w.Null()
		return
	}
	key, _ := t.At(rand.IntN(t.Len()))
	k.w.Text(key)
}

// someOf answers with at most n elements by chance, or with -n of which some may be the same.
func (k *call) someOf(t *collection.Table, n int64, values bool) {
	count := min(n, int64(t.Len()))
	if n < 0 && t.Len() > 0 {
		count = -n
	}
	count = max(0, count)
	if n < 0 && k.tooLong(min(count, outputBytes)*int64(leastBulk)) {
		return
	}
	pairs := values && k.w.V3
	if values && !pairs {
		k.w.Array(int(2 * count))
	} else {
		k.w.Array(int(count))
	}
	one := func(i int) {
		if k.full() {
			return
		}
		key, at := t.At(i)
		if pairs {
			k.w.Array(2)
		}
		k.w.Text(key)
		switch {
		case !values:
		case t.Kind() == collection.ZSet:
			k.w.Double(collection.ScoreOf(k.l.store.Value(at)))
		default:
			k.w.Bulk(k.l.store.Value(at))
		}
	}
	if n >= 0 {
		chosen(t.Len(), int(count), one)
		return
	}
	for ; count > 0 && !k.full(); count-- {
		one(rand.IntN(t.Len()))
	}
}
