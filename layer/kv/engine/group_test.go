package engine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
	"testing"

	"usui/layer/kv/collection"
	"usui/layer/kv/disktest"
)

// together writes keys in one group.
func together(t *testing.T, s *Store, value []byte, keys ...string) {
	t.Helper()
	if err := s.Begin(len(keys) * Room(len(keys[0]), len(value))); err != nil {
		t.Fatal(err)
	}
	for _, k := range keys {
		put(t, s, k, value)
	}
	s.End()
}

func TestARottenRecordInAGroupIsRefused(t *testing.T) {
	d := disktest.New()
	s := open(t, d)
	put(t, s, "before", nil)
	first := s.tail
	together(t, s, make([]byte, 50), "a", "b", "c")
	size := (s.tail - first) / 3
	drain(t, s)
	put(t, s, "after", nil)
	drain(t, s)
	for i := range 3 {
		left := d.Crash(0)
		left.Corrupt(segmentName(0), int64(first+i*size+20))
		want := fmt.Sprintf("%s at %#x: record %d does not check", segmentName(0), first+i*size, 2+i)
		if r, err := Check(left, nil); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), want) || r.Records != 1 {
			t.Errorf("record %d of a group: Check = %+v, %v; want %v with %q", i, r, err, ErrDamaged, want)
		}
	}
}

// TestATornGroupIsGone takes away the last batch's end, and goes on behind it.
func TestATornGroupIsGone(t *testing.T) {
	d := disktest.New()
	s := open(t, d)
	put(t, s, "before", nil)
	drain(t, s)
	put(t, s, "alone", nil)
	together(t, s, nil, "a", "b", "c")
	last := s.tail - Room(1, 0)
	drain(t, s)
	left := d.Crash(0)
	left.Corrupt(segmentName(0), int64(last+8))
	for range 2 { // the second time with another segment behind what is torn
		again := open(t, left)
		if again.Last() < 2 || again.Len() < 2 || again.Len() > 3 {
			t.Errorf("Last() = %d, Len() = %d, want the two records before the group", again.Last(), again.Len())
		}
		for _, k := range []string{"a", "b", "c"} {
			if _, ok := again.Get([]byte(k)); ok {
				t.Errorf("Get(%q): a part of a torn group is there", k)
			}
		}
		put(t, again, "after", nil)
		drain(t, again)
		left = left.Crash(0)
	}
}

func TestAGroupIsInOneBatchOfOneSegment(t *testing.T) {
	s := open(t, disktest.New())
	for i := range 200 {
		together(t, s, make([]byte, 900), fmt.Sprint("a", i%7), fmt.Sprint("b", i%7), fmt.Sprint("c", i%7), fmt.Sprint("d", i%7))
		s.Commit()
		s.Collect()
	}
	drain(t, s)
	groups := 0
	for _, g := range s.log {
		end, open := headerSize, false
		batch := uint64(0)
		for {
			r, ok := parse(g.view[end:], g.seed)
			if !ok {
				break
			}
			if open && r.batch() != batch {
				t.Errorf("%s at %#x: a group goes on in another batch", segmentName(g.slot), end)
			}
			if open && !r.more() {
				groups++
			}
			open, batch = r.more(), r.batch()
			end += r.padded()
		}
		if open {
			t.Errorf("%s ends in the middle of a group", segmentName(g.slot))
		}
	}
	if groups == 0 {
		t.Error("the log has no groups")
	}
}

func TestGroupsEnd(t *testing.T) {
	s := open(t, disktest.New())
	if err := s.Begin(MinSegment/4 + 1); !errors.Is(err, ErrTooLong) || !strings.Contains(err.Error(), "16384") {
		t.Errorf("Begin(more than a quarter) = %v, want %v with the limit", err, ErrTooLong)
	}
	if err := s.Begin(100); err != nil {
		t.Fatal(err)
	}
	put(t, s, "a", make([]byte, 5000)) // more than what was said, and there is room
	if err := s.Begin(MinSegment / 4); !errors.Is(err, ErrTooLong) {
		t.Errorf("Begin in a group that has no room for it = %v, want %v", err, ErrTooLong)
	}
	if err := s.Begin(100); err != nil {
		t.Fatal(err)
	}
	put(t, s, "b", nil)
	s.End()
	if err := s.Put([]byte("c"), make([]byte, MinSegment/4-5000), 0); !errors.Is(err, ErrTooLong) {
		t.Errorf("Put of more than a group holds = %v, want %v", err, ErrTooLong)
	}
	s.End()
	if err := s.Begin(100); err != nil { // and nothing comes
		t.Fatal(err)
	}
	s.End()
	put(t, s, "d", nil)
	drain(t, s)
	var more []bool
	l := logReader{segments: segments{slots: *s.slots.Load(), log: s.log}}
	err := l.read(func(list []located) error {
		for _, l := range list {
			more = append(more, l.record.more())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := []bool{true, false, false}; fmt.Sprint(more) != fmt.Sprint(want) {
		t.Errorf("records have more behind them: %v, want %v", more, want)
	}
}

func TestDeletesInAGroupGoOnWhenTheDiskIsFull(t *testing.T) {
	d := disktest.New()
	full := false
	d.Full = func() bool { return full }
	s := open(t, d)
	s.await()
	full = true
	c := s.NewCollection(collection.Set)
	if err := s.PutCollection([]byte("set"), c, 0); err != nil {
		t.Fatal(err)
	}
	n := 0
	for ; ; n++ {
		err := s.PutElement(c, fmt.Append(nil, "member", n), nil)
		if errors.Is(err, ErrFull) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Begin(Room(10, 0)); !errors.Is(err, ErrFull) {
		t.Errorf("Begin on a full disk = %v, want %v", err, ErrFull)
	}
	for i := 0; i < n; i += 2 {
		if err := s.BeginDeletes(2 * Room(10, 0)); err != nil {
			t.Fatalf("BeginDeletes number %d = %v on a full disk", i/2, err)
		}
		for j := i; j < min(i+2, n); j++ {
			if was, err := s.DeleteElement(c, fmt.Append(nil, "member", j)); !was || err != nil {
				t.Fatalf("DeleteElement(member%d) = %v, %v", j, was, err)
			}
		}
		s.End()
	}
	if err := s.PutElement(c, []byte("again"), nil); err != nil {
		t.Errorf("PutElement once there is room = %v", err)
	}
}

// TestALongLogDoesNotWaitForTheDisk has had more records than a batch can have, and a batch that is not synced.
func TestALongLogDoesNotWaitForTheDisk(t *testing.T) {
	d := disktest.New()
	s := open(t, d)
	s.await()
	s.seq.Store(2 * maxBack)
	reached, release := make(chan bool), make(chan bool)
	d.Written = func() { reached <- true; <-release }
	put(t, s, "a", nil)
	s.Commit()
	<-reached
	put(t, s, "b", nil) // returns although the batch before is not done
	release <- true
	d.Written = func() {}
	drain(t, s)
}

func TestAnOlderFormatIsRefusedByName(t *testing.T) {
	d := disktest.New()
	old := newHeader(inLog, 1, 0).encodeTwice()
	for _, off := range []int{0, headerCopy} {
		binary.LittleEndian.PutUint32(old[off+8:], version-1)
		binary.LittleEndian.PutUint32(old[off+40:], crc32.Checksum(old[off:off+40], castagnoli))
	}
	if _, err := d.Create(segmentName(0), old, MinSegment); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(d, Options{Now: func() int64 { return 0 }}); err == nil || !strings.Contains(err.Error(), "has format 1; this usui reads format 2") {
		t.Errorf("Open of an older format = %v, want it refused by name", err)
	}
}
