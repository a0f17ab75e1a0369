package server

// Stats counts what a server did.
type Stats struct {
	Commands       uint64
	Accepted       uint64 // connections
	Rejected       uint64 // connections, because there were too many
	Evicted        uint64 // connections, because of their memory
	OutputLimit    uint64 // connections, because they did not fetch what was published
	ProtocolErrors uint64
	BytesRead      uint64
	BytesWritten   uint64
	Hits, Misses   uint64 // keys that reads found or did not
	Held           uint64 // replies that waited for a batch
}
