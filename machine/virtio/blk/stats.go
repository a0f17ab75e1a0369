package blk

import (
	"sync/atomic"
	"time"

	"usui/internal/metrics"
	"usui/machine/block"
)

// Stats counts what a disk did.
type Stats struct {
	Reads, Writes, Flushes, Discards, Zeroes uint64 // requests that the backend completed, well or not
	BytesRead, BytesWritten                  uint64 // of these
	Errors                                   uint64 // requests that failed in the backend
	Wakeups                                  uint64 // kicks that woke the queue's goroutine
	Groups                                   uint64 // calls of the backend
	Held                                     uint64 // times that a limit kept a queue waiting

	// From when a request was taken off its queue to the backend's completion.
	Read, Write, Flush metrics.Latency
}

type counters struct {
	ops                     [block.Zero + 1]atomic.Uint64
	read, written           atomic.Uint64
	errors, wakeups, groups atomic.Uint64
	held                    atomic.Uint64
	times                   [block.Flush + 1]metrics.Histogram
}

func (c *counters) count(s *slot, took time.Duration) {
	c.ops[s.op].Add(1)
	if int(s.op) < len(c.times) {
		c.times[s.op].Observe(took)
	}
	switch s.op {
	case block.Read:
		c.read.Add(uint64(s.length))
	case block.Write:
		c.written.Add(uint64(s.length))
	}
}

// Stats returns the counters as they are now.
func (d *Blk) Stats() Stats {
	c := &d.counters
	return Stats{
		Reads: c.ops[block.Read].Load(), Writes: c.ops[block.Write].Load(), Flushes: c.ops[block.Flush].Load(),
		Discards: c.ops[block.Discard].Load(), Zeroes: c.ops[block.Zero].Load(),
		BytesRead: c.read.Load(), BytesWritten: c.written.Load(),
		Errors: c.errors.Load(), Wakeups: c.wakeups.Load(), Groups: c.groups.Load(), Held: c.held.Load(),
		Read: c.times[block.Read].Snapshot(), Write: c.times[block.Write].Snapshot(), Flush: c.times[block.Flush].Snapshot(),
	}
}
