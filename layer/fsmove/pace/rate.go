package pace

import (
	"slices"
	"time"
)

// What the rate follows.
const (
	tolerance = 1.2        // times the baseline is what clients may notice
	rise      = 1.0 / 20   // of the fastest, each second
	floorPart = 1.0 / 50   // of the fastest
	headroom  = 5.0 / 4    // times the fastest is as far as the rate rises
	longest   = 2 * window // for which a rate rises, if nobody asked meanwhile
)

// advance has the time be now: what was owed is paid, and what is over is judged. p.mu is held.
func (p *Pacer) advance(now time.Time) {
	p.pay(now)
	switch {
	case p.quiet(now):
		if p.held {
			p.held = false
			p.wake()
		}
		p.samples.clear()
		if now.Sub(p.began) >= window {
			p.measure(now)
		}
	case p.held:
		if p.samples.len() >= enough || now.Sub(p.holdFrom) >= settle+holdMost {
			p.release(now)
		}
	case now.Sub(p.began) >= window:
		p.judge(now)
	}
}

// pay pays what is owed for the time that went by. p.mu is held.
func (p *Pacer) pay(now time.Time) {
	speed, bounded := p.speed(now)
	p.owed = max(0, p.owed-speed*now.Sub(p.at).Seconds())
	if !bounded {
		p.owed = 0
	}
	p.at = now
}

// hold begins to measure the baseline. p.mu is held.
func (p *Pacer) hold(now time.Time) {
	p.measure(now)
	p.held, p.holdFrom = true, now
	p.samples.clear()
}

// release ends a hold. p.mu is held.
func (p *Pacer) release(now time.Time) {
	p.held = false
	if p.samples.len() > 0 {
		if p.idle.none() {
			p.rate = p.top() / 4
		}
		p.idle.add(p.samples.percentile95())
	}
	p.samples.clear()
	p.began, p.granted = now, 0
	p.wake()
}

// measure ends a window, and keeps its speed if there was none as fast. p.mu is held.
func (p *Pacer) measure(now time.Time) {
	if took := now.Sub(p.began); took >= window && p.granted > 0 { // a shorter one may be one piece that was granted at once
		p.fastest = max(p.fastest, p.granted/took.Seconds())
		if _, bounded := p.speed(now); !bounded {
			p.known = true
		}
	}
	p.began, p.granted = now, 0
}

// judge ends a window beside clients, and changes the rate by what they noticed. p.mu is held.
func (p *Pacer) judge(now time.Time) {
	took := min(now.Sub(p.began), longest)
	p.measure(now)
	if n := p.samples.len(); n > 0 && !p.idle.none() {
		p.lately = p.samples.percentile95()
		if float64(p.lately) > tolerance*float64(p.idle.value()) {
			p.rate /= 2
		} else {
			p.rate += rise * p.top() * took.Seconds()
		}
		p.rate = min(max(p.rate, p.floor()), headroom*p.top())
	}
	p.samples.clear()
	if p.idle.none() || now.Sub(p.holdFrom) >= again {
		p.hold(now)
	}
}

// top is the fastest that is possible, as far as is known. p.mu is held.
func (p *Pacer) top() float64 {
	if !p.known {
		return max(guess, p.fastest)
	}
	return p.fastest
}

// floor is what the rate does not fall below. p.mu is held.
func (p *Pacer) floor() float64 { return floorPart * p.top() }

// latencies are those of a window, the last ones.
type latencies struct {
	all  []time.Duration
	next int // the oldest, once there are as many as may be
}

func (l *latencies) len() int { return len(l.all) }

func (l *latencies) clear() { l.all, l.next = l.all[:0], 0 }

func (l *latencies) add(d time.Duration) {
	if len(l.all) < most {
		l.all = append(l.all, d)
		return
	}
	l.all[l.next] = d
	l.next = (l.next + 1) % most
}

// percentile95 is what 95 in a hundred did not exceed. There is one at least. The order is lost.
func (l *latencies) percentile95() time.Duration {
	slices.Sort(l.all)
	return l.all[(len(l.all)*95+99)/100-1]
}

// baseline is what requests take without a background, as it was found the last times.
type baseline struct {
	found [3]time.Duration
	n     int
}

func (b *baseline) none() bool { return b.n == 0 }

func (b *baseline) add(d time.Duration) {
	b.found[b.n%len(b.found)] = d
	b.n++
}

func (b *baseline) value() time.Duration { return slices.Max(b.found[:]) }
