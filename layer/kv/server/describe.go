package server

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"usui/layer/kv/resp"
)

// compatible is the version of Redis whose answers these are.
const compatible = "7.0.15"

func serverCommands() []command {
	return []command{
		{"command", -1, "loading stale", 0, 0, 0, commandCommand},
		{"config", -2, "", 0, 0, 0, config},
		{"info", -1, "loading stale", 0, 0, 0, info},
		{"time", 1, "loading stale fast", 0, 0, 0, timeNow},
		{"wait", 3, "noscript", 0, 0, 0, wait},
		{"waitaof", 4, "noscript", 0, 0, 0, waitAOF},
	}
}

func timeNow(k *call) {
	now := time.Now()
	k.w.Array(2)
	k.w.Text(fmt.Sprint(now.Unix()))
	k.w.Text(fmt.Sprint(now.Nanosecond() / 1000))
}

// wait has no replicas to wait for.
func wait(k *call) {
	if _, ok := k.integer(k.args[1]); !ok {
		return
	}
	if _, ok := k.timeout(k.args[2]); ok {
		k.w.Int(0)
	}
}

// waitAOF waits for what was written here, and has no replicas to wait for.
func waitAOF(k *call) {
	local, ok := k.integer(k.args[1])
	if !ok {
		return
	}
	if local < 0 || local > 1 {
		k.fail("ERR value is out of range, must be between 0 and 1")
		return
	}
	if _, ok := k.integer(k.args[2]); !ok {
		return
	}
	if _, ok := k.timeout(k.args[3]); !ok {
		return
	}
	k.all()
	k.w.Array(2)
	k.w.Int(1)
	k.w.Int(0)
}

func (k *call) timeout(p []byte) (int64, bool) {
	n, ok := resp.ParseInt(p)
	switch {
	case !ok:
		k.fail("ERR timeout is not an integer or out of range")
	case n < 0:
		k.fail("ERR timeout is negative")
	}
	return n, ok && n >= 0
}

func commandCommand(k *call) {
	names := make([]string, 0, len(k.s.commands))
	for name := range k.s.commands {
		names = append(names, name)
	}
	slices.Sort(names)
	switch {
	case len(k.args) == 1:
		k.w.Array(len(names))
		for _, n := range names {
			k.describeCommand(n)
		}
	case is(k.args[1], "COUNT") && len(k.args) == 2:
		k.w.Int(int64(len(names)))
	case is(k.args[1], "LIST") && len(k.args) == 2:
		k.w.Array(len(names))
		for _, n := range names {
			k.w.Text(n)
		}
	case is(k.args[1], "INFO"):
		k.w.Array(len(k.args) - 2)
		for _, a := range k.args[2:] {
			k.describeCommand(string(bytes.ToLower(a)))
		}
	case is(k.args[1], "DOCS"):
		k.w.Map(0) // there are none beside Redis' own
	default:
		k.unknownSub("COMMAND", "count list")
	}
}

func (k *call) describeCommand(name string) {
	c := k.s.commands[name]
	if c == nil {
		k.w.Null()
		return
	}
	flags := strings.Fields(c.flags)
	k.w.Array(10)
	k.w.Text(c.name)
	k.w.Int(int64(c.arity))
	k.w.Set(len(flags))
	for _, f := range flags {
		k.w.Status(f)
	}
	k.w.Int(int64(c.first))
	k.w.Int(int64(c.last))
	k.w.Int(int64(c.step))
	k.w.Set(0)   // categories of access control
	k.w.Array(0) // tips
	k.w.Array(0) // key specifications
	k.w.Array(0) // subcommands
}

// settings are what CONFIG GET shows. None can be changed while the server runs.
func (k *call) settings() [][2]string {
	return [][2]string{
		{"appendfsync", "always"},
		{"appendonly", "yes"},
		{"databases", "1"},
		{"maxclients", fmt.Sprint(k.s.cfg.Clients)},
		{"maxmemory", "0"},
		{"maxmemory-clients", fmt.Sprint(k.s.cfg.ClientMemory)},
		{"maxmemory-policy", "noeviction"},
		{"proto-max-bulk-len", fmt.Sprint(k.s.maxBulk())},
		{"save", ""},
		{"timeout", "0"},
	}
}

func config(k *call) {
	switch n := len(k.args); {
	case is(k.args[1], "GET") && n >= 3:
		k.configGet()
	case is(k.args[1], "SET") && n >= 4 && n%2 == 0:
		k.configSet()
	case is(k.args[1], "RESETSTAT") && n == 2:
		k.s.stats = Stats{}
		k.w.Status("OK")
	case is(k.args[1], "REWRITE") && n == 2:
		k.fail("ERR The server is running without a config file")
	default:
		k.unknownSub("CONFIG", "get set resetstat rewrite")
	}
}

func (k *call) configGet() {
	var found [][2]string
	for _, s := range k.settings() {
		if slices.ContainsFunc(k.args[2:], func(p []byte) bool { return match(bytes.ToLower(p), []byte(s[0])) }) {
			found = append(found, s)
		}
	}
	k.w.Map(len(found))
	for _, s := range found {
		k.w.Text(s[0])
		k.w.Text(s[1])
	}
}

// refusals say why a setting is what it is.
var refusals = map[string]string{
	"appendfsync":      "every acknowledged write is durable; clients cannot choose less",
	"appendonly":       "the log is where the data is",
	"maxmemory":        "data is on disk, and nothing is evicted",
	"maxmemory-policy": "data is on disk, and nothing is evicted",
	"save":             "there are no snapshots: every acknowledged write is durable",
}

// configSet accepts what is so already.
func (k *call) configSet() {
	now := k.settings()
	for i := 2; i < len(k.args); i += 2 {
		name := string(bytes.ToLower(k.args[i]))
		at := slices.IndexFunc(now, func(s [2]string) bool { return s[0] == name })
		if at < 0 {
			k.fail(fmt.Sprintf("ERR Unknown option or number of arguments for CONFIG SET - '%s'", k.args[i]))
			return
		}
		if string(k.args[i+1]) != now[at][1] {
			why := refusals[name]
			if why == "" {
				why = "it is chosen when the server is started"
			}
			k.fail(fmt.Sprintf("ERR CONFIG SET failed (possibly related to argument '%s') - %s", k.args[i], why))
			return
		}
	}
	k.w.Status("OK")
}

// info answers with lines of NAME:VALUE in sections, as Redis does; the counters of the engine are in a section of their own.
func info(k *call) {
	var b strings.Builder
	for _, section := range k.sections() {
		wanted := len(k.args) == 1 || slices.ContainsFunc(k.args[1:], func(a []byte) bool {
			return strings.EqualFold(string(a), section.name) || is(a, "ALL") || is(a, "EVERYTHING") || is(a, "DEFAULT")
		})
		if !wanted {
			continue
		}
		if b.Len() > 0 {
			b.WriteString("\r\n")
		}
		fmt.Fprintf(&b, "# %s\r\n", section.name)
		for i := 0; i < len(section.pairs); i += 2 {
			fmt.Fprintf(&b, "%v:%v\r\n", section.pairs[i], section.pairs[i+1])
		}
	}
	k.w.Verbatim(b.String())
}

// section is one of INFO's, with names and values in turn.
type section struct {
	name  string
	pairs []any
}

func (k *call) sections() []section {
	s := k.s
	e := s.store.Stats()
	sealed := "ok"
	if s.store.Sealed() != nil {
		sealed = "err"
	}
	keyspace := section{"Keyspace", nil}
	if e.Keys > 0 {
		keyspace.pairs = []any{"db0", fmt.Sprintf("keys=%d,expires=%d,avg_ttl=0", e.Keys, s.store.Expiring())}
	}
	return []section{
		{"Server", []any{"redis_version", compatible, "usui_version", s.cfg.Version, "redis_mode", "standalone", "process_id", os.Getpid(),
			"uptime_in_seconds", (s.now - s.started) / 1000}},
		{"Clients", []any{"connected_clients", len(s.clients), "maxclients", s.cfg.Clients, "client_memory", s.held, "client_memory_limit", s.cfg.ClientMemory}},
		{"Persistence", []any{"loading", 0, "aof_enabled", 1, "aof_last_write_status", sealed, "durable_sequence", s.store.Durable(), "last_sequence", s.store.Last()}},
		{"Stats", []any{"total_connections_received", s.stats.Accepted, "total_commands_processed", s.stats.Commands, "rejected_connections", s.stats.Rejected,
			"evicted_clients", s.stats.Evicted, "total_net_input_bytes", s.stats.BytesRead, "total_net_output_bytes", s.stats.BytesWritten,
			"keyspace_hits", s.stats.Hits, "keyspace_misses", s.stats.Misses, "expired_keys", e.Expired, "held_replies", s.stats.Held}},
		{"Replication", []any{"role", "master", "connected_slaves", 0}},
		{"Engine", []any{"batches", e.Batches, "syncs", e.Batches, "records", e.Records, "bytes_appended", e.BytesAppended, "bytes_compacted", e.BytesCompacted,
			"segments", e.Segments, "segments_compacted", e.Compacted, "bytes_live", e.Live, "index_bytes", e.Index, "writes_refused", e.Refused,
			"checkpoints", e.Checkpoints, "checkpoints_failed", e.CheckpointsFailed, "checkpoint_syncs", e.CheckpointSyncs, "checkpoint_ignored", e.CheckpointIgnored, "checkpoint_bytes_loaded", e.Loaded,
			"recovered_bytes", e.Recovered, "recovery_microseconds", e.RecoveryTime.Microseconds()}},
		keyspace,
	}
}
