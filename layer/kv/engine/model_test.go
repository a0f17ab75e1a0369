package engine

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"

	"usui/layer/kv/collection"
	"usui/layer/kv/disktest"
)

// object is what a key has. It never changes.
type object struct {
	kind     collection.Kind
	value    string
	elements map[string]string // instead of a value
	expire   int64
}

// change is what one group of writes did to the model.
type change struct {
	seq   uint64             // of its last record, without which none of it may be there
	keys  map[string]*object // nil: gone
	clear bool
}

// keyspace is what all keys have, expired ones among them.
type keyspace map[string]*object

func (s keyspace) apply(c change) {
	if c.clear {
		clear(s)
	}
	for k, o := range c.keys {
		if o == nil {
			delete(s, k)
		} else {
			s[k] = o
		}
	}
}

// met is what crashes met, so that a test can see that it tests something.
type met struct {
	torn, cut, compacted, elements int
	held                           int // segments, for backups
	loaded, ignored, between       int // checkpoints; crashes in the middle of one
	reused                         int // checkpoints that knew an earlier use of a segment
}

// count looks at a store after a crash of the model's.
func (m *met) count(before *model, after *Store, left *disktest.Disk) {
	if last := after.log[len(after.log)-1]; last.torn {
		m.torn++
		if r, ok := parse(last.view[last.end:], last.seed); ok && r.seq() == after.Last()+1 && r.more() {
			m.cut++
		}
	}
	m.compacted += int(before.store.stats.Compacted)
	m.held += before.store.Held()
	if after.stats.Loaded > 0 {
		m.loaded++
		if c, err := decodeCheckpoint(left.Content(checkpointName)); err == nil && slices.ContainsFunc(c.marks, func(k mark) bool {
			g := (*after.slots.Load())[k.slot]
			return g.epoch != k.epoch && slices.Contains(after.log, g)
		}) {
			m.reused++
		}
	}
	m.ignored += int(after.stats.CheckpointIgnored)
	if before.store.capture.active {
		m.between++
	}
	for c := range after.collections.all() {
		m.elements += c.Elements.Len()
	}
}

// model is a store beside a plain list of what was done to it.
type model struct {
	disk    *disktest.Disk
	store   *Store
	random  *rand.Rand
	now     int64
	changes []change
	state   keyspace
	tamper  func(*disktest.Disk) // with what a crash left
	met     *met
	backup  backup
	opened  int // how many times

	checkpoints      bool
	images           chan *disktest.Disk // what crashes at steps of a checkpoint would have left
	armed            atomic.Bool         // the next write waits before its sync
	written, release chan bool
}

func (m *model) options() Options {
	m.opened++
	return Options{SegmentBytes: MinSegment, Now: func() int64 { return m.now }, Shards: 1 + m.opened%2}
}

func newModel(seed uint64, d *disktest.Disk) (*model, error) {
	m := &model{disk: d, random: rand.New(rand.NewPCG(seed, 2)), now: 1000, state: keyspace{}, written: make(chan bool), release: make(chan bool)}
	m.images = make(chan *disktest.Disk, 2)
	m.checkpoints = seed%10 == 0 || !d.Immediate() && seed%2 == 0 // they take the race detector long
	return m, m.open(d)
}

// open has the model go on with a disk.
func (m *model) open(d *disktest.Disk) (err error) {
	random := rand.New(rand.NewPCG(m.random.Uint64(), 3)) // for another goroutine
	d.Written = m.pass
	d.Replacing = func(step string) error {
		if random.IntN(16) == 0 || step == "settle" && random.IntN(3) == 0 {
			select {
			case m.images <- d.Crash(random.Uint64()):
			default: // there are some to look at
			}
		}
		if random.IntN(60) == 0 {
			return disktest.ErrInjected
		}
		return nil
	}
	m.disk = d
	if m.store, err = Open(d, m.options()); err != nil {
		return err
	}
	return spread(m.store)
}

// spread gives a small index two tables, so that a checkpoint of it takes some time.
func spread(s *Store) error {
	if s.indexBytes() > tableBytes {
		return nil
	}
	return s.shards[0].index.split(0)
}

// pass is called between a write and its sync.
func (m *model) pass() {
	if m.armed.CompareAndSwap(true, false) {
		m.written <- true
		<-m.release
	}
}

// cut is what a crash would leave at this moment: between the write of a batch and its sync, if there is one to write.
func (m *model) cut(seed uint64) *disktest.Disk {
	s := m.store
	if s.wait(); len(s.batch.records) == 0 {
		return m.disk.Crash(seed)
	}
	m.armed.Store(true)
	s.hand()
	<-m.written
	defer func() { m.release <- true }()
	return m.disk.Crash(seed)
}

// How many keys there are, and how many more with large strings, enough to make a log of several segments.
const (
	modelKeys = 60
	largeKeys = 30
)

func keyOf(n int) string {
	if n >= modelKeys {
		return fmt.Sprint("large", n)
	}
	return fmt.Sprint("key", n)
}

func (m *model) key() string { return keyOf(m.random.IntN(modelKeys)) }

// get is what a key has, nil for nothing.
func (m *model) get(key string) *object {
	if o := m.state[key]; o != nil && (o.expire == 0 || o.expire > m.now) {
		return o
	}
	return nil
}

// value is any one, mostly short.
func (m *model) value() string {
	return strings.Repeat(string(rune('a'+m.random.IntN(26))), m.random.IntN(1<<m.random.IntN(13)))
}

func (m *model) expiry() int64 {
	if m.random.IntN(4) > 0 {
		return 0
	}
	return m.now + 1 + m.random.Int64N(300)
}

// act does one thing.
func (m *model) act() error {
	var keys map[string]*object
	var err error
	switch n := m.random.IntN(100); {
	case n < 25:
		o := &object{value: m.value(), expire: m.expiry()}
		k := m.key()
		if n < 2 {
			o.value, k = strings.Repeat("l", 10000), keyOf(modelKeys+m.random.IntN(largeKeys))
		}
		keys, err = map[string]*object{k: o}, m.store.Put([]byte(k), []byte(o.value), o.expire)
	case n < 32:
		keys, err = m.putMany()
	case n < 50:
		keys, err = m.edit(m.key())
	case n < 56:
		keys, err = m.rename(m.key(), m.key())
	case n < 60:
		keys, err = m.retime(m.key())
	case n < 63:
		keys, err = m.duplicate(m.key(), m.key())
	case n < 72:
		k := m.key()
		var was bool
		if was, err = m.store.Delete([]byte(k)); was != (m.get(k) != nil) {
			return fmt.Errorf("Delete(%q) = %v, %v; want %v", k, was, err, !was)
		}
		if was {
			keys = map[string]*object{k: nil}
		}
	case n < 73 && m.random.IntN(10) == 0:
		err = m.store.Clear()
		m.record(change{clear: true})
		err = errors.Join(err, spread(m.store))
	case n < 74:
		if m.checkpoints && !m.store.capture.active && m.store.Last() > 0 {
			m.store.beginCheckpoint()
		}
	case n < 75 && m.random.IntN(3) == 0:
		m.store.finishCheckpoint()
	case n < 76:
		if err := m.store.Drain(); err != nil {
			return err
		}
		if len(m.store.log) > 2 && m.store.await() {
			m.store.compactOldest()
		}
	case n < 85:
		m.store.Commit()
	case n < 95:
		m.store.Collect()
	case n < 97:
		m.now += m.random.Int64N(50)
	case n < 98:
		return m.backUp()
	default:
		return m.store.Drain()
	}
	if keys != nil {
		m.record(change{keys: keys})
	}
	return err
}

func (m *model) record(c change) {
	c.seq = m.store.Last()
	m.changes = append(m.changes, c)
	m.state.apply(c)
}

// inGroup has f write a group, sometimes as a group within a group.
func (m *model) inGroup(room int, f func() error) error {
	for range 1 + m.random.IntN(2) {
		if err := m.store.Begin(room); err != nil {
			return err
		}
		defer m.store.End()
	}
	return f()
}

// putMany is as MSET.
func (m *model) putMany() (map[string]*object, error) {
	keys, room := map[string]*object{}, 0
	for range 1 + m.random.IntN(4) {
		k, o := m.key(), &object{value: m.value()}
		keys[k] = o
		room += Room(len(k), len(o.value))
	}
	if room > MinSegment/4 {
		return nil, nil
	}
	return keys, m.inGroup(room, func() error {
		for k, o := range keys {
			if err := m.store.Put([]byte(k), []byte(o.value), 0); err != nil {
				return err
			}
		}
		return nil
	})
}

// element is one that a collection of that kind may have.
func (m *model) element(kind collection.Kind) (key, value string) {
	n := m.random.IntN(30)
	switch kind {
	case collection.Hash:
		return fmt.Sprint("e", n), m.value()
	case collection.List:
		label := collection.Label(uint64(n) << 40)
		return string(label[:]), m.value()
	case collection.ZSet:
		score := collection.ScoreValue(float64(m.random.IntN(10)))
		return fmt.Sprint("e", n), string(score[:])
	}
	return fmt.Sprint("e", n), ""
}

// inOrder says whether what keeps an order is in that of the records.
func inOrder(s *Store, e Entry) bool {
	if e.Collection == nil {
		return true
	}
	switch elements := e.Collection.Elements.(type) {
	case *collection.Series:
		last := uint64(0)
		for i := range elements.Len() {
			label, _ := elements.At(i)
			if i > 0 && label <= last {
				return false
			}
			last = label
		}
	case *collection.Ranking:
		last := ""
		for i := range elements.Len() {
			key, score := elements.Ranked(i)
			now := fmt.Sprintf("%20.3f %s", score, key)
			if now <= last || score != collection.ScoreOf(s.Value(elements.Find([]byte(key)))) {
				return false
			}
			last = now
		}
	}
	return true
}

// edit puts elements into a collection and takes some out, as HSET and HDEL; it makes and deletes the key where that is needed.
func (m *model) edit(key string) (map[string]*object, error) {
	old := m.get(key)
	if old != nil && old.elements == nil {
		return nil, nil
	}
	next := &object{kind: collection.Hash + collection.Kind(m.random.IntN(4)), elements: map[string]string{}}
	if old != nil {
		next.kind, next.expire, next.elements = old.kind, old.expire, maps.Clone(old.elements)
	}
	puts, room := map[string]string{}, 2*Room(len(key), 0)
	for range m.random.IntN(8) {
		k, v := m.element(next.kind)
		if room+Room(len(k), len(v)) < MinSegment/8 {
			puts[k] = v
			room += Room(len(k), len(v))
		}
	}
	if old == nil && len(puts) == 0 {
		return nil, nil
	}
	var gone []string
	for k := range next.elements {
		if _, kept := puts[k]; !kept && m.random.IntN(3) == 0 {
			gone = append(gone, k)
			room += Room(len(k), 0)
		}
	}
	result := map[string]*object{key: next}
	return result, m.inGroup(room, func() error {
		c := m.store.NewCollection(next.kind)
		if old != nil {
			m.store.Discard(c)
			e, _ := m.store.Get([]byte(key))
			c = e.Collection
		} else if err := m.store.PutCollection([]byte(key), c, 0); err != nil {
			return err
		}
		for _, k := range gone {
			delete(next.elements, k)
			if was, err := m.store.DeleteElement(c, []byte(k)); err != nil || !was {
				return fmt.Errorf("DeleteElement(%q) = %v, %v", k, was, err)
			}
		}
		for k, v := range puts {
			next.elements[k] = v
			if err := m.store.PutElement(c, []byte(k), []byte(v)); err != nil {
				return err
			}
		}
		if len(next.elements) > 0 {
			return nil
		}
		result[key] = nil
		_, err := m.store.Delete([]byte(key))
		return err
	})
}

// put gives a key what another has.
func (m *model) put(key string, o *object, c *Collection) error {
	if o.elements == nil {
		return m.store.Put([]byte(key), []byte(o.value), o.expire)
	}
	return m.store.PutCollection([]byte(key), c, o.expire)
}

func (m *model) rename(from, to string) (map[string]*object, error) {
	o := m.get(from)
	if o == nil || from == to {
		return nil, nil
	}
	return map[string]*object{to: o, from: nil}, m.inGroup(Room(len(to), len(o.value))+Room(len(from), 0), func() error {
		e, _ := m.store.Get([]byte(from))
		if err := m.put(to, o, e.Collection); err != nil {
			return err
		}
		_, err := m.store.Delete([]byte(from))
		return err
	})
}

func (m *model) retime(key string) (map[string]*object, error) {
	o := m.get(key)
	if o == nil {
		return nil, nil
	}
	e, _ := m.store.Get([]byte(key))
	again := *o
	again.expire = m.expiry()
	return map[string]*object{key: &again}, m.put(key, &again, e.Collection)
}

// duplicate writes the elements of a copy, which nobody sees, and then the key, or does not.
func (m *model) duplicate(from, to string) (map[string]*object, error) {
	o := m.get(from)
	if o == nil || o.elements == nil {
		return nil, nil
	}
	c := m.store.NewCollection(o.kind)
	for k, v := range o.elements {
		if err := m.store.PutElement(c, []byte(k), []byte(v)); err != nil {
			return nil, err
		}
	}
	if m.random.IntN(3) == 0 {
		m.store.Discard(c)
		return nil, nil
	}
	return map[string]*object{to: o}, m.put(to, o, c)
}

// upTo is what a store has after the changes up to seq.
func (m *model) upTo(seq uint64) keyspace {
	all := keyspace{}
	for _, c := range m.changes {
		if c.seq > seq {
			break
		}
		all.apply(c)
	}
	return all
}

// read returns what a store says of a key.
func read(s *Store, e Entry) *object {
	o := &object{kind: e.Kind(), value: string(e.Value), expire: e.Expire}
	if e.Collection != nil {
		o.elements = map[string]string{}
		e.Collection.Elements.Each(func(k string, at uint64) bool {
			o.elements[k] = string(s.Value(at))
			return true
		})
	}
	return o
}

func (o *object) String() string {
	if o == nil {
		return "nothing"
	}
	return fmt.Sprintf("a %v of %d bytes and %d elements until %d", o.kind, len(o.value), len(o.elements), o.expire)
}

// compare says how a store differs from the changes up to its last record.
func (m *model) compare(s *Store, seq uint64) error {
	want, seen := m.upTo(seq), map[string]bool{}
	maps.DeleteFunc(want, func(_ string, o *object) bool { return o.expire != 0 && o.expire <= m.now })
	for cursor, first := uint64(0), true; first || cursor != 0; first = false {
		cursor = s.Scan(cursor, 1, func(k []byte, e Entry) {
			seen[string(k)] = reflect.DeepEqual(read(s, e), want[string(k)]) && inOrder(s, e)
		})
	}
	for k, o := range want {
		e, ok := s.Get([]byte(k))
		if got := read(s, e); !ok || !seen[k] || !reflect.DeepEqual(got, o) {
			return fmt.Errorf("at %d: Get(%q) = %v, %v, and a scan met it: %v; want %v", seq, k, got, ok, seen[k], o)
		}
	}
	for k := range seen {
		if want[k] == nil {
			return fmt.Errorf("at %d: %q is there, want it gone", seq, k)
		}
	}
	return balance(s)
}

// balance compares what a store counts with what there is.
func balance(s *Store) error {
	live, expiring, collections := int64(0), 0, map[uint64]bool{}
	slots, lost := map[int]int64{}, 0
	for cursor, first := uint64(0), true; first || cursor != 0; first = false {
		cursor = s.walk(cursor, func(a address) {
			r := s.known(a)
			if r == nil {
				lost++
				return
			}
			live += int64(r.padded())
			g, _ := s.locate(a)
			slots[g.slot] += int64(r.padded())
			if r.expire() != 0 {
				expiring++
			}
			if !r.heads() || collections[r.id()] {
				return
			}
			collections[r.id()] = true
			s.collections.get(r.id()).Elements.Each(func(_ string, at uint64) bool {
				live += int64(s.at(address(at)).padded())
				return true
			})
		})
	}
	if lost > 0 {
		return fmt.Errorf("%d entries lead to no record: %v", lost, s.Sealed())
	}
	for _, g := range s.log {
		if g.live.Load() != slots[g.slot] {
			return fmt.Errorf("%d bytes live are counted in %s, want %d", g.live.Load(), segmentName(g.slot), slots[g.slot])
		}
	}
	indexed := 0
	for _, h := range s.shards {
		indexed += h.index.expiring
	}
	if indexed != expiring {
		return fmt.Errorf("the indexes count %d keys with an expiry, want %d", indexed, expiring)
	}
	if live != s.live.Load() || expiring != s.Expiring() || len(collections) != s.collections.len() {
		return fmt.Errorf("%d bytes live, %d keys with an expiry, %d collections are counted; want %d, %d and %d", s.live.Load(), s.Expiring(), s.collections.len(), live, expiring, len(collections))
	}
	return nil
}
