package engine

import (
	"errors"
	"fmt"
	"math"
	"testing"

	"usui/layer/kv/disktest"
)

// backup is a snapshot and the sequence number it was taken at.
type backup struct {
	snapshot *Snapshot
	seq      uint64
}

// backUp takes a snapshot, or looks whether a copy of the one that there is has what the store had then.
func (m *model) backUp() (err error) {
	b := &m.backup
	if b.snapshot == nil {
		b.snapshot, err = m.store.Snapshot()
		b.seq = m.store.Last()
		return err
	}
	defer func() { *b = backup{} }()
	defer b.snapshot.Close()
	d, err := copyOf(b.snapshot)
	if err != nil {
		return err
	}
	if _, err := Check(d, nil); err != nil {
		return fmt.Errorf("a copy at %d: Check = %w", b.seq, err)
	}
	s, err := Open(d, m.options())
	if err != nil {
		return fmt.Errorf("a copy at %d: Open = %w", b.seq, err)
	}
	defer s.Close()
	if s.Last() != b.seq {
		return fmt.Errorf("a copy ends at %d, want %d", s.Last(), b.seq)
	}
	return m.compare(s, b.seq)
}

func copyOf(p *Snapshot) (*disktest.Disk, error) {
	d := disktest.New()
	return d, CopyTo(d, p.SegmentBytes(), p.Ends(), p.Bytes, func(int64, int64) {})
}

// churn overwrites the same keys with n until the store has been compacted a good deal.
func churn(t *testing.T, s *Store, n byte) {
	t.Helper()
	before := s.Stats().Compacted
	for i := 0; s.Stats().Compacted < before+20; i++ {
		if i == 100_000 {
			t.Fatal("nothing was compacted")
		}
		put(t, s, fmt.Sprint("key", i%100), []byte{n})
		put(t, s, "large", make([]byte, 1000))
		s.Commit()
		drain(t, s)
		s.Collect()
	}
}

// TestASnapshotStaysAsItWas: compaction goes on and leaves what a snapshot has; a crash meanwhile loses nothing; when it is closed, the room is used again.
func TestASnapshotStaysAsItWas(t *testing.T) {
	d := disktest.New()
	s := open(t, d)
	churn(t, s, 1)
	p, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Snapshot(); !errors.Is(err, ErrSnapshot) {
		t.Errorf("a second Snapshot = %v, want %v", err, ErrSnapshot)
	}
	if _, err := s.Delete([]byte("key7")); err != nil {
		t.Fatal(err)
	}
	churn(t, s, 2)
	if s.Held() < 10 {
		t.Errorf("Held() = %d after 20 segments were compacted", s.Held())
	}
	crashed := open(t, d.Crash(1))
	for name, want := range map[string]byte{"key7": 2, "key8": 2} {
		if e, ok := crashed.Get([]byte(name)); !ok || e.Value[0] != want {
			t.Errorf("after a crash %s is %v, %v", name, e.Value, ok)
		}
	}
	copied, err := copyOf(p)
	if err != nil {
		t.Fatal(err)
	}
	old := open(t, copied)
	if e, ok := old.Get([]byte("key7")); !ok || e.Value[0] != 1 || old.Len() != 101 {
		t.Errorf("in the copy key7 is %v, %v, among %d keys", e.Value, ok, old.Len())
	}
	files, _ := d.Names()
	p.Close()
	p.Close() // has no effect
	churn(t, s, 3)
	if more, _ := d.Names(); s.Held() != 0 || len(more) > len(files) {
		t.Errorf("after Close %d segments are held, and there are %d files instead of %d", s.Held(), len(more), len(files))
	}
	if _, err := s.Snapshot(); err != nil {
		t.Errorf("Snapshot after Close = %v", err)
	}
}

// TestAFullDiskGivesASnapshotUp: writes come first.
func TestAFullDiskGivesASnapshotUp(t *testing.T) {
	d := disktest.New()
	full := false
	d.Full = func() bool { return full }
	s := open(t, d)
	churn(t, s, 1)
	p, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	full = true
	churn(t, s, 2)
	if _, err := p.Bytes(0, 0, 1); !errors.Is(err, ErrGivenUp) || s.Held() != 0 {
		t.Errorf("Bytes = %v, want %v; %d segments are held", err, ErrGivenUp, s.Held())
	}
	if st := s.Stats(); st.Refused != 0 {
		t.Errorf("%d writes were refused", st.Refused)
	}
}

// TestASnapshotHasNoOtherBytes asks for what lies elsewhere.
func TestASnapshotHasNoOtherBytes(t *testing.T) {
	s := open(t, disktest.New())
	put(t, s, "key", []byte("value"))
	p, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	end := p.Ends()[0]
	for _, at := range [][3]int{{-1, 0, 1}, {1, 0, 1}, {math.MaxInt, 0, 1}, {0, -1, 1}, {0, end, 1}, {0, math.MaxInt, 1}, {0, 0, 0}, {0, 0, math.MinInt}} {
		if b, err := p.Bytes(at[0], at[1], at[2]); err == nil {
			t.Errorf("Bytes%v = %d bytes", at, len(b))
		}
	}
	if b, err := p.Bytes(0, end-3, math.MaxInt); err != nil || len(b) != 3 {
		t.Errorf("Bytes up to the end = %d bytes, %v; want 3", len(b), err)
	}
}

// TestACopyTrustsNobody has what a hostile server might say.
func TestACopyTrustsNobody(t *testing.T) {
	zeros := func(_, _, n int) ([]byte, error) { return make([]byte, n), nil }
	for _, tt := range []struct {
		name  string
		bytes int
		ends  []int
		read  func(segment, off, n int) ([]byte, error)
	}{
		{"small segments", 4096, []int{8192}, zeros},
		{"large segments", math.MaxInt, []int{8192}, zeros},
		{"odd segments", MinSegment + 1, []int{8192}, zeros},
		{"too many", MaxSegment, make([]int, 1<<13), zeros},
		{"a negative end", MinSegment, []int{-1}, zeros},
		{"an end inside the header", MinSegment, []int{100}, zeros},
		{"an end behind the segment", MinSegment, []int{MinSegment + 1}, zeros},
		{"nothing", MinSegment, []int{9000}, func(_, _, _ int) ([]byte, error) { return nil, nil }},
		{"too much", MinSegment, []int{9000}, func(_, _, n int) ([]byte, error) { return make([]byte, n+1), nil }},
		{"an error", MinSegment, []int{9000}, func(_, _, _ int) ([]byte, error) { return nil, errors.New("gone") }},
	} {
		if err := CopyTo(disktest.New(), tt.bytes, tt.ends, tt.read, func(int64, int64) {}); err == nil {
			t.Errorf("%s: CopyTo returned no error", tt.name)
		}
	}
	d := disktest.New()
	if err := CopyTo(d, MinSegment, []int{9000}, zeros, func(int64, int64) {}); err != nil {
		t.Fatal(err)
	}
	if _, err := Check(d, nil); err == nil {
		t.Error("a copy of zeros passes Check")
	}
}

// TestASnapshotIsGivenUpForAnyWrite writes on a full disk, whatever compaction has freed before.
func TestASnapshotIsGivenUpForAnyWrite(t *testing.T) {
	d := disktest.New()
	s := open(t, d)
	for i := range 300 {
		put(t, s, fmt.Sprint("key", i%50), make([]byte, 1000))
	}
	drain(t, s)
	s.await()
	if _, err := s.Snapshot(); err != nil {
		t.Fatal(err)
	}
	d.Full = func() bool { return true }
	for i := range 3000 {
		put(t, s, fmt.Sprint("key", i%50), make([]byte, 1000))
		if i%7 == 0 {
			s.hand()
			s.Collect()
		}
	}
}
