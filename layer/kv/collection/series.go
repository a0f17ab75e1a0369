package collection

import (
	"encoding/binary"
	"math"
)

// Series is a list. The key of an element is its label, a number that tells its place among the others: 8 bytes, big-endian. Labels have gaps,
// so that what comes between two needs no change of others.
type Series struct {
	items sequence[item] // by label
}

type item struct{ label, at uint64 }

// How labels begin, and how far apart those are of elements that are appended: 2^31 of them fit on each side.
const (
	middle = 1 << 63
	gap    = 1 << 32
)

// Label makes the key of an element.
func Label(n uint64) [LabelBytes]byte {
	var key [LabelBytes]byte
	binary.BigEndian.PutUint64(key[:], n)
	return key
}

// place returns where a label is, or would be.
func (l *Series) place(label uint64) (i int, found bool) {
	if n := l.items.Len(); n > 0 && l.items.At(n-1).label < label { // as with RPUSH, and most of what a log says
		return n, false
	}
	i = l.items.Search(func(e item) bool { return e.label < label })
	return i, i < l.items.Len() && l.items.At(i).label == label
}

// Len implements [Elements].
func (l *Series) Len() int { return l.items.Len() }

// Find implements [Elements].
func (l *Series) Find(key []byte) uint64 {
	if i, found := l.place(binary.BigEndian.Uint64(key)); found {
		return l.items.At(i).at
	}
	return 0
}

// Set implements [Elements].
func (l *Series) Set(key, _ []byte, at uint64) (old uint64) {
	label := binary.BigEndian.Uint64(key)
	i, found := l.place(label)
	if !found {
		l.items.Insert(i, item{label, at})
		return 0
	}
	e := l.items.At(i)
	old, e.at = e.at, at
	return old
}

// Remove implements [Elements].
func (l *Series) Remove(key []byte) (old uint64) {
	i, found := l.place(binary.BigEndian.Uint64(key))
	if !found {
		return 0
	}
	old = l.items.At(i).at
	l.items.Delete(i)
	return old
}

// Each implements [Elements], in the order of the list.
func (l *Series) Each(f func(key string, at uint64) bool) {
	for i := range l.items.Len() {
		e := *l.items.At(i)
		key := Label(e.label)
		if !f(string(key[:]), e.at) {
			return
		}
	}
}

// Encoding implements [Elements]. Redis 7.0 knows no other.
func (l *Series) Encoding() string { return "quicklist" }

// At returns the label of the i-th element and where its record is.
func (l *Series) At(i int) (label, at uint64) {
	e := l.items.At(i)
	return e.label, e.at
}

// Between returns a label for an element that is to be the i-th. ok is false if none is left there: [Series.Spread] makes room.
func (l *Series) Between(i int) (label uint64, ok bool) {
	n := l.items.Len()
	low, high := l.bounds(i, i)
	switch {
	case n == 0:
		return middle, true
	case i == n && high-low > gap:
		return low + gap, true
	case i == 0 && high-low > gap:
		return high - gap, true
	}
	return low + (high-low)/2, high-low > 1
}

// Fits says whether [Series.Between] will have labels for n elements that come one behind or before the other to the i-th place.
func (l *Series) Fits(i, n int) bool {
	low, high := l.bounds(i, i)
	if len := l.items.Len(); i == 0 || i == len {
		return len == 0 || (high-low)/gap > uint64(n)
	}
	return n == 1 && high-low > 1
}

// bounds are the labels around the elements from low to high-1; nothing has the first or the last label of all.
func (l *Series) bounds(low, high int) (before, behind uint64) {
	before, behind = 0, math.MaxUint64
	if low > 0 {
		before = l.items.At(low - 1).label
	}
	if high < l.items.Len() {
		behind = l.items.At(high).label
	}
	return before, behind
}

// spreadLength is how many elements are at least given other labels together.
const spreadLength = 64

// Spread tells which elements have to get other labels, so that there is room before the i-th: those from low to high-1 get first, first+step
// and so on, and one number is left out for what is to be the i-th. There are as few as will leave gaps, which are the wider the more there are, so that
// even insertions at one place move 5 elements each, or fewer, on the average.
func (l *Series) Spread(i int) (low, high int, first, step uint64) {
	n := l.items.Len()
	for width := spreadLength; ; width *= 2 {
		low, high = max(0, i-width/2), min(n, i+width/2)
		before, behind := l.bounds(low, high)
		step = (behind - before) / uint64(high-low+2)
		whole := low == 0 && high == n
		if whole {
			step = min(step, gap)
			before = middle - step*uint64(n/2+1)
		}
		if step >= uint64(width*width)<<4 || whole {
			return low, high, before + step, step
		}
	}
}
