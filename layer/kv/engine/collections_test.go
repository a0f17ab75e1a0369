package engine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"usui/layer/kv/collection"
	"usui/layer/kv/disktest"
)

func TestCollectionsSurviveCompaction(t *testing.T) {
	d := disktest.New()
	s := open(t, d)
	random := rand.New(rand.NewPCG(1, 1))
	want := map[string]string{}
	c := s.NewCollection(collection.Hash)
	if err := s.PutCollection([]byte("hash"), c, 0); err != nil {
		t.Fatal(err)
	}
	for i := range 30000 {
		k, v := fmt.Sprint("field", random.IntN(300)), fmt.Sprint(i, "-", string(make([]byte, 60)))
		var err error
		if random.IntN(5) == 0 {
			_, err = s.DeleteElement(c, []byte(k))
			delete(want, k)
		} else {
			err = s.PutElement(c, []byte(k), []byte(v))
			want[k] = v
		}
		if err != nil {
			t.Fatal(err)
		}
		if i%20 == 0 {
			s.Commit()
			drain(t, s)
			s.Collect()
		}
	}
	drain(t, s)
	if st := s.Stats(); st.Compacted == 0 || st.Segments > 12 || st.Collections != 1 {
		t.Errorf("Stats() = %+v, want compaction, at most 12 segments, 1 collection", st)
	}
	for _, s := range []*Store{s, open(t, d.Crash(1))} {
		if err := balance(s); err != nil {
			t.Error(err)
		}
		e, ok := s.Get([]byte("hash"))
		if !ok || e.Kind() != collection.Hash || e.Collection.Elements.Len() != len(want) {
			t.Fatalf("Get(hash) = %+v, %v; want a hash of %d fields", e, ok, len(want))
		}
		for k, v := range want {
			if at := e.Collection.Elements.Find([]byte(k)); at == 0 || string(s.Value(at)) != v {
				t.Errorf("field %q is at %#x, want it with %.10q", k, at, v)
			}
		}
	}
}

// TestDroppingACollectionIsOneRecord makes a large set and takes leave of it in each way there is.
func TestDroppingACollectionIsOneRecord(t *testing.T) {
	for name, drop := range map[string]func(s *Store) error{
		"delete":            func(s *Store) error { _, err := s.Delete([]byte("set")); return err },
		"put a string":      func(s *Store) error { return s.Put([]byte("set"), nil, 0) },
		"put another":       func(s *Store) error { return s.PutCollection([]byte("set"), s.NewCollection(collection.Hash), 0) },
		"clear":             func(s *Store) error { return s.Clear() },
		"end its time here": func(s *Store) error { return s.PutCollection([]byte("set"), set(s), 1) },
	} {
		d := disktest.New()
		s := open(t, d)
		c := s.NewCollection(collection.Set)
		for i := range 10000 {
			if err := s.PutElement(c, fmt.Append(nil, i), nil); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.PutCollection([]byte("set"), c, 0); err != nil {
			t.Fatal(err)
		}
		before := s.Last()
		if err := drop(s); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		s.Get([]byte("set")) // which ends what has expired
		if s.Last() != before+1 || s.live.Load() > 100 || s.collections.get(c.id) != nil {
			t.Errorf("%s: %d records, %d bytes live, the set is there: %v; want 1 record and all gone", name, s.Last()-before, s.live.Load(), s.collections.get(c.id) != nil)
		}
		drain(t, s)
		again := open(t, d.Crash(1))
		again.Get([]byte("set"))
		if err := balance(again); err != nil || again.live.Load() != s.live.Load() || again.collections.get(c.id) != nil {
			t.Errorf("%s: after a restart %d bytes are live, %v; want %d", name, again.live.Load(), err, s.live.Load())
		}
	}
}

func set(s *Store) *Collection {
	e, _ := s.Get([]byte("set"))
	return e.Collection
}

// TestACollectionOutlivesTheExpiryThatALaterRecordTakesAway restarts a store when the time has come that an earlier record of the key has.
func TestACollectionOutlivesTheExpiryThatALaterRecordTakesAway(t *testing.T) {
	d, now := disktest.New(), int64(1000)
	opt := Options{SegmentBytes: MinSegment, Now: func() int64 { return now }}
	s, err := Open(d, opt)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c := s.NewCollection(collection.Set)
	for _, expire := range []int64{1500, 0} {
		if err := s.PutElement(c, fmt.Append(nil, expire), nil); err != nil {
			t.Fatal(err)
		}
		if err := s.PutCollection([]byte("set"), c, expire); err != nil {
			t.Fatal(err)
		}
	}
	drain(t, s)
	now = 2000
	again, err := Open(d.Crash(1), opt)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if e, ok := again.Get([]byte("set")); !ok || e.Collection.Elements.Len() != 2 {
		t.Errorf("Get(set) = %+v, %v; want both elements", e, ok)
	}
}

func TestReadersWaitForElements(t *testing.T) {
	s := open(t, disktest.New())
	c := s.NewCollection(collection.Set)
	if err := s.PutCollection([]byte("set"), c, 0); err != nil {
		t.Fatal(err)
	}
	drain(t, s)
	if err := s.PutElement(c, []byte("a"), nil); err != nil {
		t.Fatal(err)
	}
	if got := s.Pending([]byte("set")); got != 2 {
		t.Errorf("Pending(set) = %d after its element was written, want 2", got)
	}
	if _, err := s.DeleteElement(c, []byte("a")); err != nil {
		t.Fatal(err)
	}
	if got := s.Pending([]byte("set")); got != 3 {
		t.Errorf("Pending(set) = %d after its element was deleted, want 3", got)
	}
}

// FuzzOpen reads logs whose records check and say anything, and does to what comes out what clients would.
func FuzzOpen(f *testing.F) {
	s, err := Open(disktest.New(), Options{SegmentBytes: MinSegment, Now: func() int64 { return 1000 }})
	if err != nil {
		f.Fatal(err)
	}
	c := s.NewCollection(collection.Hash)
	for _, err := range []error{
		s.Begin(200), s.PutElement(c, []byte("f"), []byte("v")), s.PutCollection([]byte("h"), c, 0), s.Put([]byte("k"), []byte("v"), 500),
		s.PutCollection([]byte("i"), c, 2000), s.PutElement(c, []byte("g"), nil), s.Clear(),
	} {
		if err != nil {
			f.Fatal(err)
		}
	}
	s.End()
	for _, kind := range []collection.Kind{collection.List, collection.ZSet} {
		m := &model{random: rand.New(rand.NewPCG(1, 1))}
		c := s.NewCollection(kind)
		for range 10 {
			key, value := m.element(kind)
			if err := errors.Join(s.PutElement(c, []byte(key), []byte(value)), s.PutCollection([]byte(kind.String()), c, 0)); err != nil {
				f.Fatal(err)
			}
		}
	}
	f.Add(s.batch.records)
	f.Add(s.batch.records[:len(s.batch.records)-40])
	f.Add([]byte{})
	if err := s.Close(); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		h := newHeader(inLog, 1, 0)
		d := disktest.New()
		if _, err := d.Create(segmentName(0), append(h.encodeTwice(), checked(p[:min(len(p), MinSegment/2)], seedOf(h.epoch))...), MinSegment); err != nil {
			t.Fatal(err)
		}
		s, err := Open(d, Options{Now: func() int64 { return 1000 }})
		if err != nil {
			return
		}
		defer s.Close()
		if err := balance(s); err != nil {
			t.Error(err)
		}
		random := rand.New(rand.NewPCG(1, 1))
		var keys [][]byte
		for cursor, first := uint64(0), true; first || cursor != 0; first = false {
			cursor = s.Scan(cursor, 10, func(k []byte, e Entry) {
				keys = append(keys, append([]byte{}, k...))
				if read(s, e); !inOrder(s, e) {
					t.Errorf("%q is not in order", k)
				}
			})
		}
		for i, k := range keys {
			e, ok := s.Get(k)
			if !ok {
				continue
			}
			if e.Collection != nil {
				key, value := (&model{random: random}).element(e.Kind())
				err = s.PutElement(e.Collection, []byte(key), []byte(value))
			}
			if i%2 == 0 {
				_, err = s.Delete(k)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := balance(s); err != nil {
			t.Error(err)
		}
		drain(t, s)
		if s.await(); !s.rotate(0) || !s.compactOldest() {
			t.Errorf("the segment cannot be compacted: %v", s.Sealed())
		}
		if err := balance(s); err != nil {
			t.Error(err)
		}
	})
}

// checked makes records of any bytes: lengths that fit, numbers in order, and checksums that are right.
func checked(p []byte, seed uint32) []byte {
	p = append([]byte{}, p...)
	le := binary.LittleEndian
	for off, seq := 0, uint64(1); off+recordHeader <= len(p); seq++ {
		r := record(p[off:])
		n := max(recordHeader, min(r.length()%1024, len(r)))
		le.PutUint32(r[4:], uint32(n))
		if r[15] != 0xff {
			le.PutUint64(r[8:], seq)
		}
		le.PutUint32(r[24:], uint32(min(r.keyLength(), n-recordHeader)))
		le.PutUint32(r, r.crc(seed))
		off += pad(n)
	}
	return p
}
