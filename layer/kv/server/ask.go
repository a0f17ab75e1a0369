package server

import (
	"errors"

	"usui/internal/metrics"
	"usui/layer/kv/engine"
)

// ErrEnded is what [Server.Ask] returns when the server does not run any more.
var ErrEnded = errors.New("the server has ended")

// Ask calls f between two commands. Any goroutine but the loops' may call it.
func (s *Server) Ask(f func()) error {
	s.lockAll(s.loops[0])
	defer s.unlockAll(nil)
	if s.ended {
		return ErrEnded
	}
	f()
	return nil
}

// Snapshot is what a server counted, and what it has, at some moment.
type Snapshot struct {
	Server  Stats
	Engine  engine.Stats
	Clients Clients
	Uses    Uses
	Bypass  *BypassSnapshot // nil without one
	Latency metrics.Latency // of commands, without their wait for the disk
}

// Clients are the connections of a moment.
type Clients struct {
	Connected   uint64 `metric:"gauge"`
	Memory      uint64 `metric:"gauge"` // bytes
	Channels    uint64 `metric:"gauge"` // that have subscribers
	Patterns    uint64 `metric:"gauge"`
	WatchedKeys uint64 `metric:"gauge"`
}

// Uses count commands by their names.
type Uses struct {
	Calls        map[string]uint64 `metric:"label=command"`
	Microseconds map[string]uint64 `metric:"label=command"`
	Failed       map[string]uint64 `metric:"label=command"`
	Refused      map[string]uint64 `metric:"label=command"`
}

// Snapshot returns the counters. It is to be called by [Server.Ask].
func (s *Server) Snapshot() Snapshot {
	n := Snapshot{
		Server: s.stats(), Engine: s.store.Stats(),
		Clients: Clients{uint64(len(s.clients)), uint64(s.held.Load()), uint64(len(s.topics[channels])), uint64(len(s.topics[patterns])), uint64(len(s.watched))},
		Uses:    Uses{map[string]uint64{}, map[string]uint64{}, map[string]uint64{}, map[string]uint64{}},
	}
	for _, l := range s.loops {
		n.Latency = n.Latency.Plus(l.latency.Snapshot())
	}
	if s.bypass != nil {
		n.Bypass = s.bypass.snapshot()
	}
	for _, c := range s.all() {
		if u := s.use(c); u.calls+u.rejected > 0 {
			n.Uses.Calls[c.name], n.Uses.Microseconds[c.name] = u.calls, uint64(u.took.Microseconds())
			n.Uses.Failed[c.name], n.Uses.Refused[c.name] = u.failed, u.rejected
		}
	}
	return n
}
