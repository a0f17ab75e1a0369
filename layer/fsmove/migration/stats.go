package migration

import "time"

// Stats are counters since the process began.
type Stats struct {
	FoldersListed uint64
	EntriesMade   uint64
	FilesFilled   uint64
	BytesFetched  uint64
	Waiting       Waiting   // what is known to be still to come
	Lost          uint64    // entries and attributes that Skipped tells
	Failing       int       // what Failures tells
	Calls         int       // to the source that have not returned
	NoRoom        bool      // the destination is full, or was a moment ago
	Away          time.Time // since when the source is not there; zero if it is
}

// Stats is what was done so far.
func (m *Migration) Stats() Stats {
	var away time.Time
	calls := 0
	if m.src != nil { // else everything has arrived
		away, calls = m.src.awaySince(), len(m.src.slots)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.stats
	s.Failing, s.Away, s.Calls = len(m.failures), away, calls
	return s
}

// count changes the counters.
func (m *Migration) count(f func(*Stats)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f(&m.stats)
}

// Waiting is what is known to be still to come. What lies in folders that have not been listed is not known. A difference of two is one, too, modulo 2^64.
type Waiting struct {
	Folders, Files uint64
	Bytes          uint64 // of those files, however much of them has arrived
}

func (w *Waiting) add(d Waiting) {
	w.Folders += d.Folders
	w.Files += d.Files
	w.Bytes += d.Bytes
}

// countWaiting counts what is still to come.
func (m *Migration) countWaiting() error {
	var w Waiting
	for _, err := range m.journal.Folders() {
		if err != nil {
			return err
		}
		w.Folders++
	}
	for rec, err := range m.journal.FileRecords() {
		if err != nil {
			return err
		}
		w.add(Waiting{Files: 1, Bytes: uint64(rec.Size)})
	}
	m.count(func(s *Stats) { s.Waiting = w })
	return nil
}
