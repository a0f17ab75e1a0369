package engine

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

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

	// Notify is called by another goroutine when [Store.Advance] or [Store.Tend] have something to do.
	Notify func()
	// Now is the time by which keys expire, in milliseconds of Unix time. Required; [Store.Share] takes another.
	Now func() int64
	// Limits are looked at by what collections tell of their encoding. nil is those of Redis.
	Limits *collection.Limits
	// Shards is into how many parts the keys are divided, each with a lock, or a few more: it is rounded up to a power of two, up to [MaxShards]. 0 is one.
	Shards int
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

// Store is a map from keys to values of which nothing is lost that [Store.Durable] covers. It is one goroutine's way to it; [Store.Share] makes others'.
type Store struct {
	*shared
	now     func() int64
	locked  Shards // whose locks it has; none: it has the whole store
	short   bool   // see Short
	group   group
	wrote   uint64 // sequence number of the last record that was written by this way
	scratch []byte // for the record of a value on the device
}

// shared is what all ways to a store lead to. What says nothing else changes in the hands of who has the whole store.
type shared struct {
	folder disk.Folder
	opt    Options
	key    hashKey

	shards      []*shard // by the upper bits of hashes
	skip        uint     // how many bits that are
	collections *registry
	slots       atomic.Pointer[[]*segment] // by slot; guarded by mu to be changed, which is done in a copy
	sealed      atomic.Pointer[sealing]    // why no write is accepted; nil if they are
	open        bool                       // Open has read the log

	_ [64]byte // what follows is written often: no cache line has something of it and of what is only read

	live      atomic.Int64  // bytes of records that the index knows
	expiring  atomic.Int64  // keys in the index with an expiry
	expired   atomic.Uint64 // keys that went
	unapplied atomic.Int64  // records that index and collections do not know

	mu     sync.Mutex // of the log; guards what follows, up to the capture
	lastID uint64     // no collection has a higher one
	log    []*segment // in the order of the log; the last one is appended to
	spares []*segment // ready to be appended to, in the order of their numbers
	free   []*segment
	victim compaction

	snapshot *Snapshot  // nil: none
	left     []*segment // that are out of the log and still say that they are in it, oldest first

	tail    int           // where the next record goes in the last segment
	last    int           // where the last one is in it; 0 if there is none
	seq     atomic.Uint64 // of the last record
	handed  atomic.Uint64 // of the last one that the committer has or had
	durable atomic.Uint64
	used    int64       // bytes of records in the log
	stats   Stats       // what counts records and batches
	roomy   atomic.Bool // see Roomy

	batch, flight batch                  // grows; is with the committer
	busy          bool                   // flight is with the committer
	back          time.Time              // when the last batch was durable
	took          time.Duration          // the last batch, at the medium
	resting       *buffer                // of the last batch; readers may still have it
	stirring      Shards                 // that have not been seen without a reader since
	growing       atomic.Pointer[buffer] // of batch, for readers
	flying        atomic.Pointer[buffer] // of flight, for readers

	touched uint64     // see replay
	gone    []departed // waits to be durable

	committer
	keeper

	capture  capture
	removing sync.Mutex  // guards capture.removed
	crowded  atomic.Bool // capture.removed is too long
	saver
}

// newStore makes one that has not read its log.
func newStore(folder disk.Folder, opt Options) (s *Store, err error) {
	s = &Store{shared: &shared{folder: folder, opt: opt, key: newHashKey(), collections: &registry{}}, now: opt.Now}
	s.slots.Store(&[]*segment{})
	s.shards, s.skip, err = newShards(opt.Shards)
	return s, err
}

// Share makes another goroutine's way to the store. now is the time by which keys expire for it.
//
// Methods that name keys, or a collection of one, may be called beside others by who has the locks of the shards of these keys ([Store.Lock]). So may methods that say so. For
// all else one has to have the whole store, which is up to the callers: nobody else has a lock of a shard, or calls anything, meanwhile. Who has it needs no locks.
func (s *Store) Share(now func() int64) *Store { return &Store{shared: s.shared, now: now} }

// sealing is why writes are refused.
type sealing struct{ cause error }

// lockLog takes the lock of the log, unless the group that has begun has it.
func (s *Store) lockLog() {
	if s.group.depth == 0 {
		s.mu.Lock()
	}
}

func (s *Store) unlockLog() {
	if s.group.depth == 0 {
		s.mu.Unlock()
	}
}

// Get returns what a key has. An expired key has nothing.
func (s *Store) Get(key []byte) (Entry, bool) {
	hash := s.hash(key)
	p, r := s.lookup(hash, key)
	if r == nil {
		return Entry{}, false
	}
	if e := r.expire(); e != 0 && e <= s.now() {
		if r.placed() {
			return Entry{}, false // it goes by a record, when it is swept
		}
		s.drop(&p, r)
		s.expired.Add(1)
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
		return Entry{Collection: s.collections.get(r.id()), Expire: r.expire()}
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
	a, err := s.append(&draft{op: opPut, expire: expire, key: key, value: value, parts: parts}, s.pendingOf(hash))
	if err != nil {
		return err
	}
	return s.applied(s.point(hash, key, a))
}

// applied takes note that index and collections know a record that was appended, unless they could not be told.
func (s *Store) applied(err error) error {
	if err == nil {
		s.unapplied.Add(-1)
	}
	return err
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
		s.indexOf(hash).set(&p, a, expiring)
	} else if err := s.indexOf(hash).insert(hash, a, expiring); err != nil {
		return s.seal(err)
	}
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
		c.pending = s.pendingOf(hash)
	}
	s.weighKey(a, int64(r.padded()))
	if r.expire() != 0 {
		s.expiring.Add(1)
	}
	return nil
}

func (s *Store) weighKey(a address, bytes int64) {
	g, _ := s.locate(a)
	g.live.Add(bytes)
	s.live.Add(bytes)
}

// leave takes back what enter counted. A collection that no key has any more is gone.
func (s *Store) leave(r record, a address) {
	if c := s.collectionWith(r); c != nil {
		c.heads--
		s.Discard(c)
	}
	s.weighKey(a, -int64(r.padded()))
	if r.expire() != 0 {
		s.expiring.Add(-1)
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
	if _, err := s.append(&draft{op: opDelete, key: key}, s.pendingOf(hash)); err != nil {
		return false, err
	}
	if p, r := s.lookup(hash, key); r != nil { // compaction may have met it and found it expired
		s.drop(&p, r)
	}
	return true, s.applied(nil)
}

// Clear removes all keys.
func (s *Store) Clear() error {
	if _, err := s.append(&draft{op: opClear}, nil); err != nil {
		return err
	}
	for _, h := range s.shards {
		for i := range h.pending {
			h.pending[i] = s.wrote
		}
	}
	s.departAll()
	return s.applied(s.forget())
}

// forget empties the index. There is nothing left in any shard, even if memory could not be given back.
func (s *Store) forget() error {
	s.capture.abandoned = true
	s.live.Store(0)
	s.expiring.Store(0)
	for _, g := range s.log {
		g.live.Store(0)
	}
	s.collections = &registry{}
	var errs []error
	for _, h := range s.shards {
		errs = append(errs, h.index.clear())
	}
	return errors.Join(errs...)
}

// Len is the number of keys, expired ones that nothing has touched among them.
func (s *Store) Len() (n int) {
	for _, h := range s.shards {
		n += h.index.count
	}
	return n
}

// Expiring is how many keys have an expiry. It may be called at any time.
func (s *Store) Expiring() int { return int(s.expiring.Load()) }

// Scan calls f with the keys of at least count entries and returns where to go on, 0 at the end. A key that is there from the first call
// to the last is met at least once.
func (s *Store) Scan(cursor uint64, count int, f func(key []byte, e Entry)) uint64 {
	now, seen := s.now(), 0
	for {
		cursor = s.walk(cursor, func(a address) {
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

// Last is the sequence number of the last write, Durable that up to which a crash loses nothing. Both may be called at any time.
func (s *Store) Last() uint64    { return s.seq.Load() }
func (s *Store) Durable() uint64 { return s.durable.Load() }

// Flight is the last sequence number that the committer has or has done: what came later becomes durable later. It may be called at any time.
func (s *Store) Flight() uint64 { return s.handed.Load() }

// MaxValue is how many bytes a key and its value may have together.
func (s *Store) MaxValue() int { return s.opt.SegmentBytes/4 - recordHeader - alignment }

// Pending is the sequence number that has to be durable before what Get says of the key is. It may be too high, never too low.
func (s *Store) Pending(key []byte) uint64 { return *s.pendingOf(s.hash(key)) }

// Sealed is nil, or why the store accepts no writes any more. It may be called at any time.
func (s *Store) Sealed() error {
	if w := s.sealed.Load(); w != nil {
		return w.cause
	}
	return nil
}

// Seal ends all writing, as an error of the disk does: what wrote last may not have come to its end. It may be called at any time.
func (s *Store) Seal(cause error) {
	_ = s.seal(cause) // each later write returns it
	s.leaveGroup()
}

// seal ends all writing.
func (s *Store) seal(cause error) error {
	s.sealed.CompareAndSwap(nil, &sealing{fmt.Errorf("%w (%w)", ErrSealed, cause)})
	return s.Sealed()
}

// Close writes what is left, and gives the folder back. What it could not make durable is its error.
func (s *Store) Close() error {
	err := s.Drain()
	s.lastCheckpoint()
	s.saver.end()
	s.committer.end()
	s.keeper.end()
	return errors.Join(err, s.bearWitness(), s.closeFiles())
}

// closeFiles gives back what Open has opened.
func (s *Store) closeFiles() error {
	var errs []error
	for _, g := range *s.slots.Load() {
		errs = append(errs, g.file.Close())
	}
	for _, h := range s.shards {
		errs = append(errs, h.index.close())
	}
	return errors.Join(append(errs, s.folder.Close())...)
}

// bearWitness has the header of a spare say how far the log goes, so that the loss of its end is noticed.
func (s *Store) bearWitness() error {
	n := len(s.spares)
	if n == 0 || s.Sealed() != nil || s.spares[n-1].base == s.durable.Load() {
		return nil
	}
	h := s.spares[n-1].header
	h.base = s.durable.Load()
	return s.spares[n-1].use(h)
}
