package server

import (
	"bytes"
	"errors"

	"usui/layer/kv/collection"
	"usui/layer/kv/engine"
)

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

// removeLabel takes an element out.
func (e *edit) removeLabel(label uint64) {
	key := collection.Label(label)
	e.k.value = append(e.k.value[:0], key[:]...)
	e.remove(e.k.value)
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
	if i > 0 && i < l.Len() {
		if err := k.spread(c, i); !errors.Is(err, engine.ErrTooLong) {
			return c, k.wrote(err)
		}
	}
	e := k.replace(key, collection.List)
	old, _ := k.find(key)
	e.expire = old.Expire
	for i := range l.Len() {
		_, at := l.At(i)
		k.scratch = append(k.scratch[:0], k.l.store.Value(at)...)
		e.insert(i, k.scratch)
	}
	return e.c, e.finish()
}

// spread gives some elements around the i-th other labels, unless they are too much for a group.
func (k *call) spread(c *engine.Collection, i int) error {
	s, l := k.l.store, c.Elements.(*collection.Series)
	low, high, label, step := l.Spread(i)
	values, r := make([][]byte, 0, high-low), room{}
	for j := low; j < high; j++ {
		_, at := l.At(j)
		values = append(values, bytes.Clone(s.Value(at)))
		r.add(collection.LabelBytes, 0)
		r.add(collection.LabelBytes, len(values[j-low]))
	}
	if err := s.Begin(r.bytes); err != nil {
		return err
	}
	defer s.End()
	e := edit{k: k, c: c}
	for range values {
		old, _ := l.At(low)
		e.removeLabel(old)
	}
	for j, value := range values {
		if low+j == i {
			label += step
		}
		key := collection.Label(label)
		e.put(key[:], value)
		label += step
	}
	return e.err
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
	case r.bytes > k.l.store.MaxValue():
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
			e.removeLabel(label)
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
		k.scratch = append(k.scratch[:0], k.l.store.Value(at)...)
		e.insert(e.c.Elements.Len(), k.scratch)
	}
	return e.finish()
}

// span is that of count elements at one end, of n.
func (s side) span(n, count int) span {
	if s == head {
		return span{0, count}
	}
	return span{n - count, n}
}
