package collection

import (
	"slices"
	"strconv"
)

// Table is a hash or a set.
type Table struct {
	kind    Kind
	limits  *Limits
	large   bool // Redis would have left its compact encoding
	entries []entry
	index   map[string]uint32 // places in entries; nil while there are few
	most    int               // entries since memory was last given back
}

type entry struct {
	key string
	at  uint64
}

// few entries are searched one by one: a map would take more memory than they do.
const few = 16

// place returns where a key is in entries, or -1.
func (t *Table) place(key []byte) int {
	if t.index == nil {
		for i := range t.entries {
			if t.entries[i].key == string(key) {
				return i
			}
		}
		return -1
	}
	if i, ok := t.index[string(key)]; ok {
		return int(i)
	}
	return -1
}

// Place is the number by which [Table.At] has an element.
func (t *Table) Place(key string) (i int, found bool) {
	if t.index != nil {
		i, found := t.index[key]
		return int(i), found
	}
	i = slices.IndexFunc(t.entries, func(e entry) bool { return e.key == key })
	return i, i >= 0
}

// Kind is what it is a table of.
func (t *Table) Kind() Kind { return t.kind }

// Len implements [Elements].
func (t *Table) Len() int { return len(t.entries) }

// Find implements [Elements].
func (t *Table) Find(key []byte) uint64 {
	if i := t.place(key); i >= 0 {
		return t.entries[i].at
	}
	return 0
}

// Set implements [Elements].
func (t *Table) Set(key, value []byte, at uint64) (old uint64) {
	t.large = t.large || t.outgrows(key, value)
	if i := t.place(key); i >= 0 {
		old, t.entries[i].at = t.entries[i].at, at
		return old
	}
	e := entry{string(key), at}
	t.entries = append(t.entries, e)
	t.most = max(t.most, len(t.entries))
	switch {
	case t.index != nil:
		t.index[e.key] = uint32(len(t.entries) - 1)
	case len(t.entries) > few:
		t.reindex()
	}
	t.large = t.large || len(t.entries) > t.limit()
	return 0
}

// reindex makes the map, and gives back memory that is not needed any more.
func (t *Table) reindex() {
	t.entries = append(make([]entry, 0, len(t.entries)+few), t.entries...)
	t.most = len(t.entries)
	if t.index = nil; len(t.entries) <= few {
		return
	}
	t.index = make(map[string]uint32, len(t.entries))
	for i, e := range t.entries {
		t.index[e.key] = uint32(i)
	}
}

// Remove implements [Elements]. The last element takes the place of the one that goes.
func (t *Table) Remove(key []byte) (old uint64) {
	i := t.place(key)
	if i < 0 {
		return 0
	}
	old = t.entries[i].at
	last := len(t.entries) - 1
	if t.index != nil {
		t.index[t.entries[last].key] = uint32(i)
		delete(t.index, string(key))
	}
	t.entries[i] = t.entries[last]
	t.entries[last] = entry{}
	t.entries = t.entries[:last]
	if t.most > 4*few && len(t.entries) < t.most/4 { // Go's maps do not shrink
		t.reindex()
	}
	return old
}

// Each implements [Elements].
func (t *Table) Each(f func(key string, at uint64) bool) {
	for i := range t.entries {
		if !f(t.entries[i].key, t.entries[i].at) {
			return
		}
	}
}

// At returns one of the elements, by a number from 0 to Len()-1 that changes with each removal.
func (t *Table) At(i int) (key string, at uint64) { return t.entries[i].key, t.entries[i].at }

// Scan returns which elements a scan meets that goes on at cursor: count of them, or all that are left, from At(low) to At(high-1). It goes on
// at low; 0 is the beginning and the end. An element that is there from the first call to the last is met at least once.
func (t *Table) Scan(cursor uint64, count int) (low, high int) {
	high = len(t.entries)
	if cursor > 0 && cursor < uint64(high) {
		high = int(cursor)
	}
	return max(0, high-count), high
}

func (t *Table) limit() int {
	switch t.kind {
	case Set:
		return t.limits.SetEntries
	case ZSet:
		return t.limits.ZSetEntries
	}
	return t.limits.HashEntries
}

func (t *Table) outgrows(key, value []byte) bool {
	switch t.kind {
	case Set:
		return !isInteger(key)
	case ZSet:
		return len(key) > t.limits.ZSetValue
	}
	return len(key) > t.limits.HashValue || len(value) > t.limits.HashValue
}

// isInteger says whether p is a 64-bit integer as Redis writes it.
func isInteger(p []byte) bool {
	if len(p) == 0 || len(p) > len("-9223372036854775808") {
		return false
	}
	n, err := strconv.ParseInt(string(p), 10, 64)
	var text [20]byte
	return err == nil && string(strconv.AppendInt(text[:0], n, 10)) == string(p)
}

// Compact says that Redis would keep it in its compact encoding. Like there, one that has grown out of it does not go back.
func (t *Table) Compact() bool { return !t.large }

// Encoding implements [Elements].
func (t *Table) Encoding() string {
	switch {
	case t.large:
		return "hashtable"
	case t.kind == Set:
		return "intset"
	}
	return "listpack"
}
