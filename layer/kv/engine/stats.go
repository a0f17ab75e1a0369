package engine

import "time"

// Stats counts what a store did since it was opened.
type Stats struct {
	Batches        uint64 // each is one write and one sync
	Records        uint64
	BytesAppended  uint64
	BytesCompacted uint64 // of these, copies of older records
	Compacted      uint64 // segments
	Expired        uint64 // keys
	Refused        uint64 // writes, because the disk was full
	NoRoom         uint64 // new segments that found no space

	Keys        uint64 `metric:"gauge"`
	Collections uint64 `metric:"gauge"` // that keys have
	Live        uint64 `metric:"gauge"` // bytes of the log that hold what keys have
	Segments    uint64 `metric:"gauge"` // files, free and spare ones among them
	Index       uint64 `metric:"gauge"` // bytes of memory

	Recovered    uint64        `metric:"gauge"` // bytes that were read at the start
	RecoveryTime time.Duration // how long that took
}

// Stats returns the counters.
func (s *Store) Stats() Stats {
	st := s.stats
	st.Keys, st.Live, st.Segments = uint64(s.index.count), uint64(s.live), uint64(len(s.slots))
	st.Collections = uint64(len(s.collections))
	st.Index = uint64(len(s.index.tables)) * tableBytes
	return st
}
