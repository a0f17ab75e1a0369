package engine

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"usui/layer/kv/disktest"
)

// frameBytes is the size of a frame of the device of tests.
const frameBytes = 64

// device is one that gives frames away the moment they are free, and loses what was not flushed.
type device struct {
	memory, durable []byte
	holds, live     []int
	random          *rand.Rand
	scarce          bool
}

func newDevice(frames int) *device {
	return &device{make([]byte, frames*frameBytes), make([]byte, frames*frameBytes), make([]int, frames), make([]int, frames), rand.New(rand.NewPCG(1, 1)), false}
}

// crash is what a crash leaves of it.
func (d *device) crash() *device {
	left := newDevice(len(d.holds))
	copy(left.memory, d.durable)
	copy(left.durable, d.durable)
	return left
}

func (d *device) Bytes(p Piece) []byte {
	if p.Len == 0 || p.Off >= uint64(len(d.memory)) || p.Off%frameBytes+uint64(p.Len) > frameBytes {
		return nil
	}
	return d.memory[p.Off : p.Off+uint64(p.Len)]
}

func (d *device) Flush(pieces []Piece) error {
	for _, p := range pieces {
		copy(d.durable[p.Off:], d.Bytes(p))
	}
	return nil
}

func (d *device) Hold(p Piece) {
	d.holds[p.Off/frameBytes]++
	d.live[p.Off/frameBytes]++
}

func (d *device) Depart(p Piece) { d.live[p.Off/frameBytes]-- }

func (d *device) Release(p Piece) { d.drop(int(p.Off/frameBytes), 1) }

func (d *device) drop(frame, n int) {
	if d.holds[frame] -= n; d.holds[frame] > 0 {
		return
	}
	if d.holds[frame] < 0 {
		panic("BUG: a frame is released that nobody holds")
	}
	for i := range frameBytes { // somebody else has it now, and that may be durable or not
		d.memory[frame*frameBytes+i] = byte(d.random.Uint32())
		if d.random.IntN(2) == 0 {
			d.durable[frame*frameBytes+i] = d.memory[frame*frameBytes+i]
		}
	}
}

func (d *device) Forget() func() {
	if !slices.ContainsFunc(d.live, func(n int) bool { return n > 0 }) {
		return nil
	}
	held := slices.Clone(d.live)
	clear(d.live)
	return func() {
		for frame, n := range held {
			if n > 0 {
				d.drop(frame, n)
			}
		}
	}
}

func (d *device) Scarce() bool { return d.scarce }

// receive has a value arrive in frames, or says false if there are too few.
func (d *device) receive(value string) (pieces []Piece, ok bool) {
	for frame := range d.holds {
		if len(value) == 0 {
			return pieces, true
		}
		if d.holds[frame] > 0 || d.random.IntN(3) == 0 {
			continue
		}
		at := d.random.IntN(frameBytes / 2)
		n := copy(d.memory[frame*frameBytes+at:(frame+1)*frameBytes], value)
		value = value[n:]
		pieces = append(pieces, Piece{uint64(frame*frameBytes + at), uint32(n)})
		d.Hold(pieces[len(pieces)-1])
	}
	if len(value) > 0 {
		for _, p := range pieces {
			d.Depart(p)
			d.Release(p)
		}
		return nil, false
	}
	return pieces, true
}

// past is what happened to a key, or to all if it is empty.
type past struct {
	seq        uint64
	key, value string
	expire     int64
}

// TestValuesOnADeviceSurvive crashes stores whose values lie on a device at random points. What is durable is there, each frame that no value needs is given
// back, and none that one needs.
func TestValuesOnADeviceSurvive(t *testing.T) {
	var opened, checkpoints, fetched int
	for seed := range uint64(5) {
		random := rand.New(rand.NewPCG(seed, 7))
		d, memory := disktest.New(), newDevice(1200)
		now := int64(1000)
		options := func(m *device) Options {
			return Options{SegmentBytes: MinSegment, Now: func() int64 { return now }, Device: m}
		}
		expiry := func() int64 {
			if random.IntN(4) == 0 {
				return now + random.Int64N(200)
			}
			return 0
		}
		s, err := Open(d, options(memory))
		if err != nil {
			t.Fatal(err)
		}
		var history []past
		for step := range 4000 {
			key := fmt.Sprint("key", random.IntN(1+random.IntN(400))) // some live long
			value := strings.Repeat(fmt.Sprintf("%08x", random.Uint32()), 1+random.IntN(24))
			switch n := random.IntN(100); {
			case n < 45:
				pieces, ok := memory.receive(value)
				if !ok {
					break
				}
				e := expiry()
				if err := s.PutPlaced([]byte(key), pieces, e); err != nil {
					t.Fatal(err)
				}
				history = append(history, past{s.Last(), key, value, e})
			case n < 65:
				e := expiry()
				if err := s.Put([]byte(key), []byte(value), e); err != nil {
					t.Fatal(err)
				}
				history = append(history, past{s.Last(), key, value, e})
			case n < 80:
				if was, err := s.Delete([]byte(key)); err != nil {
					t.Fatal(err)
				} else if was {
					history = append(history, past{s.Last(), key, "", 0})
				}
			case n == 80 && random.IntN(8) == 0:
				if err := s.Clear(); err != nil {
					t.Fatal(err)
				}
				history = append(history, past{s.Last(), "", "", 0})
			case n == 81:
				memory.scarce = random.IntN(2) == 0
			case n == 82 && !s.capture.active:
				s.beginCheckpoint()
			case n == 83:
				s.finishCheckpoint()
			case n == 84:
				now += random.Int64N(100)
			case n == 85:
				s.Sweep(0, buckets)
			case n < 89:
				drain(t, s)
				if len(s.log) > 2 && s.await() {
					s.compactOldest()
				}
			default:
				s.Collect()
				s.Commit()
			}
			if step%40 != 0 {
				continue
			}
			durable := s.Durable()
			if _, err := Check(d.Crash(seed<<32+uint64(step)), nil); err != nil {
				t.Fatalf("seed %d, step %d: Check = %v", seed, step, err)
			}
			left := memory.crash()
			again, err := Open(d.Crash(seed<<32+uint64(step)), options(left))
			if err != nil {
				t.Fatalf("seed %d, step %d: Open = %v", seed, step, err)
			}
			opened++
			if again.Stats().Loaded > 0 {
				checkpoints++
			}
			if again.Last() < durable {
				t.Fatalf("seed %d, step %d: %d of %d that were durable", seed, step, again.Last(), durable)
			}
			compareWithPast(t, again, left, history, now)
			if err := again.Close(); err != nil {
				t.Fatal(err)
			}
		}
		drain(t, s)
		compareWithPast(t, s, memory, history, now)
		fetched += int(s.Stats().Fetched)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if opened < 500 || checkpoints < 100 || fetched == 0 {
		t.Errorf("%d stores were opened, %d from checkpoints, %d values moved into the log; want more", opened, checkpoints, fetched)
	}
}

func compareWithPast(t *testing.T, s *Store, m *device, history []past, time int64) {
	t.Helper()
	last := s.Last() // before records of what has expired
	s.Sweep(0, buckets)
	drain(t, s)
	now := map[string]string{}
	for _, h := range history {
		switch {
		case h.seq > last:
		case h.key == "":
			clear(now)
		case h.value == "" || h.expire != 0 && h.expire <= time:
			delete(now, h.key)
		default:
			now[h.key] = h.value
		}
	}
	if s.Len() != len(now) {
		t.Fatalf("%d keys, want %d", s.Len(), len(now))
	}
	holds := make([]int, len(m.holds))
	for key, want := range now {
		e, ok := s.Get([]byte(key))
		if !ok || string(e.Value) != want {
			t.Fatalf("%s has %q, %v; want %q", key, e.Value, ok, want)
		}
		if _, r := s.lookup(s.hash([]byte(key)), []byte(key)); r.placed() {
			r.pieces(func(p Piece) { holds[p.Off/frameBytes]++ })
		}
	}
	if !slices.Equal(holds, m.holds) {
		t.Fatalf("frames are held %v, want %v", m.holds, holds)
	}
}

// TestARottenDeviceIsRefused has a value on the device change, and the device go.
func TestARottenDeviceIsRefused(t *testing.T) {
	d, memory := disktest.New(), newDevice(10)
	opt := Options{SegmentBytes: MinSegment, Now: func() int64 { return 1000 }, Device: memory}
	s, err := Open(d, opt)
	if err != nil {
		t.Fatal(err)
	}
	for i, expire := range []int64{0, 5000} {
		pieces, _ := memory.receive(strings.Repeat("v", 100))
		if err := s.PutPlaced([]byte{byte('a' + i)}, pieces, expire); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Snapshot(); !errors.Is(err, ErrPlaced) {
		t.Errorf("Snapshot = %v, want %v", err, ErrPlaced)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(d.Crash(0), Options{Now: opt.Now}); !errors.Is(err, ErrNoDevice) {
		t.Errorf("Open without the device = %v, want %v", err, ErrNoDevice)
	}
	opt.Device = newDevice(10)
	if _, err := Open(d.Crash(0), opt); !errors.Is(err, ErrDamaged) {
		t.Errorf("Open with an empty device = %v, want %v", err, ErrDamaged)
	}
	opt.Device = memory.crash()
	s, err = Open(d.Crash(0), opt)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close() // it is sealed
	if e, ok := s.Get([]byte("a")); !ok || string(e.Value) != strings.Repeat("v", 100) {
		t.Errorf("a has %q, %v", e.Value, ok)
	}
	_, r := s.lookup(s.hash([]byte("a")), []byte("a"))
	r.pieces(func(p Piece) { opt.Device.Bytes(p)[0] ^= 1 })
	if e, ok := s.Get([]byte("a")); ok || s.Sealed() == nil || !strings.Contains(s.Sealed().Error(), "not on the device") {
		t.Errorf("a has %q, %v after it rotted, and the store is sealed by %v", e.Value, ok, s.Sealed())
	}
}

// placedStore has a store with values of so many bytes on a device.
func placedStore(t *testing.T, frames, values, bytes int) (*disktest.Disk, *device, *Store) {
	t.Helper()
	d, m := disktest.New(), newDevice(frames)
	s, err := Open(d, Options{SegmentBytes: MinSegment, Now: func() int64 { return 1000 }, Device: m})
	if err != nil {
		t.Fatal(err)
	}
	for i := range values {
		putPlaced(t, m, s, fmt.Sprint("key", i), bytes)
	}
	drain(t, s)
	return d, m, s
}

func putPlaced(t *testing.T, m *device, s *Store, key string, bytes int) {
	t.Helper()
	pieces, ok := m.receive(strings.Repeat(key[len(key)-1:], bytes))
	if !ok {
		t.Fatal("there are too few frames")
	}
	if err := s.PutPlaced([]byte(key), pieces, 0); err != nil {
		t.Fatal(err)
	}
}

// TestTwoValuesAreThereAtOnce reads two that lie in several frames.
func TestTwoValuesAreThereAtOnce(t *testing.T) {
	_, _, s := placedStore(t, 100, 2, 200)
	defer s.Close() // nothing depends on it
	a, _ := s.Get([]byte("key0"))
	b, _ := s.Get([]byte("key1"))
	if string(a.Value) != strings.Repeat("0", 200) || string(b.Value) != strings.Repeat("1", 200) {
		t.Errorf("%.10q and %.10q", a.Value, b.Value)
	}
}

// TestMovingValuesIntoTheLogEnds has them moved there, after which there is nothing to compact.
func TestMovingValuesIntoTheLogEnds(t *testing.T) {
	_, m, s := placedStore(t, 40_000, 1000, 1000)
	defer s.Close() // nothing depends on it
	m.scarce = true
	for range 12 {
		s.await()
		s.compactOldest()
	}
	m.scarce = false
	drain(t, s)
	if s.Stats().Fetched == 0 {
		t.Fatal("no value was moved")
	}
	before := s.Stats().Compacted
	for range 1000 {
		s.Commit()
		drain(t, s)
		s.await()
	}
	if n := s.Stats().Compacted - before; n > uint64(len(s.log)) {
		t.Errorf("%d segments of %d were compacted with nothing to do; %d bytes are garbage, %d live", n, len(s.log), s.garbage(), s.live.Load())
	}
}

// TestDeletionsGoOnWhenAllIsFull fills the disk and the device.
func TestDeletionsGoOnWhenAllIsFull(t *testing.T) {
	d, m, s := placedStore(t, 100_000, 0, 0)
	defer s.Close() // nothing depends on it
	full := false
	s.await() // nothing is made now
	d.Full = func() bool { return full }
	keys := 0
	for ; len(s.log) < 4; keys++ {
		putPlaced(t, m, s, fmt.Sprint("key", keys), 1500)
	}
	drain(t, s)
	s.await()
	full, m.scarce = true, true
	for i, err := 0, error(nil); err == nil; i++ {
		err = s.Put([]byte(fmt.Sprint("more", i)), make([]byte, 1000), 0)
		s.Commit()
		s.Collect()
	}
	for i := range keys {
		if was, err := s.Delete([]byte(fmt.Sprint("key", i))); !was || err != nil {
			t.Fatalf("deletion %d of %d: %v, %v", i, keys, was, err)
		}
		s.Commit()
		s.Collect()
	}
}

// TestClearingNothingTakesNoMemory clears a store again and again before that is durable.
func TestClearingNothingTakesNoMemory(t *testing.T) {
	_, _, s := placedStore(t, 100, 3, 100)
	defer s.Close() // nothing depends on it
	for range 100 {
		if err := s.Clear(); err != nil {
			t.Fatal(err)
		}
	}
	if len(s.gone) > 1 {
		t.Errorf("%d lists of frames wait to be released, want 1", len(s.gone))
	}
}

// TestARandomKeyIsNoneThatExpiredOnTheDevice has one that is still there, because its record has not been written.
func TestARandomKeyIsNoneThatExpiredOnTheDevice(t *testing.T) {
	now := int64(1000)
	dev := newDevice(100)
	s, err := Open(disktest.New(), Options{SegmentBytes: MinSegment, Now: func() int64 { return now }, Device: dev})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close() // nothing depends on it
	p, _ := dev.receive(strings.Repeat("v", 200))
	if err := s.PutPlaced([]byte("k"), p, 2000); err != nil {
		t.Fatal(err)
	}
	now = 3000
	if key, ok := s.Random(); ok {
		t.Errorf("Random = %q, want none", key)
	}
}

// TestASweepOnAFullDiskLosesNothing has values on the device expire when a record of it takes compaction.
func TestASweepOnAFullDiskLosesNothing(t *testing.T) {
	for mode, what := range []string{"with strings that expire, too", "with strings that stay", "alone"} {
		t.Run(what, func(t *testing.T) { sweepFull(t, mode) })
	}
}

func sweepFull(t *testing.T, mode int) {
	now := int64(1000)
	dev, d, made := newDevice(20000), disktest.New(), 0
	d.Full = func() bool { made++; return made > 6 }
	s, err := Open(d, Options{SegmentBytes: MinSegment, Now: func() int64 { return now }, Device: dev})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close() // nothing depends on it
	place := func(key, value string, expire int64) error {
		p, ok := dev.receive(strings.Repeat(value, 100))
		if !ok {
			t.Fatal("the device is full")
		}
		return s.PutPlaced([]byte(key), p, expire)
	}
	const stay = 300
	for i := range stay {
		if err := place(fmt.Sprint("stay", i), "s", 1_000_000); err != nil {
			t.Fatal(err)
		}
		s.Collect()
		s.Commit()
	}
	for i := 0; err == nil; i++ {
		if err = place(fmt.Sprint("placed", i), "e", 2000); err == nil && mode < 2 {
			err = s.Put([]byte(fmt.Sprint("string", i)), make([]byte, 100), []int64{2000, 0}[mode])
		}
		s.Collect()
		s.Commit()
	}
	if !errors.Is(err, ErrFull) {
		t.Fatalf("until it was full: %v", err)
	}
	drain(t, s)
	now = 3000
	for range 3 {
		for cursor, first := uint64(0), true; first || cursor != 0; first = false {
			cursor, _, _ = s.Sweep(cursor, 4096)
			s.Collect()
			s.Commit()
		}
	}
	for i := range stay {
		if _, ok := s.Get([]byte(fmt.Sprint("stay", i))); !ok {
			t.Fatalf("key stay%d is gone; sealed: %v", i, s.Sealed())
		}
	}
	if s.Sealed() != nil {
		t.Error(s.Sealed())
	}
}
