package engine

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"

	"usui/layer/kv/disktest"
)

// look is compare by looking up each key that there may be: what a scan of an index that is nearly empty takes far longer for.
func (m *model) look(s *Store, seq uint64) error {
	want := m.upTo(seq)
	for n := range modelKeys + largeKeys {
		k := keyOf(n)
		o := want[k]
		if o != nil && o.expire != 0 && o.expire <= m.now {
			o = nil
		}
		e, ok := s.Get([]byte(k))
		if got := read(s, e); ok != (o != nil) || ok && !reflect.DeepEqual(got, o) {
			return fmt.Errorf("at %d: Get(%q) = %v, %v; want %v", seq, k, got, ok, o)
		}
	}
	return nil
}

// crash opens what a crash would leave, and compares.
func (m *model) crash(seed uint64) error {
	durable := m.store.Durable()
	if err := m.leaves(cut{m.cut(seed), durable, seed}); err != nil {
		return err
	}
	for {
		select {
		case left := <-m.images:
			if err := m.leaves(cut{left, 0, seed}); err != nil {
				return fmt.Errorf("at a step of a checkpoint: %w", err)
			}
		default:
			return nil
		}
	}
}

// leaves opens what a crash left, and compares. Some checkpoints have rotted.
func (m *model) leaves(c cut) error {
	m.tamper(c.left)
	if n := c.left.Size(checkpointName); n > 0 && m.random.IntN(8) == 0 {
		c.left.Corrupt(checkpointName, []int64{m.random.Int64N(n), m.random.Int64N(checkpointUsed), headerCopy + m.random.Int64N(100)}[m.random.IntN(3)])
	}
	again, err := m.survivor(c)
	if err != nil {
		return err
	}
	defer again.Close()
	m.met.count(m, again, c.left)
	if err := m.compare(again, again.Last()); err != nil {
		return err
	}
	return m.afterwards(again, c.left, c.seed)
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
	if err := errors.Join(two.look(third, third.Last()), balance(third)); err != nil {
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
			left.Lie, m.backup = d.Lie, backup{}
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
	for seed := uint64(0); seed < 5 || met.reused == 0 && seed < 15; seed++ { // which crashes meet that depends on the pace of goroutines
		if err := crashes(seed, 100, disktest.New(), &met, untouched); err != nil {
			t.Error(err)
		}
	}
	t.Logf("%+v", met)
	if met.torn < 50 || met.cut < 5 || met.compacted == 0 || met.elements == 0 || met.held == 0 || met.loaded < 100 || met.ignored < 10 || met.between < 20 || met.reused == 0 {
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
