package engine

import (
	"bytes"
	"errors"
	"fmt"
	"hash/maphash"

	"usui/layer/kv/collection"
	"usui/layer/kv/disk"
)

// Errors that callers tell apart. Those that methods return wrap them.
var (
	ErrFull    = errors.New("the disk is full: delete keys, or make room; writes go on by themselves then")
	ErrSealed  = errors.New("a write to the log failed, and nothing was acknowledged after it; see to the disk and restart")
	ErrTooLong = errors.New("more than a quarter of a segment")
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
	// Limits are looked at by what collections tell of their encoding. nil is those of Redis.
	Limits *collection.Limits
	// Progress is called while the log is read, with how much of it was.
	Progress func(done, total int64)
}

// Entry is what a key has. Value is valid until the next call of a method that writes or collects.
type Entry struct {
	Value      []byte
	Collection *Collection // instead of a value; nil for a string
	Expire     int64       // Unix time in milliseconds, 0 for never
}

// Kind is what kind of value it is.
func (e Entry) Kind() collection.Kind {
	if e.Collection == nil {
		return collection.String
	}
	return e.Collection.Kind
}

// Store is a map from keys to values of which nothing is lost that [Store.Durable] covers.
type Store struct {
	folder disk.Folder
	opt    Options
	seed   maphash.Seed
	index  *index
	stats  Stats

	collections map[uint64]*Collection // by id
	lastID      uint64                 // no collection has a higher one
	group       group

	slots  []*segment // by slot
	log    []*segment // in the order of the log; the last one is appended to
	spares []*segment // ready to be appended to, in the order of their numbers
	free   []*segment
	victim compaction

	snapshot *Snapshot  // nil: none
	left     []*segment // that are out of the log and still say that they are in it, oldest first

	tail     int    // where the next record goes in the last segment
	seq      uint64 // of the last record
	durable  uint64
	used     int64 // bytes of records in the log
	live     int64 // bytes of records that the index knows
	expiring int   // keys in the index with an expiry

	batch, flight batch // grows; is with the committer
	busy          bool  // flight is with the committer
	sealed        error // why no write is accepted

	touched uint64               // see replay
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
	return s.entry(r), true
}

func (s *Store) entry(r record) Entry {
	if r.heads() {
		return Entry{Collection: s.collections[r.id()], Expire: r.expire()}
	}
	return Entry{Value: r.value(), Expire: r.expire()}
}

// Put gives a key a value that ends at expire, 0 for never. value must not be one that Get returned.
func (s *Store) Put(key, value []byte, expire int64) error {
	return s.PutParts(key, value, nil, expire)
}

// PutParts is Put for a value that goes on in parts.
func (s *Store) PutParts(key, value []byte, parts [][]byte, expire int64) error {
	hash := s.hash(key)
	a, err := s.append(&draft{op: opPut, expire: expire, key: key, value: value, parts: parts}, hash%pendingSlots)
	if err != nil {
		return err
	}
	return s.point(hash, key, a)
}

// point makes the index lead to a record that was just read or appended.
func (s *Store) point(hash uint64, key []byte, a address) error {
	now := s.at(a)
	if err := s.enter(hash, now); err != nil { // first: what it replaces may have the same collection
		return err
	}
	p, old := s.lookup(hash, key)
	expiring := now.expire() != 0
	if old != nil {
		s.leave(old)
		p.set(a, expiring)
	} else if err := s.index.insert(hash, a, expiring); err != nil {
		return s.seal(err)
	}
	return nil
}

// enter counts the record of a key that comes into the index.
func (s *Store) enter(hash uint64, r record) error {
	if r.heads() {
		c, err := s.collectionOf(r)
		if err != nil {
			return err
		}
		c.heads++
		c.slot = hash % pendingSlots
	}
	s.live += int64(r.padded())
	if r.expire() != 0 {
		s.expiring++
	}
	return nil
}

// leave takes back what enter counted. A collection that no key has any more is gone.
func (s *Store) leave(r record) {
	if r.heads() {
		c := s.collections[r.id()]
		c.heads--
		s.Discard(c)
	}
	s.live -= int64(r.padded())
	if r.expire() != 0 {
		s.expiring--
	}
}

// Delete removes a key and says whether it was there.
func (s *Store) Delete(key []byte) (bool, error) {
	if _, ok := s.Get(key); !ok {
		return false, nil
	}
	hash := s.hash(key)
	if _, err := s.append(&draft{op: opDelete, key: key}, hash%pendingSlots); err != nil {
		return false, err
	}
	if p, r := s.lookup(hash, key); r != nil { // compaction may have met it and found it expired
		s.drop(&p, r)
	}
	return true, nil
}

// Clear removes all keys.
func (s *Store) Clear() error {
	if _, err := s.append(&draft{op: opClear}, 0); err != nil {
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
	s.collections = map[uint64]*Collection{}
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
				f(r.key(), s.entry(r))
			}
		})
		if cursor == 0 || seen >= count {
			return cursor
		}
	}
}

// sweepRecords is how many records a sweep looks at, roughly: they may be on disk only.
const sweepRecords = 1000

// Sweep removes what has expired in up to n buckets of the index from cursor on, and returns where to go on, and how many keys went of how many
// that have an expiry.
func (s *Store) Sweep(cursor uint64, n int) (next uint64, gone, of int) {
	var dead []address
	now := s.opt.Now()
	for range n {
		if of >= sweepRecords {
			break
		}
		cursor = s.index.walkExpiring(cursor, func(a address) {
			of++
			if s.at(a).expire() <= now {
				dead = append(dead, a)
			}
		})
	}
	for _, a := range dead {
		s.Get(s.at(a).key())
	}
	return cursor, len(dead), of
}

// Random returns a key, each with the same chance, or false if there is none.
func (s *Store) Random() (key []byte, ok bool) {
	for s.index.count > 0 {
		r := s.at(s.index.random())
		if e := r.expire(); e == 0 || e > s.opt.Now() {
			return r.key(), true
		}
		s.Get(r.key()) // which removes it
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
	s.leave(r)
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
	err = errors.Join(err, s.bearWitness())
	for _, g := range s.slots {
		err = errors.Join(err, g.file.Close())
	}
	if s.index != nil {
		err = errors.Join(err, s.index.close())
	}
	return errors.Join(err, s.folder.Close())
}

// bearWitness has the header of a spare say how far the log goes, so that the loss of its end is noticed.
func (s *Store) bearWitness() error {
	n := len(s.spares)
	if n == 0 || s.sealed != nil || s.spares[n-1].base == s.durable {
		return nil
	}
	h := s.spares[n-1].header
	h.base = s.durable
	return s.spares[n-1].use(h)
}
