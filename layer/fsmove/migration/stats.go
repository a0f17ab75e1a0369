package migration

// Stats are counters since the process began.
type Stats struct {
	FoldersListed uint64
	EntriesMade   uint64
	FilesFilled   uint64
	BytesFetched  uint64
}

// Stats is what was done so far.
func (m *Migration) Stats() Stats {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.stats
}

// count changes the counters.
func (m *Migration) count(f func(*Stats)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f(&m.stats)
}
