package server

import (
	"bytes"

	"usui/layer/kv/collection"
	"usui/layer/kv/engine"
)

// sides reads the ends of LMOVE and BLMOVE, and answers if they are none.
func (k *call) sides() (from, to side, ok bool) {
	if from, ok = k.side(k.args[3]); ok {
		to, ok = k.side(k.args[4])
	}
	return from, to, ok
}

func lmove(k *call) {
	if from, to, ok := k.sides(); ok {
		k.moveElement(k.args[1], k.args[2], from, to)
	}
}

func blmove(k *call) {
	if from, to, ok := k.sides(); ok {
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
	key, size := collection.Label(label), len(k.l.store.Value(at))
	if err := k.l.store.Begin(engine.Room(collection.LabelBytes, 0) + engine.Room(collection.LabelBytes, size) + engine.Room(len(source), 0) + engine.Room(len(target), 0)); err != nil {
		k.wrote(err)
		return
	}
	defer k.l.store.End()
	_, at = l.At(from.of(l.Len()))
	k.scratch = append(k.scratch[:0], k.l.store.Value(at)...)
	if c == d && l.Len() == 1 { // where it is
		if k.wrote(k.l.store.PutElement(c, key[:], k.scratch)) {
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
	if out.removeLabel(label); out.finish() {
		k.w.Bulk(k.scratch)
	}
}
