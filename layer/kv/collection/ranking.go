package collection

import (
	"cmp"
	"encoding/binary"
	"math"
)

// Ranking is a sorted set: members, each with a score that is the value of its record, in the order of their scores and, where these are the
// same, of their bytes.
type Ranking struct {
	Table
	scores []float64        // of the entries of the table
	order  sequence[uint32] // places in the table
}

// ScoreValue makes the value of an element.
func ScoreValue(score float64) [ScoreBytes]byte {
	if score == 0 {
		score = 0 // and not -0, as in Redis' compact encoding
	}
	var value [ScoreBytes]byte
	binary.LittleEndian.PutUint64(value[:], math.Float64bits(score))
	return value
}

// ScoreOf is the score in such a value.
func ScoreOf(value []byte) float64 { return math.Float64frombits(binary.LittleEndian.Uint64(value)) }

// rank is how many elements are before a member with that score.
func (z *Ranking) rank(score float64, key string) int {
	return z.order.Search(func(i uint32) bool {
		c := cmp.Compare(z.scores[i], score)
		return c < 0 || c == 0 && z.entries[i].key < key
	})
}

// Set implements [Elements].
func (z *Ranking) Set(key, value []byte, at uint64) (old uint64) {
	score := ScoreOf(value)
	i := z.Table.place(key)
	if i >= 0 && z.scores[i] == score {
		return z.Table.Set(key, value, at)
	}
	if i >= 0 {
		z.order.Delete(z.rank(z.scores[i], z.entries[i].key))
		old = z.Table.Set(key, value, at)
		z.scores[i] = score
	} else {
		i = len(z.entries)
		z.Table.Set(key, value, at)
		z.scores = append(z.scores, score)
	}
	z.order.Insert(z.rank(score, z.entries[i].key), uint32(i))
	return old
}

// Remove implements [Elements].
func (z *Ranking) Remove(key []byte) (old uint64) {
	i := z.Table.place(key)
	if i < 0 {
		return 0
	}
	z.order.Delete(z.rank(z.scores[i], z.entries[i].key))
	last := len(z.entries) - 1
	if i != last { // the table moves it there
		*z.order.At(z.rank(z.scores[last], z.entries[last].key)) = uint32(i)
		z.scores[i] = z.scores[last]
	}
	z.scores = z.scores[:last]
	if len(z.scores) < cap(z.scores)/4 {
		z.scores = append(make([]float64, 0, 2*len(z.scores)), z.scores...)
	}
	return z.Table.Remove(key)
}

// Score is that of a member.
func (z *Ranking) Score(key []byte) (score float64, found bool) {
	if i := z.Table.place(key); i >= 0 {
		return z.scores[i], true
	}
	return 0, false
}

// ScoreAt is that of [Table.At].
func (z *Ranking) ScoreAt(i int) float64 { return z.scores[i] }

// Rank is how many are before a member.
func (z *Ranking) Rank(key []byte) (rank int, found bool) {
	i := z.Table.place(key)
	if i < 0 {
		return 0, false
	}
	return z.rank(z.scores[i], z.entries[i].key), true
}

// Ranked returns the member with a rank, and its score.
func (z *Ranking) Ranked(rank int) (key string, score float64) {
	i := *z.order.At(rank)
	return z.entries[i].key, z.scores[i]
}

// Before is how many have a lower score, or, with their own, one that is not higher.
func (z *Ranking) Before(score float64, own bool) int {
	return z.order.Search(func(i uint32) bool { return z.scores[i] < score || own && z.scores[i] == score })
}

// BeforeKey is how many members come before one, which counts if own is true, where all have the same score.
func (z *Ranking) BeforeKey(key string, own bool) int {
	return z.order.Search(func(i uint32) bool { return z.entries[i].key < key || own && z.entries[i].key == key })
}

// Encoding implements [Elements].
func (z *Ranking) Encoding() string {
	if z.large {
		return "skiplist"
	}
	return "listpack"
}
