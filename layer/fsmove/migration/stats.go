package migration

import "time"

// Stats are counters since the process began.
type Stats struct {
	FoldersListed uint64
	EntriesMade   uint64
	FilesFilled   uint64
	BytesFetched  uint64
	Lost          uint64    // entries and attributes that Skipped tells
	Failing       int       // what Failures tells
	Calls         int       // to the source that have not returned
	NoRoom        bool      // the destination is full, or was a moment ago
	Away          time.Time // since when the source is not there; zero if it is
}

// Stats is what was done so far.
func (m *Migration) Stats() Stats {
	away := m.src.awaySince()
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.stats
	s.Failing, s.Away, s.Calls = len(m.failures), away, len(m.src.slots)
	return s
}

// count changes the counters.
func (m *Migration) count(f func(*Stats)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f(&m.stats)
}
