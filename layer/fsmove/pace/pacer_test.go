package pace

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

const piece = 256 << 10

// background does pieces, each of which takes a time, until the test ends, and tells how much it has done.
func background(t *testing.T, p *Pacer, each time.Duration) (done func() int64) {
	ctx, stop := context.WithCancel(t.Context())
	var all atomic.Int64
	ended := make(chan struct{})
	go func() { // until stop
		defer close(ended)
		for p.Wait(ctx, piece) == nil {
			time.Sleep(each)
			all.Add(piece)
		}
	}()
	t.Cleanup(func() { stop(); <-ended })
	return func() int64 { synctest.Wait(); return all.Load() }
}

// client makes requests, one each ten milliseconds, for a time. What one takes depends on whether there was a piece within it.
func client(p *Pacer, d time.Duration, takes func() time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); {
		began := time.Now()
		r := p.Begin()
		time.Sleep(takes())
		r.End(false)
		time.Sleep(10*time.Millisecond - time.Since(began))
	}
}

func constant(d time.Duration) func() time.Duration { return func() time.Duration { return d } }

// hurt is what a client sees that is slower while the background is not held.
func hurt(p *Pacer) func() time.Duration {
	return func() time.Duration {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.held {
			return time.Millisecond
		}
		return 2 * time.Millisecond
	}
}

func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

func TestWithoutClientsThereIsFullSpeed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := New()
		done := background(t, p, 10*time.Millisecond)
		time.Sleep(2500 * time.Millisecond)
		if got, want := done(), int64(249*piece); got < want {
			t.Errorf("%d bytes in 2.5 s, want %d at least", got, want)
		}
		if got, want := p.Stats().Fastest, int64(100*piece); got < want-piece || got > want+piece {
			t.Errorf("the fastest is %d bytes a second, want %d", got, want)
		}
	})
}

// TestTheRateFollowsWhatClientsNotice has clients come, notice, stop noticing and go.
func TestTheRateFollowsWhatClientsNotice(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := New()
		done := background(t, p, 10*time.Millisecond)
		time.Sleep(5 * time.Second)
		fastest := p.Stats().Fastest

		before := done()
		client(p, 1020*time.Millisecond, constant(2*time.Millisecond))
		if got, want := done()-before, fastest; got < want-4*piece {
			t.Errorf("%d bytes in the first second with clients, want %d", got, want)
		}
		before = done()
		client(p, 240*time.Millisecond, constant(time.Millisecond))
		if got := done() - before; got > 2*piece {
			t.Errorf("%d bytes while the baseline is measured, want two pieces at most", got)
		}
		client(p, 60*time.Millisecond, constant(time.Millisecond))
		s := p.Stats()
		if s.Baseline != time.Millisecond || s.Rate != fastest/4 || !s.Clients {
			t.Errorf("with clients at first: %+v, want the baseline 1 ms and a quarter of %d", s, fastest)
		}

		for _, want := range []int64{fastest / 8, fastest / 16, fastest / 32, fastest / 50, fastest / 50} {
			client(p, 1010*time.Millisecond, constant(2*time.Millisecond))
			if got := p.Stats().Rate; got != want {
				t.Errorf("after a second in which clients noticed the rate is %d, want %d", got, want)
			}
		}
		before = done()
		client(p, 2*time.Second, constant(2*time.Millisecond))
		if got, want := done()-before, 2*fastest/50; got < want-piece || got > want+piece {
			t.Errorf("%d bytes in 2 s at the floor, want %d", got, want)
		}

		before = p.Stats().Rate
		client(p, 2*time.Second, constant(1100*time.Microsecond))
		if got, want := p.Stats().Rate, before+fastest/10; got < want-fastest/20 || got > want+fastest/100 {
			t.Errorf("after 2 s in which clients did not notice the rate is %d, want about %d", got, want)
		}

		before = done()
		time.Sleep(quietAfter + time.Second)
		if got, want := done()-before, fastest; got < want-2*piece {
			t.Errorf("%d bytes in the second after clients went, want %d", got, want)
		}
	})
}

// TestTheBaselineIsMeasuredAgain has clients become slower for a reason of their own.
func TestTheBaselineIsMeasuredAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := New()
		background(t, p, 10*time.Millisecond)
		time.Sleep(2 * time.Second)
		client(p, time.Second, constant(time.Millisecond))
		client(p, 30*time.Second, constant(3*time.Millisecond))
		s := p.Stats()
		if s.Baseline != 3*time.Millisecond || s.Rate < s.Fastest/4 {
			t.Errorf("clients that are slow by themselves: %+v, want a baseline of 3 ms, and a rate that rises", s)
		}
	})
}

// TestTheRateSettlesAtTheFloor has clients notice each piece, and the work end all the same.
func TestTheRateSettlesAtTheFloor(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := New()
		done := background(t, p, 10*time.Millisecond)
		time.Sleep(2 * time.Second)
		fastest := p.Stats().Fastest
		before := done()
		client(p, 100*time.Second, hurt(p))
		if s := p.Stats(); s.Rate != fastest/50 {
			t.Errorf("clients notice for 100 s: %+v, want the floor %d", s, fastest/50)
		}
		if got, want := done()-before, 90*fastest/50; got < want {
			t.Errorf("%d bytes in 100 s, want %d at least", got, want)
		}
	})
}

// TestClientsFromTheBeginningDoNotStopIt has clients that notice everything, and a background that never had full speed.
func TestClientsFromTheBeginningDoNotStopIt(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := New()
		done := background(t, p, time.Millisecond)
		client(p, 20*time.Second, hurt(p))
		before := done()
		client(p, 10*time.Second, hurt(p))
		if got, want := done()-before, int64(9*guess/50); got < want {
			t.Errorf("%d bytes in 10 s, want %d at least", got, want)
		}
	})
}

func TestWhoWaitsForTheSourceIsNoEvidence(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := New()
		background(t, p, 10*time.Millisecond)
		time.Sleep(2 * time.Second)
		client(p, 1500*time.Millisecond, constant(time.Millisecond))
		before := p.Stats().Rate
		for range 30 {
			r := p.Begin()
			time.Sleep(100 * time.Millisecond)
			r.End(true)
		}
		if got := p.Stats().Rate; got < before {
			t.Errorf("after requests that wait for the source the rate is %d, and was %d", got, before)
		}
	})
}

func TestTheCapHolds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := New()
		p.SetCap(10 * piece)
		done := background(t, p, time.Millisecond)
		time.Sleep(10 * time.Second)
		if got, want := done(), int64(100*piece); got < want-piece || got > want+piece {
			t.Errorf("%d bytes in 10 s, want %d", got, want)
		}
		before := done()
		client(p, 10*time.Second, constant(time.Millisecond))
		if got, most := done()-before, int64(101*piece); got > most {
			t.Errorf("%d bytes in 10 s beside clients, want %d at most", got, most)
		}
		time.Sleep(time.Second)
		p.SetCap(1) // who waits now would wait for days
		time.Sleep(time.Second)
		p.SetCap(0)
		before = done()
		time.Sleep(time.Second)
		if got, want := done()-before, int64(900*piece); got < want {
			t.Errorf("%d bytes in the second after the cap went, want %d at least", got, want)
		}
	})
}

func TestAPauseHolds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := New()
		done := background(t, p, time.Millisecond)
		time.Sleep(time.Second)
		p.Pause()
		time.Sleep(time.Millisecond)
		before := done()
		client(p, time.Second, constant(time.Millisecond))
		time.Sleep(time.Hour)
		if got := done() - before; got != 0 || !p.Stats().Paused {
			t.Errorf("%d bytes in a pause, want none", got)
		}
		ctx, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		if err := p.Wait(ctx, piece); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Wait in a pause = %v, want %v", err, context.DeadlineExceeded)
		}
		p.Resume()
		time.Sleep(time.Second)
		if got := done() - before; got == 0 {
			t.Error("nothing after the pause")
		}
	})
}

// TestWhatIsSpentIsPaid has work told of after it was done.
func TestWhatIsSpentIsPaid(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := New()
		p.SetCap(piece)
		began := time.Now()
		if err := p.Wait(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		p.Spend(10*piece - leastPiece)
		if err := p.Wait(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		if got := time.Since(began); got < 10*time.Second-time.Millisecond || got > 10*time.Second+time.Millisecond {
			t.Errorf("what was spent is paid after %v, want 10 s", got)
		}
	})
}

func TestPercentile(t *testing.T) {
	var l latencies
	for i := range 2 * most {
		l.add(time.Duration(i))
	}
	if got, want := l.percentile95(), time.Duration(most+most*95/100); l.len() != most || got != want {
		t.Errorf("the 95th percentile of the last %d below %d = %d, want %d", l.len(), 2*most, got, want)
	}
	l.clear()
	l.add(7)
	if got := l.percentile95(); got != 7 {
		t.Errorf("the 95th percentile of 7 = %d", got)
	}
}
