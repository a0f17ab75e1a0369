package server

import (
	"fmt"
	"os"
	"runtime/metrics"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// section is one of INFO's, with names and values in turn.
type section struct {
	name  string
	extra bool // is not among those that INFO shows by itself
	pairs func(s *Server) []any
}

// sections are in the order of Redis; what the engine counts is in one of its own.
func sections() []section {
	return []section{
		{"Server", false, (*Server).infoServer},
		{"Clients", false, (*Server).infoClients},
		{"Memory", false, (*Server).infoMemory},
		{"Persistence", false, (*Server).infoPersistence},
		{"Stats", false, (*Server).infoStats},
		{"Replication", false, func(*Server) []any { return []any{"role", "master", "connected_slaves", 0} }},
		{"CPU", false, (*Server).infoCPU},
		{"Modules", false, func(*Server) []any { return nil }},
		{"Engine", false, (*Server).infoEngine},
		{"Bypass", false, (*Server).infoBypass},
		{"Commandstats", true, (*Server).infoCommands},
		{"Errorstats", false, (*Server).infoErrors},
		{"Cluster", false, func(*Server) []any { return []any{"cluster_enabled", 0} }},
		{"Keyspace", false, (*Server).infoKeyspace},
	}
}

// info answers with lines of NAME:VALUE in sections, as Redis does.
func info(k *call) {
	var b strings.Builder
	for _, section := range sections() {
		wanted := len(k.args) == 1 && !section.extra || slices.ContainsFunc(k.args[1:], func(a []byte) bool {
			return strings.EqualFold(string(a), section.name) || is(a, "ALL") || is(a, "EVERYTHING") || is(a, "DEFAULT") && !section.extra
		})
		if !wanted {
			continue
		}
		if b.Len() > 0 {
			b.WriteString("\r\n")
		}
		fmt.Fprintf(&b, "# %s\r\n", section.name)
		pairs := section.pairs(k.s)
		for i := 0; i < len(pairs); i += 2 {
			fmt.Fprintf(&b, "%v:%v\r\n", pairs[i], pairs[i+1])
		}
	}
	k.w.Verbatim(b.String())
}

func (s *Server) infoServer() []any {
	now := time.Now()
	up := (s.now.Load() - s.started) / 1000
	return []any{"redis_version", compatible, "usui_version", s.cfg.Version, "redis_mode", "standalone", "arch_bits", strconv.IntSize, "multiplexing_api", "epoll", "event_loops", len(s.loops),
		"process_id", os.Getpid(), "run_id", s.runID, "tcp_port", s.port(), "server_time_usec", now.UnixMicro(), "uptime_in_seconds", up, "uptime_in_days", up / 86400,
		"hz", 1000 / sweepEvery, "config_file", ""}
}

// port is the first at which it listens, 0 if there is none.
func (s *Server) port() int {
	for _, fd := range s.cfg.Listeners {
		a, _ := unix.Getsockname(fd) // a listener has one
		switch a := a.(type) {
		case *unix.SockaddrInet4:
			return a.Port
		case *unix.SockaddrInet6:
			return a.Port
		}
	}
	return 0
}

func (s *Server) infoClients() []any {
	subscribers := 0
	for _, c := range s.clients {
		if c.subscriber() {
			subscribers++
		}
	}
	return []any{"connected_clients", len(s.clients), "cluster_connections", 0, "maxclients", s.cfg.Clients, "blocked_clients", s.blocking.count, "tracking_clients", 0,
		"pubsub_clients", subscribers, "watched_keys", len(s.watched), "client_memory", s.held.Load(), "client_memory_limit", s.cfg.ClientMemory}
}

func (s *Server) infoMemory() []any {
	heap := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(heap)
	used := heap[0].Value.Uint64() + s.store.Stats().Index
	return []any{"used_memory", used, "used_memory_human", human(used), "used_memory_rss", residentBytes(), "maxmemory", 0, "maxmemory_human", "0B",
		"maxmemory_policy", "noeviction", "mem_clients_normal", s.held.Load(), "mem_allocator", "go"}
}

// human is a number of bytes as Redis' bytesToHuman writes it.
func human(n uint64) string {
	units, f := "BKMGTP", float64(n)
	for f >= 1024 && len(units) > 1 {
		f, units = f/1024, units[1:]
	}
	if units[0] == 'B' {
		return fmt.Sprintf("%dB", n)
	}
	return fmt.Sprintf("%.2f%c", f, units[0])
}

// residentBytes is what the process has in memory, 0 if that is not known (proc_pid_statm(5)). The log that is mapped is in it.
func residentBytes() int {
	p, err := os.ReadFile("/proc/self/statm")
	if fields := strings.Fields(string(p)); err == nil && len(fields) > 1 {
		pages, _ := strconv.Atoi(fields[1]) // 0 if it is no number
		return pages * os.Getpagesize()
	}
	return 0
}

func (s *Server) infoPersistence() []any {
	status := "ok"
	if s.store.Sealed() != nil {
		status = "err"
	}
	return []any{"loading", 0, "async_loading", 0, "rdb_bgsave_in_progress", 0, "rdb_last_bgsave_status", "ok", "aof_enabled", 1, "aof_rewrite_in_progress", 0,
		"aof_last_write_status", status, "durable_sequence", s.store.Durable(), "last_sequence", s.store.Last(), "backup_held_segments", s.store.Held()}
}

func (s *Server) infoStats() []any {
	st := s.stats()
	return []any{"total_connections_received", st.Accepted, "total_commands_processed", st.Commands, "total_net_input_bytes", st.BytesRead,
		"total_net_output_bytes", st.BytesWritten, "rejected_connections", st.Rejected, "expired_keys", s.store.Stats().Expired, "evicted_keys", 0,
		"evicted_clients", st.Evicted, "output_limit_disconnections", st.OutputLimit, "keyspace_hits", st.Hits, "keyspace_misses", st.Misses,
		"pubsub_channels", len(s.topics[channels]), "pubsub_patterns", len(s.topics[patterns]), "pubsubshard_channels", len(s.topics[shards]),
		"total_error_replies", st.ErrorReplies, "protocol_errors", st.ProtocolErrors, "held_replies", st.Held}
}

func (s *Server) infoCPU() []any {
	pairs := []any{}
	for _, who := range []struct {
		what   int
		suffix string
	}{{unix.RUSAGE_SELF, ""}, {unix.RUSAGE_CHILDREN, "_children"}} {
		var u unix.Rusage
		if err := unix.Getrusage(who.what, &u); err != nil {
			continue // cannot be for these two
		}
		pairs = append(pairs, "used_cpu_sys"+who.suffix, fmt.Sprintf("%.6f", time.Duration(u.Stime.Nano()).Seconds()),
			"used_cpu_user"+who.suffix, fmt.Sprintf("%.6f", time.Duration(u.Utime.Nano()).Seconds()))
	}
	return pairs
}

func (s *Server) infoEngine() []any {
	e := s.store.Stats()
	return []any{"batches", e.Batches, "syncs", e.Batches, "records", e.Records, "bytes_appended", e.BytesAppended, "bytes_compacted", e.BytesCompacted,
		"segments", e.Segments, "segments_compacted", e.Compacted, "bytes_live", e.Live, "index_bytes", e.Index, "writes_refused", e.Refused,
		"checkpoints", e.Checkpoints, "checkpoints_failed", e.CheckpointsFailed, "checkpoint_syncs", e.CheckpointSyncs, "checkpoint_ignored", e.CheckpointIgnored, "checkpoint_bytes_loaded", e.Loaded,
		"recovered_bytes", e.Recovered, "recovery_microseconds", e.RecoveryTime.Microseconds()}
}

func (s *Server) infoCommands() (pairs []any) {
	for _, c := range s.all() {
		u := s.use(c)
		if u.calls+u.rejected == 0 {
			continue
		}
		each := 0.0
		if u.calls > 0 {
			each = float64(u.took.Microseconds()) / float64(u.calls)
		}
		pairs = append(pairs, "cmdstat_"+c.name, fmt.Sprintf("calls=%d,usec=%d,usec_per_call=%.2f,rejected_calls=%d,failed_calls=%d",
			u.calls, u.took.Microseconds(), each, u.rejected, u.failed))
	}
	return pairs
}

func (s *Server) infoErrors() (pairs []any) {
	all := map[string]uint64{}
	for _, l := range s.loops {
		for word, n := range l.errors {
			all[word] += n
		}
	}
	for _, word := range sortedKeys(all) {
		pairs = append(pairs, "errorstat_"+word, fmt.Sprintf("count=%d", all[word]))
	}
	return pairs
}

func (s *Server) infoKeyspace() []any {
	n := s.store.Len()
	if n == 0 {
		return nil
	}
	return []any{"db0", fmt.Sprintf("keys=%d,expires=%d,avg_ttl=0", n, s.store.Expiring())}
}
