package limit

import (
	"fmt"
	"math"
	"sync"
	"time"
)

// maxDebt bounds what one request costs.
const maxDebt = time.Hour

// Bucket limits a rate. Its methods may be called from any goroutine.
type Bucket struct {
	cost  float64       // of one token, ns
	burst time.Duration // how long the rate may be saved up

	mu   sync.Mutex
	paid time.Time // guarded by mu; when all that was taken is paid for
}

// New makes a bucket for so many tokens a second that may be saved up for the time burst. It starts full.
func New(perSecond uint64, burst time.Duration) (*Bucket, error) {
	if perSecond == 0 || burst < 0 {
		return nil, fmt.Errorf("limit: %d a second, saved up for %v: want more than none", perSecond, burst)
	}
	return &Bucket{cost: float64(time.Second) / float64(perSecond), burst: burst}, nil
}

// Wait is how long it takes, from now on, until something may be taken; 0: at once.
func (b *Bucket) Wait(now time.Time) time.Duration {
	if b == nil {
		return 0
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return max(0, b.paid.Sub(now))
}

// Take takes n tokens, into debt if need be.
func (b *Bucket) Take(n uint64, now time.Time) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if full := now.Add(-b.burst); b.paid.Before(full) {
		b.paid = full
	}
	b.paid = b.paid.Add(time.Duration(math.Ceil(min(float64(n)*b.cost, float64(maxDebt)))))
}

// Pair limits operations and bytes. The zero value limits nothing.
type Pair struct{ Ops, Bytes *Bucket }

// Limited says that there is a limit at all.
func (p Pair) Limited() bool { return p.Ops != nil || p.Bytes != nil }

// Wait is how long it takes until the next operation may begin.
func (p Pair) Wait(now time.Time) time.Duration { return max(p.Ops.Wait(now), p.Bytes.Wait(now)) }

// Take takes one operation of n bytes.
func (p Pair) Take(n uint64, now time.Time) {
	p.Ops.Take(1, now)
	p.Bytes.Take(n, now)
}
