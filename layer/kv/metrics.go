package kv

import (
	"net/http"
	"time"

	"usui/internal/metrics"
	"usui/internal/metrics/scrape"
	"usui/layer/kv/disk"
	"usui/layer/kv/server"
)

// observed is a folder whose syncs are timed.
type observed struct {
	disk.Folder
	syncs *metrics.Histogram
}

// Create implements [disk.Folder].
func (o observed) Create(name string, head []byte, size int64) (disk.File, error) {
	return o.observe(o.Folder.Create(name, head, size))
}

// Open implements [disk.Folder].
func (o observed) Open(name string) (disk.File, error) { return o.observe(o.Folder.Open(name)) }

func (o observed) observe(f disk.File, err error) (disk.File, error) {
	if err != nil {
		return nil, err
	}
	return observedFile{f, o.syncs}, nil
}

type observedFile struct {
	disk.File
	syncs *metrics.Histogram
}

// Sync implements [disk.File].
func (f observedFile) Sync() error {
	start := time.Now()
	err := f.File.Sync()
	f.syncs.Observe(time.Since(start))
	return err
}

// latencies are metrics.
type latencies struct {
	Command metrics.Latency // without the wait for the disk
	Sync    metrics.Latency // of batches, and of the headers of segments
}

// serveMetrics answers a scrape.
func (s *Store) serveMetrics(w http.ResponseWriter, r *http.Request) {
	var n server.Snapshot
	if err := s.server.Ask(func() { n = s.server.Snapshot() }); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	var set metrics.Set
	set.Add("usui_kv", n.Server)
	set.Add("usui_kv_command", n.Uses)
	set.Add("usui_kv_clients", n.Clients)
	set.Add("usui_kv_engine", n.Engine)
	if b := n.Bypass; b != nil {
		set.Add("usui_kv_bypass", b.Bytes)
		set.Add("usui_kv_bypass_card", b.Card)
		set.Add("usui_kv_bypass_tcp", b.TCP)
	}
	set.Add("usui_kv", latencies{n.Latency, s.syncs.Snapshot()})
	scrape.Answer(w, &set)
}
