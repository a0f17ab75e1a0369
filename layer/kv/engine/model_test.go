package engine

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"usui/layer/kv/disktest"
)

// change is what one write did to the model.
type change struct {
	seq    uint64
	key    string
	value  []byte // nil: gone
	expire int64
	clear  bool
}

// model is a store beside a plain list of what was done to it.
type model struct {
	disk    *disktest.Disk
	store   *Store
	random  *rand.Rand
	now     int64
	changes []change
}

func (m *model) options() Options {
	return Options{SegmentBytes: MinSegment, Now: func() int64 { return m.now }}
}

func newModel(seed uint64, d *disktest.Disk) (*model, error) {
	m := &model{disk: d, random: rand.New(rand.NewPCG(seed, 2)), now: 1000}
	var err error
	m.store, err = Open(d, m.options())
	return m, err
}

const modelKeys = 60

func keyOf(n int) string { return fmt.Sprint("key", n) }

func (m *model) key() string { return keyOf(m.random.IntN(modelKeys)) }

// act does one thing.
func (m *model) act() error {
	c := change{key: m.key()}
	var err error
	switch n := m.random.IntN(100); {
	case n < 55:
		c.value = bytes.Repeat([]byte{byte(m.random.IntN(256))}, m.random.IntN(1<<m.random.IntN(13)))
		if m.random.IntN(4) == 0 {
			c.expire = m.now + 1 + m.random.Int64N(300)
		}
		err = m.store.Put([]byte(c.key), c.value, c.expire)
	case n < 70:
		var was bool
		if was, err = m.store.Delete([]byte(c.key)); !was {
			return err
		}
	case n < 71 && m.random.IntN(10) == 0:
		c.clear = true
		err = m.store.Clear()
	case n < 85:
		m.store.Commit(false)
		return nil
	case n < 95:
		m.store.Collect()
		return nil
	case n < 97:
		m.now += m.random.Int64N(50)
		return nil
	default:
		return m.store.Drain()
	}
	c.seq = m.store.Last()
	m.changes = append(m.changes, c)
	return err
}

// upTo is what a store has after the changes up to seq.
func (m *model) upTo(seq uint64) map[string]change {
	state := map[string]change{}
	for _, c := range m.changes {
		if c.seq > seq {
			break
		}
		switch {
		case c.clear:
			clear(state)
		case c.value == nil:
			delete(state, c.key)
		default:
			state[c.key] = c
		}
	}
	for k, c := range state {
		if c.expire != 0 && c.expire <= m.now {
			delete(state, k)
		}
	}
	return state
}

// compare says how a store differs from the changes up to its last record.
func (m *model) compare(s *Store, seq uint64) error {
	want, seen := m.upTo(seq), map[string]bool{}
	for cursor, first := uint64(0), true; first || cursor != 0; first = false {
		cursor = s.Scan(cursor, 1, func(k []byte, e Entry) {
			seen[string(k)] = true
			if c, ok := want[string(k)]; !ok || !bytes.Equal(c.value, e.Value) || c.expire != e.Expire {
				want[string(k)+" differs"] = c
			}
		})
	}
	for k, c := range want {
		e, ok := s.Get([]byte(k))
		if !ok || !seen[k] || !bytes.Equal(e.Value, c.value) || e.Expire != c.expire {
			return fmt.Errorf("at %d: Get(%q) = %d bytes until %d, %v; want %d bytes until %d of %d", seq, k, len(e.Value), e.Expire, ok, len(c.value), c.expire, c.seq)
		}
	}
	for k := range seen {
		if _, ok := want[k]; !ok {
			return fmt.Errorf("at %d: %q is there, want it gone", seq, k)
		}
	}
	return nil
}

// look is compare by looking up each key that there may be: what a scan of an index that is nearly empty takes far longer for.
func (m *model) look(s *Store, seq uint64) error {
	want := m.upTo(seq)
	for n := range modelKeys {
		c, there := want[keyOf(n)]
		if e, ok := s.Get([]byte(keyOf(n))); ok != there || ok && (!bytes.Equal(e.Value, c.value) || e.Expire != c.expire) {
			return fmt.Errorf("at %d: Get(%q) = %d bytes until %d, %v; want %d bytes until %d of %d, %v",
				seq, keyOf(n), len(e.Value), e.Expire, ok, len(c.value), c.expire, c.seq, there)
		}
	}
	return nil
}

// crash opens what a crash would leave, and compares.
func (m *model) crash(seed uint64) error {
	c := cut{m.disk.Crash(seed), m.store.Durable(), seed}
	again, err := m.survivor(c)
	if err != nil {
		return err
	}
	defer again.Close()
	if err := m.compare(again, again.Last()); err != nil {
		return err
	}
	return m.afterwards(again, c.left, seed)
}

// cut is what a crash left, and what had been acknowledged by then.
type cut struct {
	left    *disktest.Disk
	durable uint64
	seed    uint64
}

// survivor opens what a crash left, and compares.
func (m *model) survivor(c cut) (again *Store, err error) {
	if again, err = Open(c.left, m.options()); err != nil {
		return nil, fmt.Errorf("with %d durable: Open = %w", c.durable, err)
	}
	defer func() {
		if err != nil {
			again.Close() // it is not what it should be
		}
	}()
	if again.Last() < c.durable {
		return again, fmt.Errorf("the log ends at %d, want at least the %d that were durable", again.Last(), c.durable)
	}
	if err := m.look(again, again.Last()); err != nil {
		return again, fmt.Errorf("with %d durable of %d: %w", c.durable, m.store.Last(), err)
	}
	return again, nil
}

// afterwards goes on with what a crash left, has a second crash, and looks whether the remains of the first come back.
func (m *model) afterwards(again *Store, left *disktest.Disk, seed uint64) error {
	base := again.Last()
	put := change{seq: base + 1, key: "after", value: []byte("the crash")}
	if err := again.Put([]byte(put.key), put.value, 0); err != nil {
		return err
	}
	again.Commit(false)
	if err := again.Drain(); err != nil {
		return err
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
	if err := two.look(third, third.Last()); err != nil {
		return fmt.Errorf("after a second crash: %w", err)
	}
	return nil
}

// crashes runs a store, crashes it at random points, and returns the first violation.
func crashes(seed uint64, points int, d *disktest.Disk) error {
	m, err := newModel(seed, d)
	if err != nil {
		return err
	}
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
			left := m.disk.Crash(last)
			if err := m.store.Close(); err != nil {
				return err
			}
			if m.store, err = Open(left, m.options()); err != nil {
				return err
			}
			left.Lie, m.disk = d.Lie, left
			for len(m.changes) > 0 && m.changes[len(m.changes)-1].seq > m.store.Last() {
				m.changes = m.changes[:len(m.changes)-1]
			}
		}
	}
	return m.store.Close()
}

func TestCrashesLoseNothingDurable(t *testing.T) {
	for seed := range uint64(5) {
		if err := crashes(seed, 100, disktest.New()); err != nil {
			t.Error(err)
		}
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
			err = crashes(seed, 150, d)
		}
		if err == nil {
			t.Errorf("without the sync %s: no violation found, want one", name)
		} else {
			t.Logf("without the sync %s: %v", name, err)
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
