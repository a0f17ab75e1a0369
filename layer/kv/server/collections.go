package server

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	"usui/layer/kv/collection"
	"usui/layer/kv/engine"
)

// collection returns what a key has, which must be of that kind; nil if there is no such key. ok is false if the key has something else, and
// that was answered.
func (k *call) collection(key []byte, kind collection.Kind) (c *engine.Collection, ok bool) {
	e, was := k.find(key)
	if was && e.Kind() != kind {
		k.fail(errWrongType)
		return nil, false
	}
	return e.Collection, true
}

// table is collection for hashes, sets and sorted sets, to read: a key that is not there has an empty one.
func (k *call) table(key []byte, kind collection.Kind) (t *collection.Table, ok bool) {
	c, ok := k.collection(key, kind)
	if c == nil {
		return &k.s.nothing, ok
	}
	if z, ranked := c.Elements.(*collection.Ranking); ranked {
		return &z.Table, ok
	}
	return c.Elements.(*collection.Table), ok
}

// room counts what a change will write.
type room struct{ records, bytes int }

func (r *room) add(key, value int) {
	r.records++
	r.bytes += engine.Room(key, value)
}

// edit is a change of a collection. It begins with call.edit, call.reduce or call.replace, and ends with finish. Its c may be another one than
// what the key has: a new one, or a copy.
type edit struct {
	k       *call
	c       *engine.Collection
	key     []byte
	expire  int64 // of a fresh one
	fresh   bool  // the key does not have it yet: all of it appears at the end
	grouped bool
	err     error // the first one
}

// edit begins to put elements into what a key has, which is c, or into a new collection if that is nil. It answers if there is no room.
func (k *call) edit(key []byte, c *engine.Collection, kind collection.Kind, r room) (e edit, ok bool) {
	if c == nil {
		return k.replace(key, kind), true
	}
	return k.group(key, c, r, k.l.store.Begin)
}

// reduce begins to take elements out, which a full disk allows. When the last one is gone, finish deletes the key.
func (k *call) reduce(key []byte, c *engine.Collection, r room) (e edit, ok bool) {
	if r.records >= c.Elements.Len() {
		r.add(len(key), 0)
	}
	return k.group(key, c, r, k.l.store.BeginDeletes)
}

func (k *call) group(key []byte, c *engine.Collection, r room, begin func(int) error) (e edit, ok bool) {
	e = edit{k: k, key: key, c: c}
	if r.records < 2 {
		return e, true
	}
	err := begin(r.bytes)
	if errors.Is(err, engine.ErrTooLong) {
		return k.rewrite(key, c), true
	}
	if err != nil {
		return e, k.wrote(err)
	}
	e.grouped = true
	return e, true
}

// rewrite begins a copy that takes the place of c: what changes too much of it for a group appears at once nevertheless.
func (k *call) rewrite(key []byte, c *engine.Collection) edit {
	e := k.replace(key, c.Kind)
	old, _ := k.find(key)
	e.expire = old.Expire
	e.copy(c)
	return e
}

// copy puts all elements of another collection in.
func (e *edit) copy(c *engine.Collection) {
	k := e.k
	c.Elements.Each(func(key string, at uint64) bool {
		k.scratch = append(append(k.scratch[:0], key...), k.l.store.Value(at)...)
		e.put(k.scratch[:len(key)], k.scratch[len(key):])
		return e.err == nil
	})
}

// replace begins a collection that takes the place of whatever the key has. It may be of any size.
func (k *call) replace(key []byte, kind collection.Kind) edit {
	return edit{k: k, key: key, c: k.l.store.NewCollection(kind), fresh: true}
}

// put puts an element in. value is not one of the store's.
func (e *edit) put(key, value []byte) {
	if e.err == nil {
		e.err = e.k.l.store.PutElement(e.c, key, value)
	}
}

// remove takes an element out.
func (e *edit) remove(key []byte) {
	if e.err == nil {
		_, e.err = e.k.l.store.DeleteElement(e.c, key)
	}
}

// finish gives a fresh collection to its key, deletes a key whose collection is empty, and answers if anything failed.
func (e *edit) finish() (ok bool) {
	s := e.k.l.store
	empty := e.c.Elements.Len() == 0
	switch {
	case e.err != nil:
	case empty:
		_, e.err = s.Delete(e.key)
	case e.fresh:
		e.err = s.PutCollection(e.key, e.c, e.expire)
	}
	if e.fresh && (empty || e.err != nil) {
		s.Discard(e.c)
	}
	if e.grouped {
		s.End()
	}
	return e.k.wrote(e.err)
}

// give gives a key what another has: a value is copied, a collection is not.
func (k *call) give(key []byte, e engine.Entry, expire int64) error {
	if e.Collection != nil {
		return k.l.store.PutCollection(key, e.Collection, expire)
	}
	k.scratch = append(k.scratch[:0], e.Value...)
	return k.l.store.Put(key, k.scratch, expire)
}

// full says that the reply is longer than any client may have it, or memory allows: the rest is of no use, for the client will be disconnected.
func (k *call) full() bool {
	k.w.Over = k.w.Over || len(k.w.Out) > outputBytes || k.s.tooMuch(k.c)
	if n := len(k.w.Out); n >= longReply && cap(k.w.Out)-n < longReply/16 && !k.w.Over {
		k.w.Out = slices.Grow(k.w.Out, n) // append takes a quarter more each time: five times as much garbage in the end
	}
	return k.w.Over
}

const longReply = 1 << 20

// leastBulk is how long a string is in a reply, at least.
const leastBulk = len("$0\r\n\r\n")

// tooLong is full for a reply that will have that many bytes more, at least, so that none of it has to be made.
func (k *call) tooLong(more int64) bool {
	k.w.Over = k.w.Over || int64(len(k.w.Out))+more > outputBytes || more > int64(k.s.cfg.ClientMemory)
	return k.w.Over
}

// chosen calls f with count of n numbers, each at most once, by chance.
func chosen(n, count int, f func(i int)) {
	if count >= n {
		for i := range n {
			f(i)
		}
		return
	}
	met := make(map[int]bool, count) // R. Floyd's way, in Bentley, Programming Pearls, CACM 9/1987
	for j := n - count; j < n; j++ {
		i := rand.IntN(j + 1)
		if met[i] {
			i = j
		}
		met[i] = true
		f(i)
	}
}

// cursor reads where a scan goes on, and answers if that is no place. As strtoul has it, nothing is 0, and a sign is allowed.
func (k *call) cursor(arg []byte) (uint64, bool) {
	digits := string(arg)
	minus := strings.HasPrefix(digits, "-")
	if minus || strings.HasPrefix(digits, "+") {
		digits = digits[1:]
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	if err != nil && len(arg) > 0 {
		k.fail("ERR invalid cursor")
		return 0, false
	}
	if minus {
		n = -n
	}
	return n, true
}

// scanOptions are what SCAN and its like end with.
type scanOptions struct {
	count   int
	pattern []byte // nil for all
	kind    []byte // nil for all
}

// scanOptions reads them from the arguments behind the first n.
func (k *call) scanOptions(n int, typed bool) (o scanOptions, ok bool) {
	o.count = 10
	for i := n; i < len(k.args); i += 2 {
		switch a := k.args[i]; {
		case i+1 == len(k.args):
			k.fail(errSyntax)
			return o, false
		case is(a, "COUNT"):
			n, ok := k.integer(k.args[i+1])
			if !ok {
				return o, false
			}
			if n < 1 {
				k.fail(errSyntax)
				return o, false
			}
			o.count = int(min(n, maxCount))
		case is(a, "MATCH"):
			o.pattern = k.args[i+1]
		case is(a, "TYPE") && typed:
			o.kind = k.args[i+1]
		default:
			k.fail(errSyntax)
			return o, false
		}
	}
	return o, true
}

// maxCount is how many keys or elements one SCAN meets at most: all others wait meanwhile.
const maxCount = 1 << 20

// scanTable answers HSCAN, SSCAN and ZSCAN. What Redis would keep compact is met at once, as there.
func (k *call) scanTable(kind collection.Kind) {
	cursor, ok := k.cursor(k.args[2])
	if !ok {
		return
	}
	t, ok := k.table(k.args[1], kind)
	if !ok {
		return
	}
	if t.Len() == 0 {
		k.w.Array(2)
		k.w.Text("0")
		k.w.Array(0)
		return
	}
	o, ok := k.scanOptions(3, false)
	if !ok {
		return
	}
	low, high := t.Scan(cursor, o.count)
	if t.Compact() {
		low, high = 0, t.Len()
	}
	var found []int
	for i := low; i < high; i++ {
		if key, _ := t.At(i); o.pattern == nil || match(o.pattern, []byte(key)) {
			found = append(found, i)
		}
	}
	k.w.Array(2)
	k.w.Text(strconv.Itoa(low))
	if kind == collection.Set {
		k.w.Array(len(found))
	} else {
		k.w.Array(2 * len(found))
	}
	for _, i := range found {
		key, at := t.At(i)
		k.w.Text(key)
		switch kind {
		case collection.Hash:
			k.w.Bulk(k.l.store.Value(at))
		case collection.ZSet:
			k.w.Text(scoreText(collection.ScoreOf(k.l.store.Value(at)), t.Compact()))
		}
	}
}
