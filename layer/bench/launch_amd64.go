package bench

import (
	"cmp"
	"context"
	"math"
	"runtime"
	"time"
)

// The three ways to measure.
const (
	amortised    = "host clock, amortised"
	each         = "host clock, each"
	guestCounter = "guest counter"
)

const (
	defaultLimit = 1 << 16               // operations in a batch
	maxKept      = 1 << 14               // samples of a launch
	leastKept    = 5                     // the same, for which it may take longer than its time
	emptyRounds  = 15                    // of which the median is subtracted
	emptyRetakes = 8                     // in a launch: the processor's frequency drifts
	batchTime    = 50 * time.Microsecond // that a batch takes at least, if it may
	counterTime  = 5 * time.Millisecond  // the same by the guest's counter, as the first operations are cold
	fixedShare   = 8                     // and so many times what getting into the guest and back takes
	calibrations = 3                     // of which the shortest counts: an interrupt makes a batch look long enough
)

// grace is how long a launch may take to end once it was told to.
const grace = time.Second

// launch measures a case in a fresh machine, on a thread of its own. A call of the kernel that does not return keeps that
// thread, but not the program.
func (h *host) launch(ctx context.Context, cfg Config, c Case) (launched, error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	watchdog := time.AfterFunc(h.patience, stop)
	defer watchdog.Stop()
	type outcome struct {
		launched
		err error
	}
	done := make(chan outcome, 1)
	go func() { // ends when the case does, which the watchdog sees to
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine, and its affinity with it
		h.pin(0)
		result, err := h.launchHere(ctx, watchdog, cfg, c)
		done <- outcome{result, err}
	}()
	select {
	case got := <-done:
		return got.launched, got.err
	case <-ctx.Done():
	}
	select {
	case got := <-done:
		return got.launched, got.err
	case <-time.After(grace):
		return launched{}, na("a call did not return within %v", h.patience+grace)
	}
}

func (h *host) launchHere(ctx context.Context, watchdog *time.Timer, cfg Config, c Case) (_ launched, err error) {
	share := cfg.Duration / time.Duration(cfg.Launches)
	r, err := newRig(ctx, h, c.recipe, watchdog)
	if err != nil {
		return launched{}, err
	}
	defer func() {
		if e := r.close(); err == nil {
			err = e
		}
	}()
	work, empty, err := r.makeBatches()
	if err != nil {
		return launched{}, err
	}
	if c.Name == cfg.slow {
		faster := work
		work = func(n int) (time.Duration, error) { return faster(n + n/5) }
	}
	stamps, err := newCounter(r)
	if err != nil {
		return launched{}, err
	}
	least, limit := batchTime, cmp.Or(r.limit, defaultLimit)
	if stamps != nil && !r.whole {
		least, limit = counterTime, min(limit, counterBatch)
	}
	n, err := r.calibrate(work, empty, least, limit)
	if err != nil {
		return launched{}, err
	}
	before, err := r.account()
	if err != nil {
		return launched{}, err
	}
	var out launched
	if stamps != nil {
		out, err = stamps.sample(n, share)
	} else {
		out, err = r.sample(work, empty, n, share)
	}
	if err != nil {
		return launched{}, err
	}
	after, err := r.account()
	if err != nil {
		return launched{}, err
	}
	out.exits, out.want, err = r.check(before, after)
	return out, err
}

// calibrate finds out how many operations a batch has: so many, up to limit, that it takes the given time and that the
// clock and the way into the guest and back weigh little. It is the warm-up as well.
func (r *rig) calibrate(work, empty batch, least time.Duration, limit int) (int, error) {
	n := 1
	if r.whole {
		n = limit
	}
	fixed, err := emptyMedian(empty, 1)
	if err != nil {
		return 0, err
	}
	for {
		with := time.Duration(math.MaxInt64)
		for range calibrations {
			once, err := work(n)
			if err != nil {
				return 0, err
			}
			with = min(with, once)
		}
		if r.fire != nil || n >= limit || with >= max(least, fixedShare*fixed) {
			return n, nil
		}
		n = min(2*n, limit)
	}
}

// sample does batches for the given time.
func (r *rig) sample(work, empty batch, n int, share time.Duration) (launched, error) {
	out := launched{method: amortised, samples: make([]float64, 0, maxKept), halves: "n/a: timed from outside of the guest"}
	if r.fire != nil {
		out.method = each
	}
	if r.op != nil {
		out.halves = "n/a: the counter traps here"
	}
	var without time.Duration
	var taken time.Time // when without was
	for begin := time.Now(); r.wantsMore(len(out.samples), begin, share); {
		if time.Since(taken) > share/emptyRetakes {
			var err error
			if without, err = emptyMedian(empty, n); err != nil {
				return out, err
			}
			taken = time.Now()
		}
		with, err := work(n)
		if err != nil {
			return out, err
		}
		// An operation that costs nothing can come out below nothing, by the noise of the two.
		out.samples = append(out.samples, max(0, float64(with-without)/float64(n)))
	}
	return out, r.enough(len(out.samples))
}

// wantsMore says whether a launch goes on with so many samples.
func (r *rig) wantsMore(samples int, begin time.Time, share time.Duration) bool {
	if samples < leastKept {
		share += r.machine.patience
	}
	return samples < maxKept && time.Since(begin) < share
}

func (r *rig) enough(samples int) error {
	if samples < leastKept {
		return na("too slow: %d samples of %d within the time and %v", samples, leastKept, r.machine.patience)
	}
	return nil
}

func emptyMedian(empty batch, n int) (time.Duration, error) {
	times := make([]time.Duration, emptyRounds)
	for i := range times {
		var err error
		if times[i], err = empty(n); err != nil {
			return 0, err
		}
	}
	return median(times), nil
}
