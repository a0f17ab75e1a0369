package engine

import (
	"iter"
	"math/bits"
	"math/rand/v2"
	"sync"
)

// MaxShards is how many shards a store may have: a set of them is a word.
const MaxShards = 64

// Shards is a set of shards.
type Shards uint64

// numbers yields those in the set, the lowest first: the order in which their locks are taken.
func (set Shards) numbers() iter.Seq[int] {
	return func(yield func(int) bool) {
		for ; set != 0; set &= set - 1 {
			if !yield(bits.TrailingZeros64(uint64(set))) {
				return
			}
		}
	}
}

// shard has the keys whose hashes begin with the same bits, and so the tables of the index whose tags do. What it has, and the collections of its keys, belong to who
// has its lock, or the whole store.
type shard struct {
	mu      sync.Mutex
	index   *index
	swept   uint64               // cursor behind the shard's first, from where the next sweep goes on
	pending [pendingSlots]uint64 // last sequence number of a key with such a hash
}

const pendingSlots = 1 << 14

// newShards makes n, or more if that is no power of two.
func newShards(n int) (all []*shard, skip uint, err error) {
	skip = uint(bits.Len(uint(min(max(1, n), MaxShards) - 1)))
	for range 1 << skip {
		x, err := newIndex(skip)
		if err != nil {
			return all, skip, err
		}
		all = append(all, &shard{index: x})
	}
	return all, skip, nil
}

// Shard is the set of the one that has a key.
func (s *Store) Shard(key []byte) Shards { return 1 << s.numberOf(s.hash(key)) }

func (s *Store) numberOf(hash uint64) uint64 { return hash >> (64 - s.skip) } // a shift by 64 gives 0

func (s *Store) shardOf(hash uint64) *shard {
	n := s.numberOf(hash)
	if s.locked != 0 && s.locked>>n&1 == 0 {
		panic("BUG: a key of a shard that is not locked")
	}
	return s.shards[n]
}

// indexOf is the index that has entries with that hash.
func (s *Store) indexOf(hash uint64) *index { return s.shardOf(hash).index }

// pendingOf is where a hash has what its readers wait for.
func (s *Store) pendingOf(hash uint64) *uint64 { return &s.shardOf(hash).pending[hash%pendingSlots] }

// Lock takes the locks of shards, of which this Store has none yet.
func (s *Store) Lock(set Shards) {
	for i := range set.numbers() {
		s.shards[i].mu.Lock()
	}
	s.locked, s.short = set, false
}

// Unlock gives them back. In the middle of a group, where only a fault of the device can have led, it seals the store.
func (s *Store) Unlock() {
	s.leaveGroup()
	set := s.locked
	s.locked = 0
	for i := range set.numbers() {
		s.shards[i].mu.Unlock()
	}
}

// walkEntries calls f with all entries of the bucket at a cursor and returns the cursor of the next bucket, 0 behind the last. Where a shard has none, that is the next one's.
func (s *Store) walkEntries(cursor uint64, f func(entry uint64)) uint64 {
	x := s.indexOf(cursor >> bucketBits << tagShift)
	if x.count == 0 {
		return behind(cursor>>bucketBits, s.skip)
	}
	return x.walkEntries(cursor, f)
}

// begins is a shard's first cursor.
func (s *Store) begins(shard int) uint64 { return uint64(shard) << (tagBits - s.skip) << bucketBits }

// walk is walkEntries with addresses.
func (s *Store) walk(cursor uint64, f func(address)) uint64 {
	return s.walkEntries(cursor, func(e uint64) { f(addressIn(e)) })
}

// walkExpiring is walk for what has an expiry. Records are not touched, which may be on disk only. A shard that has no such is left out.
func (s *Store) walkExpiring(cursor uint64, f func(address)) uint64 {
	if s.indexOf(cursor>>bucketBits<<tagShift).expiring == 0 {
		return behind(cursor>>bucketBits, s.skip)
	}
	return s.walkEntries(cursor, func(e uint64) {
		if e&expires != 0 {
			f(addressIn(e))
		}
	})
}

// Bounds for random: below fewEntries all are counted through; a chain of more than crowd entries is very rare.
const (
	fewEntries = 1000
	crowd      = 3 * entries
)

// random returns an entry's address, each with the same chance. There must be one. The more a shard has, the more readily it is chosen. Of few entries it takes the nth. Of many, it
// tries buckets: one is accepted the more readily, the more entries it has.
func (s *Store) random() (a address) {
	nth, shard := rand.IntN(s.Len()), 0
	for ; nth >= s.shards[shard].index.count; shard++ {
		nth -= s.shards[shard].index.count
	}
	if s.shards[shard].index.count < fewEntries {
		for cursor := s.begins(shard); nth >= 0; {
			cursor = s.walk(cursor, func(found address) {
				if nth == 0 {
					a = found
				}
				nth--
			})
		}
		return a
	}
	for {
		n := 0
		s.walk(s.begins(shard)|rand.Uint64()>>(64-tagBits-bucketBits+s.skip), func(found address) {
			if n++; rand.IntN(n) == 0 {
				a = found
			}
		})
		if n > rand.IntN(crowd) {
			return a
		}
	}
}

// registry finds collections by their ids, whichever shards their keys are in. It has locks of its own, many, so that shards do not meet there.
type registry struct {
	parts [64]struct {
		mu   sync.Mutex
		byID map[uint64]*Collection
	}
}

// get returns nil if there is none.
func (r *registry) get(id uint64) *Collection {
	p := &r.parts[id%uint64(len(r.parts))]
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.byID[id]
}

func (r *registry) add(c *Collection) {
	p := &r.parts[c.id%uint64(len(r.parts))]
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.byID == nil {
		p.byID = map[uint64]*Collection{}
	}
	p.byID[c.id] = c
}

func (r *registry) remove(c *Collection) {
	p := &r.parts[c.id%uint64(len(r.parts))]
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.byID, c.id)
}

// all yields each. A loop may remove what it was given.
func (r *registry) all() iter.Seq[*Collection] {
	return func(yield func(*Collection) bool) {
		for i := range r.parts {
			for _, c := range r.parts[i].byID { // whoever asks for all has the whole store
				if !yield(c) {
					return
				}
			}
		}
	}
}

func (r *registry) len() (n int) {
	for i := range r.parts {
		n += len(r.parts[i].byID)
	}
	return n
}
