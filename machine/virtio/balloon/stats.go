package balloon

import (
	"sync/atomic"

	"usui/internal/metrics"
)

// Stats counts what a balloon did.
type Stats struct {
	TargetBytes uint64 `metric:"gauge"` // what the host wants
	ActualBytes uint64 `metric:"gauge"` // what the driver says is in the balloon

	InflatedBytes uint64 // that the driver put in
	DeflatedBytes uint64 // that it took out
	ReportedBytes uint64 // that it reported as free
	HintedBytes   uint64 // that it hinted at while somebody wanted to know
	ReleasedBytes uint64 // given back to the host
	Releases      uint64 // calls of the host for that
	Errors        uint64 // of these that failed
	Outside       uint64 // numbers of pages that the guest does not have
	Answers       uint64 // statistics that came
	Wakeups       uint64 // kicks that woke a queue's goroutine

	// How long the host took to take memory back, or to find nothing to take, or to fail.
	Release metrics.Latency
}

type counters struct {
	inflated, deflated, reported, hinted, released atomic.Uint64
	releases, errors, outside, answers, wakeups    atomic.Uint64
	time                                           metrics.Histogram
}

// Stats returns the counters as they are now.
func (d *Balloon) Stats() Stats {
	c := &d.counters
	return Stats{
		TargetBytes: d.Target(), ActualBytes: d.Actual(),
		InflatedBytes: c.inflated.Load(), DeflatedBytes: c.deflated.Load(), ReportedBytes: c.reported.Load(), HintedBytes: c.hinted.Load(),
		ReleasedBytes: c.released.Load(), Releases: c.releases.Load(), Errors: c.errors.Load(), Outside: c.outside.Load(),
		Answers: c.answers.Load(), Wakeups: c.wakeups.Load(), Release: c.time.Snapshot(),
	}
}
