package pace

import (
	"context"
	"sync"
	"time"
)

const (
	quietAfter = 200 * time.Millisecond // without a request of a client, there is none
	window     = time.Second            // after which the rate is judged
	settle     = 50 * time.Millisecond  // after which what was under way when the background was held is over
	holdMost   = 250 * time.Millisecond // for which it is held, whatever was measured
	again      = 10 * time.Second       // after which the baseline is measured once more
	enough     = 20                     // requests have a 95th percentile
	most       = 1024                   // requests of a window are looked at, the last ones

	leastPiece = 16 << 10  // bytes that a piece counts as
	guess      = 117 << 20 // bytes a second that are possible, as long as the background never had full speed: a link of a gigabit
)

// Pacer is what one background and its clients share. The zero value is not one: see [New].
type Pacer struct {
	mu      sync.Mutex
	changed chan struct{} // guarded by mu; closed when who waits has to look again
	limit   float64       // guarded by mu; the cap in bytes a second, 0 for none
	paused  bool          // guarded by mu

	running          int       // guarded by mu; requests of clients under way
	last             time.Time // guarded by mu; when a request of a client was last seen
	answered, waited uint64    // guarded by mu; requests of clients

	owed    float64   // guarded by mu; bytes that were allowed and have no time yet
	at      time.Time // guarded by mu; up to when owed is paid
	granted float64   // guarded by mu; bytes since the window began
	rate    float64   // guarded by mu; bytes a second beside clients, 0 before there was any
	fastest float64   // guarded by mu; bytes a second, that were seen
	known   bool      // guarded by mu; at full speed

	samples  latencies     // guarded by mu; of the window, or of the hold
	began    time.Time     // guarded by mu; the window
	held     bool          // guarded by mu; the baseline is being measured
	holdFrom time.Time     // guarded by mu; when that began, or began last
	idle     baseline      // guarded by mu
	lately   time.Duration // guarded by mu; what was measured last beside the background
}

// New is a pacer with full speed.
func New() *Pacer {
	now := time.Now()
	return &Pacer{changed: make(chan struct{}), at: now, began: now, last: now.Add(-quietAfter)}
}

// Wait returns when the background may do a piece of so many bytes, or with the error of ctx.
func (p *Pacer) Wait(ctx context.Context, bytes int64) error {
	for {
		d, changed := p.take(float64(max(bytes, leastPiece)))
		if err := ctx.Err(); d == 0 || err != nil {
			return err
		}
		timer := time.NewTimer(d)
		select {
		case <-ctx.Done():
		case <-changed:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// take takes what a piece needs, or says how long to wait before asking again, at most, unless something changes.
func (p *Pacer) take(bytes float64) (time.Duration, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	p.advance(now)
	speed, bounded := p.speed(now)
	switch {
	case p.paused:
		return window, p.changed
	case p.held && !p.quiet(now):
		return max(1, p.holdFrom.Add(settle+holdMost).Sub(now)), p.changed
	case bounded && p.owed >= 1:
		d := time.Duration(p.owed/speed*float64(time.Second)) + 1
		return min(d, p.untilQuiet(now)), p.changed
	}
	p.granted += bytes
	if bounded {
		p.owed += bytes
	}
	return 0, nil
}

// Spend tells of work that nobody could know of before it was done.
func (p *Pacer) Spend(bytes int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	p.advance(now)
	p.granted += float64(bytes)
	if _, bounded := p.speed(now); bounded {
		p.owed += float64(bytes)
	}
}

// quiet says that no client asks for anything. p.mu is held.
func (p *Pacer) quiet(now time.Time) bool { return p.running == 0 && now.Sub(p.last) >= quietAfter }

// untilQuiet is for how long there are clients at least. p.mu is held.
func (p *Pacer) untilQuiet(now time.Time) time.Duration {
	if p.running > 0 || p.quiet(now) {
		return quietAfter
	}
	return p.last.Add(quietAfter).Sub(now)
}

// speed is how many bytes there may be in a second, if there is a bound. p.mu is held.
func (p *Pacer) speed(now time.Time) (float64, bool) {
	switch {
	case p.quiet(now):
		return p.limit, p.limit > 0
	case p.limit > 0:
		return min(p.rate, p.limit), true
	}
	return p.rate, true
}

// Request is one of a client that is under way.
type Request struct {
	p     *Pacer
	began time.Time
}

// Begin tells of a request of a client.
func (p *Pacer) Begin() Request {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	p.advance(now)
	if p.quiet(now) {
		if p.idle.none() {
			p.rate = p.top()
		}
		p.rate = max(p.rate, p.floor())
		p.measure(now)
	}
	p.running++
	return Request{p, now}
}

// End tells that it was answered, and whether it had to wait for the source.
func (r Request) End(waited bool) {
	p := r.p
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if !waited && !(p.held && r.began.Before(p.holdFrom.Add(settle))) {
		p.samples.add(now.Sub(r.began))
	}
	p.running--
	p.last = now
	p.answered++
	if waited {
		p.waited++
	}
	p.advance(now)
}

// Pause has the background wait until Resume.
func (p *Pacer) Pause() { p.set(func() { p.paused = true }) }

// Resume ends a Pause.
func (p *Pacer) Resume() { p.set(func() { p.paused = false }) }

// SetCap bounds the background to so many bytes a second, whether there are clients or not; 0 is no bound.
func (p *Pacer) SetCap(bytes int64) { p.set(func() { p.limit = float64(max(bytes, 0)) }) }

func (p *Pacer) set(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.advance(time.Now())
	f()
	p.wake()
}

// wake has all who wait look again. p.mu is held.
func (p *Pacer) wake() {
	close(p.changed)
	p.changed = make(chan struct{})
}

// Stats is what a pacer does.
type Stats struct {
	Paused   bool
	Clients  bool          // there are any
	Cap      int64         // bytes a second; 0 for none
	Rate     int64         // bytes a second beside clients
	Fastest  int64         // bytes a second that were seen
	Baseline time.Duration // what clients' requests take without the background, the 95th percentile
	Latency  time.Duration // what they took lately beside it, as Baseline
	Requests uint64        // of clients, that were answered
	Waited   uint64        // of these, may have waited for the source
}

// Stats says what the pacer does.
func (p *Pacer) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	p.advance(now)
	return Stats{p.paused, !p.quiet(now), int64(p.limit), int64(p.rate), int64(p.fastest), p.idle.value(), p.lately, p.answered, p.waited}
}
