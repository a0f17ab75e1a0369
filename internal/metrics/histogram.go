package metrics

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// Buckets of a histogram: the first holds what took up to FirstBucket, each next one up to twice as much, and the last all the rest.
const (
	Buckets     = 26
	FirstBucket = 1024 * time.Nanosecond

	firstBits = 10
)

// Histogram counts durations. The zero value is ready.
type Histogram struct {
	buckets [Buckets]atomic.Uint64
	sum     atomic.Int64 // ns
}

// Observe counts one duration. A negative one counts as none.
func (h *Histogram) Observe(d time.Duration) {
	d = max(d, 0)
	h.buckets[bucket(d)].Add(1)
	h.sum.Add(int64(d))
}

// bucket is the number of the first bucket with an upper bound of d or more.
func bucket(d time.Duration) int {
	if d <= FirstBucket {
		return 0
	}
	return min(bits.Len64(uint64(d-1))-firstBits, Buckets-1)
}

// Latency is what a [Histogram] held at some moment.
type Latency struct {
	Counts [Buckets]uint64
	Sum    time.Duration
}

// Snapshot reads the histogram. What is observed meanwhile may be in Counts and not in Sum.
func (h *Histogram) Snapshot() Latency {
	l := Latency{Sum: time.Duration(h.sum.Load())}
	for i := range l.Counts {
		l.Counts[i] = h.buckets[i].Load()
	}
	return l
}

// Plus is what one histogram would hold that had counted for both.
func (l Latency) Plus(m Latency) Latency {
	for i, n := range m.Counts {
		l.Counts[i] += n
	}
	l.Sum += m.Sum
	return l
}

// Count is how many durations there were.
func (l Latency) Count() (n uint64) {
	for _, c := range l.Counts {
		n += c
	}
	return n
}

// UpperBound is the longest duration of bucket i but the last, which has none.
func UpperBound(i int) time.Duration { return FirstBucket << i }

// Quantile is the upper bound of the bucket that holds the quantile q, 0 to 1; 0 without a duration. Of the last bucket it is the lower one.
func (l Latency) Quantile(q float64) time.Duration {
	n := l.Count()
	if n == 0 {
		return 0
	}
	rank, seen := max(1, uint64(q*float64(n)+0.5)), uint64(0)
	for i, c := range l.Counts[:Buckets-1] {
		if seen += c; seen >= rank {
			return UpperBound(i)
		}
	}
	return UpperBound(Buckets - 2)
}
