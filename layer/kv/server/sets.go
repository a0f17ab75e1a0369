package server

import (
	"bytes"
	"math"
	"slices"

	"usui/layer/kv/collection"
	"usui/layer/kv/engine"
	"usui/layer/kv/resp"
)

func setCommands() []command {
	return []command{
		{"sadd", -3, "write denyoom fast", 1, 1, 1, sadd},
		{"srem", -3, "write fast", 1, 1, 1, func(k *call) { k.removeFrom(collection.Set) }},
		{"smembers", 2, "readonly", 1, 1, 1, smembers},
		{"sismember", 3, "readonly fast", 1, 1, 1, func(k *call) { k.has(collection.Set) }},
		{"smismember", -3, "readonly fast", 1, 1, 1, smismember},
		{"scard", 2, "readonly fast", 1, 1, 1, func(k *call) { k.count(collection.Set) }},
		{"spop", -2, "write fast", 1, 1, 1, spop},
		{"srandmember", -2, "readonly", 1, 1, 1, srandMember},
		{"smove", 4, "write fast", 1, 2, 1, smove},
		{"sinter", -2, "readonly", 1, -1, 1, func(k *call) { k.answer(intersection, k.args[1:]) }},
		{"sunion", -2, "readonly", 1, -1, 1, func(k *call) { k.answer(union, k.args[1:]) }},
		{"sdiff", -2, "readonly", 1, -1, 1, func(k *call) { k.answer(difference, k.args[1:]) }},
		{"sinterstore", -3, "write denyoom", 1, -1, 1, func(k *call) { k.store(intersection) }},
		{"sunionstore", -3, "write denyoom", 1, -1, 1, func(k *call) { k.store(union) }},
		{"sdiffstore", -3, "write denyoom", 1, -1, 1, func(k *call) { k.store(difference) }},
		{"sintercard", -3, "readonly movablekeys", 0, 0, 0, sinterCard},
		{"sscan", -3, "readonly", 1, 1, 1, func(k *call) { k.scanTable(collection.Set) }},
	}
}

func sadd(k *call) {
	c, ok := k.collection(k.args[1], collection.Set)
	if !ok {
		return
	}
	var r room
	for _, member := range k.args[2:] {
		if c == nil || c.Elements.Find(member) == 0 {
			r.add(len(member), 0)
		}
	}
	if r.records == 0 {
		k.w.Int(0)
		return
	}
	e, ok := k.edit(k.args[1], c, collection.Set, r)
	if !ok {
		return
	}
	before := e.c.Elements.Len()
	for _, member := range k.args[2:] {
		if e.c.Elements.Find(member) == 0 {
			e.put(member, nil)
		}
	}
	if added := e.c.Elements.Len() - before; e.finish() {
		k.w.Int(int64(added))
	}
}

// removeFrom is HDEL, SREM and ZREM.
func (k *call) removeFrom(kind collection.Kind) {
	c, ok := k.collection(k.args[1], kind)
	if !ok {
		return
	}
	var r room
	for _, key := range k.args[2:] {
		if c != nil && c.Elements.Find(key) != 0 {
			r.add(len(key), 0)
		}
	}
	if r.records == 0 {
		k.w.Int(0)
		return
	}
	e, ok := k.reduce(k.args[1], c, r)
	if !ok {
		return
	}
	before := e.c.Elements.Len()
	for _, key := range k.args[2:] {
		e.remove(key)
	}
	if removed := before - e.c.Elements.Len(); e.finish() {
		k.w.Int(int64(removed))
	}
}

// count is HLEN, SCARD and ZCARD.
func (k *call) count(kind collection.Kind) {
	if t, ok := k.table(k.args[1], kind); ok {
		k.w.Int(int64(t.Len()))
	}
}

// has is HEXISTS and SISMEMBER.
func (k *call) has(kind collection.Kind) {
	if t, ok := k.table(k.args[1], kind); ok {
		k.yes(t.Find(k.args[2]) != 0)
	}
}

func (k *call) yes(b bool) {
	if b {
		k.w.Int(1)
	} else {
		k.w.Int(0)
	}
}

func smismember(k *call) {
	t, ok := k.table(k.args[1], collection.Set)
	if !ok {
		return
	}
	k.w.Array(len(k.args) - 2)
	for _, member := range k.args[2:] {
		k.yes(t.Find(member) != 0)
	}
}

func smembers(k *call) {
	t, ok := k.table(k.args[1], collection.Set)
	if !ok {
		return
	}
	k.w.Set(t.Len())
	for i := 0; i < t.Len() && !k.full(); i++ {
		key, _ := t.At(i)
		k.w.Text(key)
	}
}

func srandMember(k *call) {
	switch len(k.args) {
	case 2:
		if t, ok := k.table(k.args[1], collection.Set); ok {
			k.any(t)
		}
	case 3:
		n, ok := k.countOf(k.args[2])
		if !ok {
			return
		}
		if t, ok := k.table(k.args[1], collection.Set); ok {
			k.someOf(t, n, false)
		}
	default:
		k.fail(errSyntax)
	}
}

func spop(k *call) {
	count, many := int64(1), len(k.args) == 3
	switch {
	case len(k.args) > 3:
		k.fail(errSyntax)
		return
	case many:
		n, ok := resp.ParseInt(k.args[2])
		if !ok || n < 0 {
			k.fail("ERR value is out of range, must be positive")
			return
		}
		count = n
	}
	c, ok := k.collection(k.args[1], collection.Set)
	switch {
	case !ok:
	case c == nil && many, count == 0:
		k.w.Set(0)
	case c == nil:
		k.w.Null()
	default:
		k.pop(c, int(min(count, int64(c.Elements.Len()))), many)
	}
}

// pop takes count members out by chance and answers with them.
func (k *call) pop(c *engine.Collection, count int, many bool) {
	t := c.Elements.(*collection.Table)
	taken := make([]string, 0, count)
	var r room
	chosen(t.Len(), count, func(i int) {
		key, _ := t.At(i)
		taken = append(taken, key)
		r.add(len(key), 0)
	})
	var ok bool
	if count == t.Len() {
		_, ok = k.remove(k.args[1])
	} else {
		ok = k.takeOut(c, taken, r)
	}
	if !ok {
		return
	}
	if many {
		k.w.Set(len(taken))
	}
	for _, key := range taken {
		k.w.Text(key)
	}
}

func (k *call) takeOut(c *engine.Collection, keys []string, r room) bool {
	e, ok := k.reduce(k.args[1], c, r)
	if !ok {
		return false
	}
	for _, key := range keys {
		k.scratch = append(k.scratch[:0], key...)
		e.remove(k.scratch)
	}
	return e.finish()
}

func smove(k *call) {
	from, to, member := k.args[1], k.args[2], k.args[3]
	source, was := k.find(from)
	if !was {
		k.w.Int(0)
		return
	}
	a, ok := k.collection(from, collection.Set)
	if !ok {
		return
	}
	b, ok := k.collection(to, collection.Set)
	if !ok {
		return
	}
	there := source.Collection.Elements.Find(member) != 0
	if !there || bytes.Equal(from, to) {
		k.yes(there)
		return
	}
	var r room
	r.add(len(member), 0)
	if err := k.l.store.Begin(2*r.bytes + engine.Room(len(from), 0) + engine.Room(len(to), 0)); err != nil {
		k.wrote(err)
		return
	}
	defer k.l.store.End()
	out, ok := k.reduce(from, a, r)
	if !ok {
		return
	}
	if out.remove(member); !out.finish() {
		return
	}
	in, ok := k.edit(to, b, collection.Set, r)
	if !ok {
		return
	}
	if b == nil || b.Elements.Find(member) == 0 {
		in.put(member, nil)
	}
	if in.finish() {
		k.w.Int(1)
	}
}

// operation makes members of a set of those of others.
type operation func(sets []*collection.Table, limit int) []string

// intersection has the members of all, at most limit of them.
func intersection(sets []*collection.Table, limit int) (all []string) {
	slices.SortFunc(sets, func(a, b *collection.Table) int { return a.Len() - b.Len() })
	for i := 0; i < sets[0].Len() && len(all) < limit; i++ {
		key, _ := sets[0].At(i)
		if !slices.ContainsFunc(sets[1:], func(t *collection.Table) bool { return t.Find([]byte(key)) == 0 }) {
			all = append(all, key)
		}
	}
	return all
}

func union(sets []*collection.Table, _ int) (all []string) {
	met := map[string]bool{}
	for _, t := range sets {
		for i := range t.Len() {
			if key, _ := t.At(i); !met[key] {
				met[key] = true
				all = append(all, key)
			}
		}
	}
	return all
}

// difference has the members of the first that no other has.
func difference(sets []*collection.Table, _ int) (all []string) {
	for i := range sets[0].Len() {
		key, _ := sets[0].At(i)
		if !slices.ContainsFunc(sets[1:], func(t *collection.Table) bool { return t.Find([]byte(key)) != 0 }) {
			all = append(all, key)
		}
	}
	return all
}

// result reads the sets and does the operation.
func (k *call) result(o operation, keys [][]byte, limit int) (all []string, ok bool) {
	sets := make([]*collection.Table, 0, len(keys))
	for _, key := range keys {
		t, ok := k.table(key, collection.Set)
		if !ok {
			return nil, false
		}
		sets = append(sets, t)
	}
	return o(sets, limit), true
}

func (k *call) answer(o operation, keys [][]byte) {
	all, ok := k.result(o, keys, math.MaxInt)
	if !ok {
		return
	}
	k.w.Set(len(all))
	for _, key := range all {
		if k.full() {
			return
		}
		k.w.Text(key)
	}
}

// store puts the result into a key, whatever that had, or deletes it if there is none.
func (k *call) store(o operation) {
	all, ok := k.result(o, k.args[2:], math.MaxInt)
	if !ok {
		return
	}
	e := k.replace(k.args[1], collection.Set)
	for _, key := range all {
		k.scratch = append(k.scratch[:0], key...)
		e.put(k.scratch, nil)
	}
	if e.finish() {
		k.w.Int(int64(len(all)))
	}
}

func sinterCard(k *call) {
	n, ok := resp.ParseInt(k.args[1])
	if !ok || n < 1 {
		k.fail("ERR numkeys should be greater than 0")
		return
	}
	if n > int64(len(k.args)-2) {
		k.fail("ERR Number of keys can't be greater than number of args")
		return
	}
	limit := int64(0)
	for i := 2 + int(n); i < len(k.args); i += 2 {
		if !is(k.args[i], "LIMIT") || i+1 == len(k.args) {
			k.fail(errSyntax)
			return
		}
		if limit, ok = resp.ParseInt(k.args[i+1]); !ok || limit < 0 {
			k.fail("ERR LIMIT can't be negative")
			return
		}
	}
	if limit == 0 {
		limit = math.MaxInt
	}
	if all, ok := k.result(intersection, k.args[2:2+n], int(limit)); ok {
		k.w.Int(int64(len(all)))
	}
}
