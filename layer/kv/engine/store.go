package engine

import (
	"bytes"
	"errors"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"time"

	"usui/layer/kv/disk"
)

// Errors that callers tell apart. Those that methods return wrap them.
var (
	ErrFull    = errors.New("the disk is full: delete keys, or make room; writes go on by themselves then")
	ErrSealed  = errors.New("a write to the log failed, and nothing was acknowledged after it; see to the disk and restart")
	ErrTooLong = errors.New("key and value do not fit into a quarter of a segment")
	ErrDamaged = errors.New("damaged")
)

// DefaultSegment is the size of a segment's file.
const DefaultSegment = 64 << 20

// Options are how a store works. The zero value is usable.
type Options struct {
	SegmentBytes int // of new segments; one that exists keeps its size, which must be the same. 0 is [DefaultSegment]

	// Notify is called by another goroutine when [Store.Collect] has something to do.
	Notify func()
	// Now is the time by which keys expire, in milliseconds of Unix time. Required.
	Now func() int64
	// Progress is called while the log is read, with how much of it was.
	Progress func(done, total int64)
}

// Entry is what a key has. Value is valid until the next call of a method that writes or collects.
type Entry struct {
	Value  []byte
	Expire int64 // Unix time in milliseconds, 0 for never
}

// Store is a map from keys to values of which nothing is lost that [Store.Durable] covers.
type Store struct {
	folder disk.Folder
	opt    Options
	seed   maphash.Seed
	index  *index
	stats  Stats

	slots  []*segment // by slot
	log    []*segment // in the order of the log; the last one is appended to
	spares []*segment // ready to be appended to, in the order of their numbers
	free   []*segment
	victim compaction

	tail     int    // where the next record goes in the last segment
	seq      uint64 // of the last record
	durable  uint64
	used     int64 // bytes of records in the log
	live     int64 // bytes of records that the index knows
	expiring int   // keys in the index with an expiry

	batch, flight batch         // grows; is with the committer
	busy          bool          // flight is with the committer
	handed        time.Time     // when it went there
	took          time.Duration // how long the last one was there
	sealed        error         // why no write is accepted

	pending [pendingSlots]uint64 // last sequence number of a key with such a hash

	committer
	keeper
}

const pendingSlots = 1 << 14

// batch is records that are written and synced together.
type batch struct {
	segment     *segment
	off         int // of the first record
	first, last uint64
	records     []byte
}

// Get returns what a key has. An expired key has nothing.
func (s *Store) Get(key []byte) (Entry, bool) {
	hash := s.hash(key)
	p, r := s.lookup(hash, key)
	if r == nil {
		return Entry{}, false
	}
	if e := r.expire(); e != 0 && e <= s.opt.Now() {
		s.drop(&p, r)
		s.stats.Expired++
		return Entry{}, false
	}
	return Entry{r.value(), r.expire()}, true
}

// Put gives a key a value that ends at expire, 0 for never. value must not be one that Get returned.
func (s *Store) Put(key, value []byte, expire int64) error {
	hash := s.hash(key)
	a, err := s.append(opPut, hash, expire, key, value)
	if err != nil {
		return err
	}
	return s.point(hash, key, a)
}

// point makes the index lead to a record that was just read or appended.
func (s *Store) point(hash uint64, key []byte, a address) error {
	now := s.at(a)
	p, old := s.lookup(hash, key)
	if old != nil {
		s.live -= int64(old.padded())
		s.count(old, -1)
		p.set(a)
	} else if err := s.index.insert(hash, a); err != nil {
		return s.seal(err)
	}
	s.live += int64(now.padded())
	s.count(now, 1)
	return nil
}

func (s *Store) count(r record, n int) {
	if r.expire() != 0 {
		s.expiring += n
	}
}

// Delete removes a key and says whether it was there.
func (s *Store) Delete(key []byte) (bool, error) {
	if _, ok := s.Get(key); !ok {
		return false, nil
	}
	hash := s.hash(key)
	if _, err := s.append(opDelete, hash, 0, key, nil); err != nil {
		return false, err
	}
	if p, r := s.lookup(hash, key); r != nil { // compaction may have met it and found it expired
		s.drop(&p, r)
	}
	return true, nil
}

// Clear removes all keys.
func (s *Store) Clear() error {
	if _, err := s.append(opClear, 0, 0, nil, nil); err != nil {
		return err
	}
	for i := range s.pending {
		s.pending[i] = s.seq
	}
	return s.forget()
}

// forget empties the index.
func (s *Store) forget() error {
	fresh, err := newIndex()
	if err != nil {
		return s.seal(err)
	}
	old := s.index
	s.index, s.live, s.expiring = fresh, 0, 0
	return old.close()
}

// Len is the number of keys, expired ones that nothing has touched among them.
func (s *Store) Len() int { return s.index.count }

// Expiring is how many of them have an expiry.
func (s *Store) Expiring() int { return s.expiring }

// Scan calls f with the keys of at least count entries and returns where to go on, 0 at the end. A key that is there from the first call
// to the last is met at least once.
func (s *Store) Scan(cursor uint64, count int, f func(key []byte, e Entry)) uint64 {
	now, seen := s.opt.Now(), 0
	for {
		cursor = s.index.walk(cursor, func(a address) {
			seen++
			if r := s.at(a); r.expire() == 0 || r.expire() > now {
				f(r.key(), Entry{r.value(), r.expire()})
			}
		})
		if cursor == 0 || seen >= count {
			return cursor
		}
	}
}

// Sweep looks up keys from cursor on, so that expired ones go, and returns where to go on.
func (s *Store) Sweep(cursor uint64, n int) uint64 {
	var dead []address
	now := s.opt.Now()
	for range n {
		cursor = s.index.walk(cursor, func(a address) {
			if e := s.at(a).expire(); e != 0 && e <= now {
				dead = append(dead, a)
			}
		})
	}
	for _, a := range dead {
		s.Get(s.at(a).key())
	}
	return cursor
}

// Random returns any key, or false if there is none. The choice is not even: it is that of a place in the index.
func (s *Store) Random() (key []byte, ok bool) {
	n := 0
	start := rand.Uint64() >> (64 - tagBits - bucketBits)
	for cursor, wrapped := start, false; !wrapped || cursor < start; {
		next := s.Scan(cursor, 1, func(k []byte, _ Entry) {
			if n++; rand.IntN(n) == 0 {
				key, ok = k, true
			}
		})
		if ok {
			return key, true
		}
		if next == 0 {
			if wrapped {
				return nil, false
			}
			wrapped = true
		}
		cursor = next
	}
	return nil, false
}

// Last is the sequence number of the last write, Durable that up to which a crash loses nothing.
func (s *Store) Last() uint64    { return s.seq }
func (s *Store) Durable() uint64 { return s.durable }

// Flight is the last sequence number that the committer has or has done: what came later becomes durable later.
func (s *Store) Flight() uint64 {
	if s.busy {
		return s.flight.last
	}
	return s.durable
}

// MaxValue is how many bytes a key and its value may have together.
func (s *Store) MaxValue() int { return s.opt.SegmentBytes/4 - recordHeader - alignment }

// Pending is the sequence number that has to be durable before what Get says of the key is. It may be too high, never too low.
func (s *Store) Pending(key []byte) uint64 { return s.pending[s.hash(key)%pendingSlots] }

// Sealed is nil, or why the store accepts no writes any more.
func (s *Store) Sealed() error { return s.sealed }

func (s *Store) hash(key []byte) uint64 { return maphash.Bytes(s.seed, key) }

// lookup returns the record of a key, expired or not, and where the index has it.
func (s *Store) lookup(hash uint64, key []byte) (place, record) {
	p := s.index.find(hash)
	for {
		a, ok := p.next()
		if !ok {
			return p, nil
		}
		if r := s.at(a); bytes.Equal(r.key(), key) {
			return p, r
		}
	}
}

// drop takes the record that lookup found out of the index.
func (s *Store) drop(p *place, r record) {
	s.live -= int64(r.padded())
	s.count(r, -1)
	s.index.remove(p)
}

// at returns the record at an address, from its batch if it is not written yet.
func (s *Store) at(a address) record {
	size := s.opt.SegmentBytes / alignment
	g, off := s.slots[int(a)/size], int(a)%size*alignment
	p := g.view
	if off >= g.flushed {
		b := &s.batch
		if s.busy && s.flight.segment == g && off < s.flight.off+len(s.flight.records) {
			b = &s.flight
		}
		p, off = b.records, off-b.off
	}
	r := record(p[off:])
	return r[:r.length()]
}

// seal ends all writing.
func (s *Store) seal(cause error) error {
	if s.sealed == nil {
		s.sealed = fmt.Errorf("%w (%v)", ErrSealed, cause)
	}
	return s.sealed
}

// Close writes what is left, and gives the folder back. What it could not make durable is its error.
func (s *Store) Close() error {
	err := s.Drain()
	s.committer.end()
	s.keeper.end()
	for _, g := range s.slots {
		err = errors.Join(err, g.file.Close())
	}
	if s.index != nil {
		err = errors.Join(err, s.index.close())
	}
	return errors.Join(err, s.folder.Close())
}
