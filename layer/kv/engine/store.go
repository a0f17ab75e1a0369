package engine

import (
	"bytes"
	cryptorand "crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/dchest/siphash"

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
	every  int64 // see checkpointEvery; for tests

	// Device is where values lie that [Store.PutPlaced] put; nil for none.
	Device Device

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
	key    hashKey
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
	last     int    // where the last one is in it; 0 if there is none
	seq      uint64 // of the last record
	applied  uint64 // of the last one that index and collections know
	durable  uint64
	used     int64 // bytes of records in the log
	live     int64 // bytes of records that the index knows
	expiring int   // keys in the index with an expiry

	batch, flight batch         // grows; is with the committer
	busy          bool          // flight is with the committer
	back          time.Time     // when the last batch was durable
	took          time.Duration // the last batch, at the medium
	sealed        error         // why no write is accepted

	touched uint64               // see replay
	pending [pendingSlots]uint64 // last sequence number of a key with such a hash

	open    bool       // Open has read the log
	gone    []departed // waits to be durable
	scratch []byte     // for the record of a value on the device

	committer
	keeper
	capture capture
	saver
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
		if r.placed() {
			return Entry{}, false // it goes by a record, when it is swept
		}
		s.drop(&p, r)
		s.stats.Expired++
		return Entry{}, false
	}
	if r.placed() {
		v, ok := s.fetch(r)
		if !ok {
			_ = s.seal(fmt.Errorf("%w: the value of record %d is not on the device", ErrDamaged, r.seq())) // each later write returns it
			return Entry{}, false
		}
		return Entry{Value: v, Expire: r.expire()}, true
	}
	return s.entry(r), true
}

// entry is what a record says, but for a value on a device.
func (s *Store) entry(r record) Entry {
	if r.placed() {
		return Entry{Expire: r.expire()}
	}
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
	if err := s.enter(hash, now, a); err != nil { // first: what it replaces may have the same collection
		return err
	}
	p, old := s.lookup(hash, key)
	expiring := now.expire() != 0
	if old != nil {
		s.leave(old, p.address())
		s.replaces(&p)
		p.set(a, expiring)
	} else if err := s.index.insert(hash, a, expiring); err != nil {
		return s.seal(err)
	}
	s.applied = s.seq
	return nil
}

// enter counts the record of a key that comes into the index.
func (s *Store) enter(hash uint64, r record, a address) error {
	if r.heads() {
		c, err := s.collectionOf(r)
		if err != nil {
			return err
		}
		c.heads++
		c.slot = hash % pendingSlots
	}
	s.weighKey(a, int64(r.padded()))
	if r.expire() != 0 {
		s.expiring++
	}
	return nil
}

func (s *Store) weighKey(a address, bytes int64) {
	g, _ := s.locate(a)
	g.live += bytes
	s.live += bytes
}

// leave takes back what enter counted. A collection that no key has any more is gone.
func (s *Store) leave(r record, a address) {
	if c := s.collectionWith(r); c != nil {
		c.heads--
		s.Discard(c)
	}
	s.weighKey(a, -int64(r.padded()))
	if r.expire() != 0 {
		s.expiring--
	}
	if r.placed() {
		s.depart(r)
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
	s.applied = s.seq
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
	s.applied = s.seq
	s.departAll()
	return s.forget()
}

// forget empties the index.
func (s *Store) forget() error {
	fresh, err := newIndex()
	if err != nil {
		return s.seal(err)
	}
	old := s.index
	s.capture.abandoned = true
	s.index, s.live, s.expiring = fresh, 0, 0
	for _, g := range s.log {
		g.live = 0
	}
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
			if r := s.known(a); r != nil && (r.expire() == 0 || r.expire() > now) {
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
	for tries := 0; s.index.count > 0 && tries < randomTries; {
		r := s.known(s.index.random())
		if r == nil {
			break
		}
		switch e := r.expire(); {
		case e == 0 || e > s.opt.Now():
			return r.key(), true
		case r.placed():
			tries++
		default:
			s.Get(r.key()) // which removes it
		}
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

// hashKey is what clients do not know, so that they cannot choose keys that meet in one bucket. It is kept with checkpoints.
type hashKey [2]uint64

func newHashKey() hashKey {
	var random [16]byte
	cryptorand.Read(random[:]) // never fails, says its doc comment
	return hashKey{binary.NativeEndian.Uint64(random[:]), binary.NativeEndian.Uint64(random[8:])}
}

func (k hashKey) hash(key []byte) uint64 { return siphash.Hash(k[0], k[1], key) }

func (s *Store) hash(key []byte) uint64 { return s.key.hash(key) }

// lookup returns the record of a key, expired or not, and where the index has it.
func (s *Store) lookup(hash uint64, key []byte) (place, record) {
	p := s.index.find(hash)
	for {
		a, ok := p.next()
		if !ok {
			return p, nil
		}
		if r := s.known(a); r != nil && bytes.Equal(r.key(), key) {
			return p, r
		}
	}
}

// drop takes the record that lookup found out of the index.
func (s *Store) drop(p *place, r record) {
	s.leave(r, p.address())
	s.replaces(p)
	s.index.remove(p)
}

// move makes an entry lead to a copy of its record.
func (s *Store) move(p *place, r record, to address) {
	s.weighKey(p.address(), -int64(r.padded()))
	s.weighKey(to, int64(s.at(to).padded()))
	s.replaces(p)
	p.set(to, r.expire() != 0)
}

// locate returns the segment of an address, and the offset in it.
func (s *Store) locate(a address) (*segment, int) {
	size := uint64(s.opt.SegmentBytes / alignment)
	return s.slots[uint64(a)/size], int(uint64(a) % size * alignment)
}

// at returns the record at an address, which was read or appended since the store was opened.
func (s *Store) at(a address) record {
	r := record(s.from(a))
	return r[:r.length()]
}

// known returns the record at an address of the index. Those from before a checkpoint were not looked at when it was loaded, and may have rotted
// since they were written. One that is none that a key has seals the store, and is nil.
func (s *Store) known(a address) record {
	r, ok := shape(s.from(a))
	if !ok || r.op() != opPut || r.heads() && s.collections[r.id()] == nil {
		g, off := s.locate(a)
		_ = s.seal(fmt.Errorf("%w: %s at %#x", ErrDamaged, segmentName(g.slot), off)) // each later write returns it
		return nil
	}
	return r
}

// from is the log from an address on, in its batch if it is not written yet. Only an address from a checkpoint that lies has nothing there.
func (s *Store) from(a address) []byte {
	g, off := s.locate(a)
	p := g.view
	if off >= g.flushed {
		b := &s.batch
		if s.busy && s.flight.segment == g && off < s.flight.off+len(s.flight.records) {
			b = &s.flight
		}
		if b.segment != g || off < b.off || off > b.off+len(b.records) {
			return nil
		}
		p, off = b.records, off-b.off
	}
	return p[off:]
}

// Seal ends all writing, as an error of the disk does: what wrote last may not have come to its end.
func (s *Store) Seal(cause error) { _ = s.seal(cause) } // each later write returns it

// seal ends all writing.
func (s *Store) seal(cause error) error {
	if s.sealed == nil {
		s.sealed = fmt.Errorf("%w (%w)", ErrSealed, cause)
	}
	return s.sealed
}

// Close writes what is left, and gives the folder back. What it could not make durable is its error.
func (s *Store) Close() error {
	err := s.Drain()
	s.lastCheckpoint()
	s.saver.end()
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
