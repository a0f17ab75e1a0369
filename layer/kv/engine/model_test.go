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
	"testing"

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
	if after.stats.Loaded > 0 {
		m.loaded++
		if c, err := decodeCheckpoint(left.Content(checkpointName)); err == nil && slices.ContainsFunc(c.marks, func(k mark) bool {
			g := after.slots[k.slot]
			return g.epoch != k.epoch && slices.Contains(after.log, g)
		}) {
			m.reused++
		}
	}
	m.ignored += int(after.stats.CheckpointIgnored)
	if before.store.snapshot.active {
		m.between++
	}
	for _, c := range after.collections {
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

	images           chan *disktest.Disk // what crashes at steps of a checkpoint would have left
	armed            atomic.Bool         // the next write waits before its sync
	written, release chan bool
}

func (m *model) options() Options {
	return Options{SegmentBytes: MinSegment, Now: func() int64 { return m.now }}
}

func newModel(seed uint64, d *disktest.Disk) (*model, error) {
	m := &model{disk: d, random: rand.New(rand.NewPCG(seed, 2)), now: 1000, state: keyspace{}, written: make(chan bool), release: make(chan bool)}
	m.images = make(chan *disktest.Disk, 2)
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
	if len(s.index.tables) > 1 {
		return nil
	}
	return s.index.split(0)
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

func (m *model) key() string { return fmt.Sprint("key", m.random.IntN(60)) }

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
		if n < 2 { // enough to make a log of several segments
			o.value, k = strings.Repeat("b", 10000), fmt.Sprint("big", m.random.IntN(30))
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
		if !m.store.snapshot.active && m.store.Last() > 0 {
			m.store.beginCheckpoint()
		}
	case n < 75 && m.random.IntN(3) == 0:
		m.store.finishCheckpoint()
	case n < 76 && m.random.IntN(2) == 0:
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

// edit puts elements into a collection and takes some out, as HSET and HDEL; it makes and deletes the key where that is needed.
func (m *model) edit(key string) (map[string]*object, error) {
	old := m.get(key)
	if old != nil && old.elements == nil {
		return nil, nil
	}
	next := &object{kind: collection.Hash + collection.Kind(m.random.IntN(2)), elements: map[string]string{}}
	if old != nil {
		next.kind, next.expire, next.elements = old.kind, old.expire, maps.Clone(old.elements)
	}
	puts, room := map[string]string{}, 2*Room(len(key), 0)
	for range m.random.IntN(8) {
		k, v := fmt.Sprint("e", m.random.IntN(30)), ""
		if next.kind == collection.Hash {
			v = m.value()
		}
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
		cursor = s.Scan(cursor, 1, func(k []byte, e Entry) { seen[string(k)] = reflect.DeepEqual(read(s, e), want[string(k)]) })
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
		cursor = s.index.walk(cursor, func(a address) {
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
			s.collections[r.id()].Elements.Each(func(_ string, at uint64) bool {
				live += int64(s.at(address(at)).padded())
				return true
			})
		})
	}
	if lost > 0 {
		return fmt.Errorf("%d entries lead to no record: %v", lost, s.sealed)
	}
	for _, g := range s.log {
		if g.live != slots[g.slot] {
			return fmt.Errorf("%d bytes live are counted in %s, want %d", g.live, segmentName(g.slot), slots[g.slot])
		}
	}
	if live != s.live || expiring != s.expiring || len(collections) != len(s.collections) {
		return fmt.Errorf("%d bytes live, %d keys with an expiry, %d collections are counted; want %d, %d and %d", s.live, s.expiring, len(s.collections), live, expiring, len(collections))
	}
	return nil
}

// crash opens what a crash would leave, and compares.
func (m *model) crash(seed uint64) error {
	durable := m.store.Durable()
	if err := m.leaves(m.cut(seed), seed, durable); err != nil {
		return err
	}
	for {
		select {
		case left := <-m.images:
			if err := m.leaves(left, seed, 0); err != nil {
				return fmt.Errorf("at a step of a checkpoint: %w", err)
			}
		default:
			return nil
		}
	}
}

// leaves opens what a crash left, and compares. Some checkpoints have rotted.
func (m *model) leaves(left *disktest.Disk, seed, durable uint64) error {
	m.tamper(left)
	if n := left.Size(checkpointName); n > 0 && m.random.IntN(8) == 0 {
		left.Corrupt(checkpointName, []int64{m.random.Int64N(n), m.random.Int64N(checkpointUsed), headerCopy + m.random.Int64N(100)}[m.random.IntN(3)])
	}
	again, err := Open(left, m.options())
	if err != nil {
		return fmt.Errorf("with %d durable: Open = %w", durable, err)
	}
	defer again.Close()
	m.met.count(m, again, left)
	if again.Last() < durable {
		return fmt.Errorf("the log ends at %d, want at least the %d that were durable", again.Last(), durable)
	}
	if err := m.compare(again, again.Last()); err != nil {
		return fmt.Errorf("with %d durable of %d: %w", durable, m.store.Last(), err)
	}
	return m.afterwards(again, left, seed)
}

// afterwards goes on with what a crash left, has a second crash, and looks whether the remains of the first come back.
func (m *model) afterwards(again *Store, left *disktest.Disk, seed uint64) error {
	base := again.Last()
	put := change{seq: base + 1, keys: map[string]*object{"after": {value: "the crash"}}}
	if err := again.Put([]byte("after"), []byte("the crash"), 0); err != nil {
		return err
	}
	again.Commit()
	if err := again.Drain(); err != nil {
		return err
	}
	if m.random.IntN(3) == 0 {
		again.beginCheckpoint()
		again.finishCheckpoint()
	}
	third, err := Open(left.Crash(seed+1), m.options())
	if err != nil {
		return fmt.Errorf("after a second crash: Open = %w", err)
	}
	defer third.Close()
	n := 0
	for n < len(m.changes) && m.changes[n].seq <= base {
		n++
	}
	two := &model{now: m.now, changes: append(m.changes[:n:n], put)}
	if err := two.compare(third, third.Last()); err != nil {
		return fmt.Errorf("after a second crash: %w", err)
	}
	return nil
}

// crashes runs a store, crashes it at random points, and returns the first violation.
func crashes(seed uint64, points int, d *disktest.Disk, met *met, tamper func(*disktest.Disk)) error {
	m, err := newModel(seed, d)
	if err != nil {
		return err
	}
	m.met, m.tamper = met, tamper
	for i := range points {
		for range 1 + m.random.IntN(40) {
			if err := m.act(); err != nil {
				return errors.Join(err, m.store.Close())
			}
		}
		if err := m.compare(m.store, m.store.Last()); err != nil {
			return errors.Join(fmt.Errorf("before a crash: %w", err), m.store.Close())
		}
		if err := m.crash(seed + uint64(i)); err != nil {
			return errors.Join(fmt.Errorf("seed %d, crash %d: %w", seed, i, err), m.store.Close())
		}
		if m.random.IntN(20) == 0 { // go on with what a crash left
			last := m.random.Uint64()
			left := m.cut(last)
			if err := m.store.Close(); err != nil {
				return err
			}
			left.Lie = d.Lie
			for len(m.images) > 0 {
				<-m.images // of a history that did not go on
			}
			if err := m.open(left); err != nil {
				return err
			}
			for len(m.changes) > 0 && m.changes[len(m.changes)-1].seq > m.store.Last() {
				m.changes = m.changes[:len(m.changes)-1]
			}
			m.state = m.upTo(m.store.Last())
		}
	}
	return m.store.Close()
}

func untouched(*disktest.Disk) {}

func TestCrashesLoseNothingDurable(t *testing.T) {
	var met met
	for seed := range uint64(5) {
		if err := crashes(seed, 100, disktest.New(), &met, untouched); err != nil {
			t.Error(err)
		}
	}
	t.Logf("%+v", met)
	if met.torn < 50 || met.cut < 5 || met.compacted == 0 || met.elements == 0 || met.loaded < 100 || met.ignored < 10 || met.between < 20 || met.reused < 20 {
		t.Errorf("crashes met %+v, want torn batches, groups that were cut, compaction, elements, and checkpoints in each state", met)
	}
}

// TestTheCrashTestNoticesAMissingSync takes out one sync after the other.
func TestTheCrashTestNoticesAMissingSync(t *testing.T) {
	for name, lie := range map[string]func(off int64) bool{
		"of batches": func(off int64) bool { return off >= headerSize },
		"of headers": func(off int64) bool { return off < headerSize },
	} {
		var err error
		for seed := uint64(0); seed < 40 && err == nil; seed++ {
			d := disktest.New()
			d.Lie = lie
			err = crashes(seed, 150, d, new(met), untouched)
		}
		if err == nil {
			t.Errorf("without the sync %s: no violation found, want one", name)
		} else {
			t.Logf("without the sync %s: %v", name, err)
		}
	}
}

// TestTheCrashTestNoticesAReaderWithoutGroups has a log read as a reader would that does not know of groups.
func TestTheCrashTestNoticesAReaderWithoutGroups(t *testing.T) {
	var err error
	for seed := uint64(0); seed < 10 && err == nil; seed++ {
		err = crashes(seed, 100, disktest.New(), new(met), func(d *disktest.Disk) { ungroup(t, d) })
	}
	if err == nil {
		t.Error("without groups: no violation found, want one")
	} else {
		t.Log(err)
	}
}

// ungroup makes each record of a log a group of its own.
func ungroup(t *testing.T, d *disktest.Disk) {
	t.Helper()
	files, err := openSegments(d)
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range files.log {
		for off := headerSize; off < len(g.view); off += alignment {
			r, ok := parse(g.view[off:], g.seed)
			if !ok || !r.more() {
				continue
			}
			r = slices.Clone(r)
			r.last(g.seed)
			if _, err := g.file.WriteAt(r, int64(off)); err != nil {
				t.Fatal(err)
			}
		}
		if err := g.file.Sync(); err != nil {
			t.Fatal(err)
		}
	}
}

// torn changes a header, crashes after each write and returns how often neither the old nor the new one was left.
func torn(t *testing.T, lie func(off int64) bool) (violations int) {
	for seed := range uint64(300) {
		d := disktest.New()
		old, next := newHeader(free, 7, 1), newHeader(inLog, 8, 2)
		f, err := d.Create(segmentName(0), old.encodeTwice(), MinSegment)
		if err != nil {
			t.Fatal(err)
		}
		d.Lie = lie
		d.Written = func() {
			left, err := d.Crash(seed).Open(segmentName(0))
			if err != nil {
				t.Fatal(err)
			}
			g := &segment{file: left, view: left.View()}
			if _, err := g.readHeader(); err != nil || g.header != old && g.header != next {
				violations++
			}
		}
		if err := (&segment{file: f, view: f.View()}).use(next); err != nil {
			t.Fatal(err)
		}
	}
	return violations
}

func TestAHeaderIsAlwaysWhole(t *testing.T) {
	if n := torn(t, nil); n != 0 {
		t.Errorf("%d crashes left no header, want none", n)
	}
	if n := torn(t, func(off int64) bool { return off == 0 }); n == 0 {
		t.Error("without the sync between the two copies no crash left no header: this test cannot fail")
	}
}
