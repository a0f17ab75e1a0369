package limit

import (
	"math"
	"testing"
	"time"
)

func mustNew(t *testing.T, perSecond uint64, burst time.Duration) *Bucket {
	t.Helper()
	b, err := New(perSecond, burst)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// taken is what somebody gets who takes n at a time, whenever they may, in a time after start.
func taken(b *Bucket, n uint64, start time.Time, d time.Duration) (total uint64) {
	for now := start; ; {
		if wait := b.Wait(now); wait > 0 {
			now = now.Add(wait)
		}
		if !now.Before(start.Add(d)) {
			return total
		}
		b.Take(n, now)
		total += n
	}
}

func TestRateIsKept(t *testing.T) {
	start := time.Unix(1e9, 0)
	for _, tt := range []struct {
		perSecond, n uint64
		burst, d     time.Duration
	}{
		{1000, 1, 0, time.Second}, {1000, 1, 100 * time.Millisecond, time.Second}, {1 << 30, 4096, time.Second, time.Second},
		{10, 1000, time.Second, time.Hour}, {1, 1, 0, time.Minute},
	} {
		b := mustNew(t, tt.perSecond, tt.burst)
		got, most := taken(b, tt.n, start, tt.d), tt.perSecond*uint64(tt.d+tt.burst)/uint64(time.Second)
		if got > most+tt.n || got+2*tt.n+most/1000 < most {
			t.Errorf("%d at a time, %d a second for %v, saved for %v: took %d, want %d and at most %d more", tt.n, tt.perSecond, tt.d, tt.burst, got, most, tt.n)
		}
		// What was not used in an hour is not saved for longer than the burst.
		later := start.Add(tt.d + 2*time.Hour)
		if again := taken(b, tt.n, later, tt.d); again > most+tt.n {
			t.Errorf("%d a second after a rest: took %d, want at most %d", tt.perSecond, again, most+tt.n)
		}
	}
}

func TestDebtIsBounded(t *testing.T) {
	b, now := mustNew(t, 1, 0), time.Now()
	b.Take(math.MaxUint64, now)
	if wait := b.Wait(now); wait != maxDebt {
		t.Errorf("a wait of %v after the largest request, want %v", wait, maxDebt)
	}
}

func TestNoLimit(t *testing.T) {
	var p Pair
	p.Take(1<<40, time.Now())
	if p.Limited() || p.Wait(time.Now()) != 0 {
		t.Error("no limit limits")
	}
	for _, bad := range []struct {
		perSecond uint64
		burst     time.Duration
	}{{0, 0}, {1, -1}} {
		if _, err := New(bad.perSecond, bad.burst); err == nil {
			t.Errorf("New(%d, %v) succeeded", bad.perSecond, bad.burst)
		}
	}
}

func TestThePairWaitsForBoth(t *testing.T) {
	now := time.Now()
	p := Pair{Ops: mustNew(t, 10, 0), Bytes: mustNew(t, 1000, 0)}
	p.Take(500, now)
	if wait := p.Wait(now); wait != 500*time.Millisecond {
		t.Errorf("wait %v, want the bytes' 500ms", wait)
	}
	if wait := (Pair{Ops: p.Ops}).Wait(now); wait != 100*time.Millisecond {
		t.Errorf("wait %v, want the operation's 100ms", wait)
	}
	if n := testing.AllocsPerRun(100, func() { p.Take(1, now); p.Wait(now) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
