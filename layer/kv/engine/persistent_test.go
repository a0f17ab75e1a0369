package engine

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"usui/layer/kv/disktest"
)

// powerCuts runs a store on persistent memory, and cuts the power n times after a store and before the fence behind it: any subset of the
// words that no fence covers is left then. It returns the first violation. fences that lie do nothing.
func powerCuts(seed uint64, n int, lie func(off int64) bool) error {
	d := disktest.NewMemory()
	m, err := newModel(seed, d)
	if err != nil {
		return err
	}
	cuts := cutter{memory: d, seed: seed}
	d.Lie, d.Written = lie, cuts.cut
	for done := 0; done < n && err == nil; {
		if err = m.act(); err != nil {
			break
		}
		for _, c := range cuts.take(m.store.Durable()) {
			if done++; err == nil {
				err = m.powerless(c, done%4 == 0)
			}
		}
	}
	if err != nil {
		err = fmt.Errorf("seed %d: %w", seed, err)
	}
	return errors.Join(err, m.store.Close())
}

// powerless opens what a cut left, compares, and if again, goes on and has a second one.
func (m *model) powerless(c cut, again bool) error {
	s, err := m.survivor(c)
	if err != nil {
		return err
	}
	if again {
		err = m.afterwards(s, c.left, c.seed)
	}
	return errors.Join(err, s.Close())
}

// cutter cuts the power, in whatever goroutine stores.
type cutter struct {
	memory       *disktest.Disk
	seed         uint64
	acknowledged atomic.Uint64

	mu     sync.Mutex
	stores uint64 // guarded by mu
	cuts   []cut  // guarded by mu
}

// cut is called after each store, before its fence.
func (c *cutter) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stores++
	seed, acknowledged := c.seed<<32+c.stores, c.acknowledged.Load() // before: the store goes on while a header is written
	c.cuts = append(c.cuts, cut{c.memory.Crash(seed), acknowledged, seed})
}

// take returns the cuts since the last call, and is told what is acknowledged from now on.
func (c *cutter) take(durable uint64) []cut {
	c.acknowledged.Store(durable)
	c.mu.Lock()
	defer c.mu.Unlock()
	left := c.cuts
	c.cuts = nil
	return left
}

// cutPower runs histories with n cuts in all and reports violations.
func cutPower(t *testing.T, n int) {
	const each = 500
	var wait sync.WaitGroup
	for start := range uint64(2) { // as many at once as the smallest machine has processors
		wait.Go(func() {
			for seed := start; seed < uint64(n/each); seed += 2 {
				if err := powerCuts(seed, each, nil); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
}

func TestPowerCutsLoseNothingDurable(t *testing.T) { cutPower(t, 10_000) }

// TestThePowerCutsNoticeAMissingFence takes out one fence after the other.
func TestThePowerCutsNoticeAMissingFence(t *testing.T) {
	for name, lie := range map[string]func(off int64) bool{
		"a batch":                func(off int64) bool { return off >= headerSize },
		"a header's first copy":  func(off int64) bool { return off < headerCopy },
		"a header's second copy": func(off int64) bool { return off >= headerCopy && off < headerSize },
	} {
		var err error
		for seed := uint64(0); seed < 40 && err == nil; seed++ {
			err = powerCuts(seed, 500, lie)
		}
		if err == nil {
			t.Errorf("without the fence behind %s: no violation found, want one", name)
		} else {
			t.Logf("without the fence behind %s: %v", name, err)
		}
	}
}

func TestABatchInMemoryIsOneStoreAndOneFence(t *testing.T) {
	d := disktest.NewMemory()
	s := open(t, d)
	s.await()
	writes, syncs := d.Writes, d.Syncs
	key, value := []byte("key"), make([]byte, 100)
	const n = 10
	for range n {
		for range 20 {
			if err := s.Put(key, value, 0); err != nil {
				t.Fatal(err)
			}
		}
		if s.Commit(); s.Durable() != s.Last() || !s.Idle() {
			t.Fatalf("Durable() = %d after Commit, want all %d", s.Durable(), s.Last())
		}
	}
	if d.Writes-writes != n || d.Syncs-syncs != n {
		t.Errorf("%d batches took %d stores and %d fences", n, d.Writes-writes, d.Syncs-syncs)
	}
}

// TestAFaultSealsTheStore has a page that cannot be written.
func TestAFaultSealsTheStore(t *testing.T) {
	d := disktest.NewMemory()
	s := open(t, d)
	s.await()
	put(t, s, "a", []byte("1"))
	s.Commit()
	d.FailWrite = func(off int64) bool { return off >= headerSize }
	put(t, s, "b", []byte("2"))
	s.Commit()
	d.FailWrite = nil // the page works again, and must not be believed
	if _, err := s.Delete([]byte("a")); !errors.Is(err, ErrSealed) || !errors.Is(s.Drain(), ErrSealed) {
		t.Errorf("Delete = %v after a fault, Drain() = %v; want %v", err, s.Drain(), ErrSealed)
	}
	for key, want := range map[string]string{"a": "1", "b": "2"} {
		if e, ok := s.Get([]byte(key)); !ok || string(e.Value) != want || s.Durable() != 1 {
			t.Errorf("Get(%s) = %q, %v after a fault, Durable() = %d; want %s and 1", key, e.Value, ok, s.Durable(), want)
		}
	}
}
