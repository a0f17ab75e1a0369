package server

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"usui/layer/kv/collection"
	"usui/layer/kv/resp"
)

func configCommands() []command {
	const flags = "admin noscript loading stale"
	return []command{
		{"config", -2, "", 0, 0, 0, nil},
		{"config|get", -3, flags, 0, 0, 0, configGet},
		{"config|set", -4, flags, 0, 0, 0, configSet},
		{"config|resetstat", 2, flags, 0, 0, 0, func(k *call) { k.s.resetStats(); k.w.Status("OK") }},
		{"config|rewrite", 2, flags, 0, 0, 0, func(k *call) { k.fail("ERR The server is running without a config file") }},
	}
}

// setting is what CONFIG shows. One without set is what it is, for a reason.
type setting struct {
	name string
	get  func(s *Server) string
	set  func(s *Server, value string) (apply func(), problem string)
	why  string
}

// settings are in the order of their names.
func settings() []setting {
	fixed := func(name, value, why string) setting {
		return setting{name, func(*Server) string { return value }, nil, why}
	}
	const started = "it is chosen when the server is started"
	return []setting{
		fixed("appendfsync", "always", "every acknowledged write is durable; clients cannot choose less"),
		fixed("appendonly", "yes", "the log is where the data is"),
		{"client-output-buffer-limit", (*Server).outputLimits, setOutputLimits, ""},
		fixed("databases", "1", started),
		limit("hash-max-listpack-entries", func(l *collection.Limits) *int { return &l.HashEntries }),
		limitBytes("hash-max-listpack-value", func(l *collection.Limits) *int { return &l.HashValue }),
		limit("hash-max-ziplist-entries", func(l *collection.Limits) *int { return &l.HashEntries }),
		limitBytes("hash-max-ziplist-value", func(l *collection.Limits) *int { return &l.HashValue }),
		fixed("latency-monitor-threshold", "0", "there is no latency monitor; see SLOWLOG, and the histograms of --metrics-listen"),
		wholeNumber("list-compress-depth", 0, math.MaxInt32, func(s *Server) *int { return &s.listDepth }),
		wholeNumber("list-max-listpack-size", math.MinInt32, math.MaxInt32, func(s *Server) *int { return &s.listSize }),
		wholeNumber("list-max-ziplist-size", math.MinInt32, math.MaxInt32, func(s *Server) *int { return &s.listSize }),
		{"maxclients", func(s *Server) string { return fmt.Sprint(s.cfg.Clients) }, setNumber(1, math.MaxInt32, func(s *Server, n int64) { s.cfg.Clients = int(n) }), ""},
		fixed("maxmemory", "0", "data is on disk, and nothing is evicted"),
		{"maxmemory-clients", func(s *Server) string { return fmt.Sprint(s.cfg.ClientMemory) }, nil, started},
		fixed("maxmemory-policy", "noeviction", "data is on disk, and nothing is evicted"),
		fixed("notify-keyspace-events", "", "there are no messages about changes of keys"),
		{"proto-max-bulk-len", func(s *Server) string { return fmt.Sprint(s.maxBulk()) }, nil, "it is a quarter of a segment of the log"},
		fixed("save", "", "there are no snapshots: every acknowledged write is durable"),
		limit("set-max-intset-entries", func(l *collection.Limits) *int { return &l.SetEntries }),
		{"slowlog-log-slower-than", func(s *Server) string { return fmt.Sprint(s.slow.threshold) },
			setNumber(-1, math.MaxInt64, func(s *Server, n int64) { s.slow.threshold = n }), ""},
		{"slowlog-max-len", func(s *Server) string { return fmt.Sprint(s.slow.most) }, setNumber(0, maxSlow, func(s *Server, n int64) { s.slow.keep(int(n)) }), ""},
		fixed("tcp-keepalive", "300", started),
		fixed("timeout", "0", "idle clients take no memory and stay"),
		limit("zset-max-listpack-entries", func(l *collection.Limits) *int { return &l.ZSetEntries }),
		limitBytes("zset-max-listpack-value", func(l *collection.Limits) *int { return &l.ZSetValue }),
		limit("zset-max-ziplist-entries", func(l *collection.Limits) *int { return &l.ZSetEntries }),
		limitBytes("zset-max-ziplist-value", func(l *collection.Limits) *int { return &l.ZSetValue }),
	}
}

// wholeNumber is a setting that is a whole number and changes nothing but itself.
func wholeNumber(name string, least, most int64, of func(*Server) *int) setting {
	return setting{name, func(s *Server) string { return fmt.Sprint(*of(s)) }, setNumber(least, most, func(s *Server, n int64) { *of(s) = int(n) }), ""}
}

// limit is one up to which OBJECT ENCODING tells of a compact encoding. It has two names, as in Redis.
func limit(name string, of func(*collection.Limits) *int) setting {
	return wholeNumber(name, 0, math.MaxInt32, func(s *Server) *int { return of(s.limits) })
}

// limitBytes is limit for a number of bytes.
func limitBytes(name string, of func(*collection.Limits) *int) setting {
	l := limit(name, of)
	l.set = func(s *Server, value string) (func(), string) {
		n, ok := memorySize(value)
		if !ok {
			return nil, "argument must be a memory value"
		}
		return func() { *of(s.limits) = n }, ""
	}
	return l
}

// setNumber makes the set of a setting that is a whole number.
func setNumber(least, most int64, apply func(*Server, int64)) func(*Server, string) (func(), string) {
	return func(s *Server, value string) (func(), string) {
		n, ok := resp.ParseInt([]byte(value))
		switch {
		case !ok:
			return nil, "argument couldn't be parsed into an integer"
		case n < least || n > most:
			return nil, fmt.Sprintf("argument must be between %d and %d inclusive", least, most)
		}
		return func() { apply(s, n) }, ""
	}
}

func (s *Server) outputLimits() string {
	l := s.pubsubLimit
	return fmt.Sprintf("normal %d 0 0 slave 0 0 0 pubsub %d %d %d", outputBytes, l.hard, l.soft, l.seconds)
}

// setOutputLimits changes the limits of subscribers. Those of other clients are in the nature of the server: it does not read from who does
// not read.
func setOutputLimits(s *Server, value string) (func(), string) {
	w := strings.Fields(value)
	if len(w) == 0 || len(w)%4 != 0 {
		return nil, "Wrong number of arguments in buffer limit configuration."
	}
	l := s.pubsubLimit
	for ; len(w) > 0; w = w[4:] {
		class := strings.ToLower(w[0])
		if !slices.Contains([]string{"normal", "slave", "replica", "pubsub"}, class) {
			return nil, "Invalid client class specified in buffer limit configuration."
		}
		hard, ok1 := memorySize(w[1])
		soft, ok2 := memorySize(w[2])
		seconds, ok3 := resp.ParseInt([]byte(w[3]))
		switch {
		case !ok1 || !ok2 || !ok3 || seconds < 0:
			return nil, "Error in hard, soft or soft_seconds setting in buffer limit configuration."
		case class != "pubsub" && !strings.Contains(s.outputLimits(), fmt.Sprintf("%s %d %d %d", strings.Replace(class, "replica", "slave", 1), hard, soft, seconds)):
			return nil, "the limit of other clients than subscribers cannot be changed"
		case class == "pubsub":
			l = outputLimit{hard, soft, seconds}
		}
	}
	return func() { s.pubsubLimit = l }, ""
}

// memorySize reads a number of bytes with a unit, as in 32mb.
func memorySize(text string) (int, bool) {
	text = strings.ToLower(text)
	unit := int64(1)
	for _, u := range []struct {
		suffix string
		bytes  int64
	}{{"kb", 1 << 10}, {"mb", 1 << 20}, {"gb", 1 << 30}, {"k", 1e3}, {"m", 1e6}, {"g", 1e9}, {"b", 1}} {
		if rest, ok := strings.CutSuffix(text, u.suffix); ok {
			text, unit = rest, u.bytes
			break
		}
	}
	n, err := strconv.ParseInt(text, 10, 64)
	return int(n * unit), err == nil && n >= 0 && n <= math.MaxInt64/unit
}

func configGet(k *call) {
	var found []setting
	for _, s := range k.s.settings {
		if slices.ContainsFunc(k.args[2:], func(p []byte) bool { return match(bytes.ToLower(p), []byte(s.name)) }) {
			found = append(found, s)
		}
	}
	k.w.Map(len(found))
	for _, s := range found {
		k.w.Text(s.name)
		k.w.Text(s.get(k.s))
	}
}

// configSet changes all settings that it names, or none. What is so already may always be set.
func configSet(k *call) {
	if len(k.args)%2 != 0 {
		k.fail(errSyntax)
		return
	}
	var chosen []setting
	for i := 2; i < len(k.args); i += 2 {
		name := strings.ToLower(string(k.args[i]))
		at, ok := slices.BinarySearchFunc(k.s.settings, name, func(s setting, name string) int { return cmp.Compare(s.name, name) })
		if !ok {
			k.fail(fmt.Sprintf("ERR Unknown option or number of arguments for CONFIG SET - '%s'", k.args[i]))
			return
		}
		if slices.ContainsFunc(chosen, func(s setting) bool { return s.name == name }) {
			k.configFailed(k.args[i], "duplicate parameter")
			return
		}
		chosen = append(chosen, k.s.settings[at])
	}
	var apply []func()
	for i, s := range chosen {
		name, value := k.args[2+2*i], string(k.args[3+2*i])
		if s.set == nil {
			if value != s.get(k.s) {
				k.configFailed(name, s.why)
				return
			}
			continue
		}
		f, problem := s.set(k.s, value)
		if problem != "" {
			k.configFailed(name, problem)
			return
		}
		apply = append(apply, f)
	}
	for _, f := range apply {
		f()
	}
	k.w.Status("OK")
}

func (k *call) configFailed(name []byte, why string) {
	k.fail(fmt.Sprintf("ERR CONFIG SET failed (possibly related to argument '%s') - %s", name, why))
}
