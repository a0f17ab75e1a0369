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

	Checkpoints       uint64
	CheckpointSyncs   uint64 // of them, and of those that failed
	CheckpointsFailed uint64 // could not be written: opening reads more of the log
	CheckpointIgnored uint64 // 1: the one that was there did not check, or did not fit the log, and all of that was read

	Placed  uint64 // values that stayed on the device
	Fetched uint64 // of them, moved into the log because frames were few

	Keys        uint64 `metric:"gauge"`
	Collections uint64 `metric:"gauge"` // that keys have
	Live        uint64 `metric:"gauge"` // bytes of the log that hold what keys have
	Segments    uint64 `metric:"gauge"` // files, free and spare ones among them
	Index       uint64 `metric:"gauge"` // bytes of memory

	Loaded       uint64        `metric:"gauge"` // bytes of the checkpoint at the start
	Recovered    uint64        `metric:"gauge"` // bytes of the log that were read then
	RecoveryTime time.Duration // how long that took
}

// Stats returns the counters.
func (s *Store) Stats() Stats {
	st := s.stats
	st.Keys, st.Live, st.Segments = uint64(s.Len()), uint64(s.live.Load()), uint64(len(*s.slots.Load()))
	st.Collections, st.Expired = uint64(s.collections.len()), s.expired.Load()
	st.Index = s.indexBytes()
	return st
}

func (s *Store) indexBytes() (n uint64) {
	for _, h := range s.shards {
		n += uint64(len(h.index.tables)) * tableBytes
	}
	return n
}
