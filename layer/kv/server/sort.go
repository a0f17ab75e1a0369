package server

import (
	"bytes"
	"cmp"
	"math"
	"slices"

	"usui/layer/kv/collection"
)

func sortCommands() []command {
	return []command{
		{"sort", -2, "write denyoom movablekeys", 1, 1, 1, func(k *call) { k.sort(true) }},
		{"sort_ro", -2, "readonly movablekeys", 1, 1, 1, func(k *call) { k.sort(false) }},
	}
}

// sorting is what SORT may be told.
type sorting struct {
	by, store     []byte // nil for none
	get           [][]byte
	offset, count int64
	desc, alpha   bool
	asIs          bool // by a pattern without a *
}

// sorting reads it, and answers if it is wrong.
func (k *call) sorting(writes bool) (o sorting, ok bool) {
	o.count = -1
	for args := k.args[2:]; len(args) > 0; args = args[1:] {
		switch a, left := args[0], len(args)-1; {
		case is(a, "ASC"):
			o.desc = false
		case is(a, "DESC"):
			o.desc = true
		case is(a, "ALPHA"):
			o.alpha = true
		case is(a, "LIMIT") && left >= 2:
			if o.offset, o.count, ok = k.bounds(args[1], args[2]); !ok {
				return o, false
			}
			args = args[2:]
		case is(a, "STORE") && writes && left >= 1:
			o.store, args = args[1], args[1:]
		case is(a, "BY") && left >= 1:
			o.by, args = args[1], args[1:]
			o.asIs = o.asIs || !bytes.Contains(o.by, []byte("*"))
		case is(a, "GET") && left >= 1:
			o.get, args = append(o.get, args[1]), args[1:]
		default:
			k.fail(errSyntax)
			return o, false
		}
	}
	return o, true
}

// span is what LIMIT leaves of n elements.
func (o sorting) span(n int) span {
	first := min(max(o.offset, 0), int64(n))
	last := int64(n)
	if o.count >= 0 {
		last = min(first+min(o.count, int64(n)), last)
	}
	return span{int(first), int(last)}
}

// sorted is an element and what it is sorted by.
type sorted struct {
	element []byte
	by      []byte // nil for none
	weight  float64
}

// elementsOf returns what a key has, which may be a list, a set or a sorted set; desc reverses the order of those that have one. ok is false if it has something
// else, and that was answered.
func (k *call) elementsOf(key []byte, desc bool) (all []sorted, kind collection.Kind, ok bool) {
	e, was := k.find(key)
	switch {
	case !was:
		return nil, kind, true
	case e.Kind() == collection.List:
		l := e.Collection.Elements.(*collection.Series)
		all = make([]sorted, 0, l.Len())
		for i := range l.Len() {
			_, at := l.At(i)
			all = append(all, sorted{element: k.l.store.Value(at)})
		}
		if desc {
			slices.Reverse(all)
		}
	case e.Kind() == collection.Set:
		t := e.Collection.Elements.(*collection.Table)
		all = make([]sorted, 0, t.Len())
		for i := range t.Len() {
			member, _ := t.At(i)
			all = append(all, sorted{element: []byte(member)})
		}
	case e.Kind() == collection.ZSet:
		z := e.Collection.Elements.(*collection.Ranking)
		all = make([]sorted, 0, z.Len())
		for i := range z.Len() {
			member, _ := z.Ranked(i)
			all = append(all, sorted{element: []byte(member)})
		}
		if desc {
			slices.Reverse(all)
		}
	default:
		k.fail(errWrongType)
		return nil, kind, false
	}
	return all, e.Kind(), true
}

// lookUp returns what a key or a field has whose name is a pattern with an element in the place of its *; nil if there is none.
func (k *call) lookUp(pattern, element []byte) []byte {
	if string(pattern) == "#" {
		return element
	}
	before, behind, found := bytes.Cut(pattern, []byte("*"))
	if !found {
		return nil
	}
	var field []byte
	if key, name, ok := bytes.Cut(behind, []byte("->")); ok && len(name) > 0 {
		behind, field = key, name
	}
	k.scratch = append(append(append(k.scratch[:0], before...), element...), behind...)
	e, was := k.find(k.scratch)
	switch {
	case !was:
		return nil
	case field == nil && e.Kind() == collection.String:
		return e.Value[:len(e.Value):len(e.Value)]
	case field == nil || e.Kind() != collection.Hash:
		return nil
	}
	if at := e.Collection.Elements.Find(field); at != 0 {
		return k.l.store.Value(at)
	}
	return nil
}

func (k *call) sort(writes bool) {
	o, ok := k.sorting(writes)
	if !ok {
		return
	}
	all, kind, ok := k.elementsOf(k.args[1], o.desc && o.asIs)
	if !ok {
		return
	}
	if o.asIs && kind == collection.Set && o.store != nil { // what is stored shall not depend on chance
		o.asIs, o.alpha, o.by = false, true, nil
	}
	if !o.asIs && !k.order(all, o) {
		k.fail("ERR One or more scores can't be converted into double")
		return
	}
	s := o.span(len(all))
	all = all[s.low:s.high]
	if len(o.get) == 0 {
		o.get = [][]byte{[]byte("#")}
	}
	if o.store != nil {
		k.storeSorted(all, o)
		return
	}
	k.w.Array(len(all) * len(o.get))
	for _, e := range all {
		for _, pattern := range o.get {
			if k.full() {
				return
			}
			if value := k.lookUp(pattern, e.element); value != nil {
				k.w.Bulk(value)
			} else {
				k.w.Null()
			}
		}
	}
}

// order sorts, or says false if a weight is no number.
func (k *call) order(all []sorted, o sorting) (ok bool) {
	for i := range all {
		e := &all[i]
		if e.by = e.element; o.by != nil {
			e.by = k.lookUp(o.by, e.element)
		}
		if o.alpha || e.by == nil {
			continue
		}
		if e.weight, ok = weight(e.by); !ok {
			return false
		}
	}
	slices.SortStableFunc(all, func(a, b sorted) (c int) {
		switch {
		case !o.alpha:
			if c = cmp.Compare(a.weight, b.weight); c == 0 {
				c = bytes.Compare(a.element, b.element)
			}
		case a.by == nil && b.by == nil:
		case a.by == nil:
			c = -1
		case b.by == nil:
			c = 1
		default:
			c = bytes.Compare(a.by, b.by)
		}
		if o.desc {
			return -c
		}
		return c
	})
	return true
}

// weight reads a number to sort by: nothing at all is 0, as for strtod.
func weight(p []byte) (f float64, ok bool) {
	if len(p) == 0 {
		return 0, true
	}
	f, over, under, ok := strtod(string(bytes.TrimLeft(p, " \t\n\v\f\r")))
	return f, ok && !over && !under && !math.IsNaN(f)
}

// storeSorted makes a list of the result.
func (k *call) storeSorted(all []sorted, o sorting) {
	values := make([][]byte, 0, len(all)*len(o.get)) // copies: writes may move what the store has
	for _, e := range all {
		for _, pattern := range o.get {
			values = append(values, bytes.Clone(k.lookUp(pattern, e.element)))
		}
	}
	e := k.replace(o.store, collection.List)
	for i, value := range values {
		e.insert(i, value)
	}
	if e.finish() {
		k.w.Int(int64(len(values)))
	}
}
