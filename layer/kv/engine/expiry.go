package engine

import "bytes"

// Sweeps is the numbers of the shards that have keys with an expiry.
func (s *Store) Sweeps() (shards []int) {
	for i, h := range s.shards {
		if h.index.expiring > 0 {
			shards = append(shards, i)
		}
	}
	return shards
}

// SweepShard is [Store.Sweep] for buckets of one shard, from where the last one ended.
func (s *Store) SweepShard(shard, n int) (gone, of int) {
	h := s.shards[shard]
	if h.index.expiring == 0 {
		return 0, 0
	}
	next, gone, of := s.Sweep(s.begins(shard)+h.swept, n)
	if h.swept = next - s.begins(shard); next < s.begins(shard) || h.swept >= 1<<(tagBits-s.skip+bucketBits) {
		h.swept = 0
	}
	return gone, of
}

// sweepRecords is how many records a sweep looks at, roughly: they may be on disk only.
const sweepRecords = 1000

// Sweep removes what has expired in up to n buckets of the index from cursor on, and returns where to go on, and how many keys went of how many
// that have an expiry.
func (s *Store) Sweep(cursor uint64, n int) (next uint64, gone, of int) {
	var dead []address
	now := s.now()
	for range n {
		if of >= sweepRecords {
			break
		}
		cursor = s.walkExpiring(cursor, func(a address) {
			of++
			if r := s.known(a); r != nil && r.expire() <= now {
				dead = append(dead, a)
			}
		})
	}
	var placed [][]byte // keys: what removes them moves records
	for _, a := range dead {
		switch r := s.known(a); {
		case r == nil:
		case r.placed():
			placed = append(placed, bytes.Clone(r.key()))
		default:
			s.Get(r.key())
			gone++
		}
	}
	for _, key := range placed {
		if !s.expirePlaced(key) {
			break
		}
		gone++
	}
	return cursor, gone, of
}

// randomTries is how many keys Random takes that have expired and cannot go now, for want of a record: their values are on the device.
const randomTries = 100

// Random returns a key, each with the same chance, or false if there is none.
func (s *Store) Random() (key []byte, ok bool) {
	for tries := 0; s.Len() > 0 && tries < randomTries; {
		r := s.known(s.random())
		if r == nil {
			break
		}
		switch e := r.expire(); {
		case e == 0 || e > s.now():
			return r.key(), true
		case r.placed():
			tries++
		default:
			s.Get(r.key()) // which removes it
		}
	}
	return nil, false
}
