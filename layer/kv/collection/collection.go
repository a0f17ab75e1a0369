package collection

import "math"

// Kind says what a key has. It is part of the format of records.
type Kind byte

// The kinds that there are.
const (
	String Kind = iota // a value, no collection
	Hash
	Set
	List
	ZSet
)

// String is what the command TYPE answers.
func (k Kind) String() string {
	return [...]string{"string", "hash", "set", "list", "zset"}[k]
}

// Sizes of what is not any bytes.
const (
	LabelBytes = 8 // the key of a list's element, by which it has its place
	ScoreBytes = 8 // the value of a sorted set's
)

// WellFormed says whether a collection of that kind has elements with such keys and, if they are put, such values.
func WellFormed(k Kind, key, value []byte, put bool) bool {
	if !put && len(value) > 0 {
		return false
	}
	switch k {
	case Hash:
		return true
	case Set:
		return len(value) == 0
	case List:
		return len(key) == LabelBytes
	case ZSet:
		return !put || len(value) == ScoreBytes && !math.IsNaN(ScoreOf(value))
	}
	return false
}

// Elements is what a collection consists of. Addresses are those of records in the log; 0 is none.
type Elements interface {
	// Len is how many there are.
	Len() int
	// Find returns the address of an element.
	Find(key []byte) (at uint64)
	// Set adds an element, or gives one another value and address, and returns the address that it had. Neither slice is kept.
	Set(key, value []byte, at uint64) (old uint64)
	// Remove takes an element out and returns the address that it had.
	Remove(key []byte) (old uint64)
	// Each calls f with all elements until f returns false. A Set of one that is there, with the same value, is allowed meanwhile.
	Each(f func(key string, at uint64) bool)
	// Encoding is the name that Redis 7.0 would have for how it keeps this.
	Encoding() string
}

// New makes an empty collection, or returns nil if there is none of that kind. It looks at limits, which may change, whenever it grows.
func New(k Kind, limits *Limits) Elements {
	switch k {
	case Hash, Set:
		return &Table{kind: k, limits: limits}
	case List:
		return &Series{}
	case ZSet:
		return &Ranking{Table: Table{kind: k, limits: limits}}
	}
	return nil
}

// Limits are the sizes up to which Redis would keep collections in a compact encoding.
type Limits struct {
	HashEntries, HashValue int // hash-max-listpack-entries, hash-max-listpack-value
	SetEntries             int // set-max-intset-entries
	ZSetEntries, ZSetValue int // zset-max-listpack-entries, zset-max-listpack-value
}

// DefaultLimits are those of Redis 7.0 (redis.conf).
func DefaultLimits() *Limits {
	return &Limits{HashEntries: 128, HashValue: 64, SetEntries: 512, ZSetEntries: 128, ZSetValue: 64}
}
