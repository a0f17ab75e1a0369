package server

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"
)

// Stats counts what a server did.
type Stats struct {
	Commands       uint64
	Accepted       uint64 // connections
	Rejected       uint64 // connections, because there were too many
	Evicted        uint64 // connections, because of their memory
	OutputLimit    uint64 // connections, because they did not fetch what was published
	ProtocolErrors uint64
	ErrorReplies   uint64
	BytesRead      uint64
	BytesWritten   uint64
	Hits, Misses   uint64 // keys that reads found or did not
	Held           uint64 // replies that waited for a batch
	Calls          uint64 // system calls of the loops: to wait, read and write
}

// use counts what became of a command.
type use struct {
	calls, rejected, failed uint64
	took                    time.Duration
}

// resetStats is CONFIG RESETSTAT.
func (s *Server) resetStats() {
	for _, l := range s.loops {
		l.stats = Stats{}
		clear(l.errors)
		clear(l.uses)
	}
}

// stats is what all loops counted.
func (s *Server) stats() (all Stats) {
	for _, l := range s.loops {
		all.add(&l.stats)
	}
	return all
}

func (st *Stats) add(more *Stats) {
	st.Commands += more.Commands
	st.Accepted += more.Accepted
	st.Rejected += more.Rejected
	st.Evicted += more.Evicted
	st.OutputLimit += more.OutputLimit
	st.ProtocolErrors += more.ProtocolErrors
	st.ErrorReplies += more.ErrorReplies
	st.BytesRead += more.BytesRead
	st.BytesWritten += more.BytesWritten
	st.Hits += more.Hits
	st.Misses += more.Misses
	st.Held += more.Held
	st.Calls += more.Calls
}

// use is what became of a command in all loops.
func (s *Server) use(cmd *known) (all use) {
	for _, l := range s.loops {
		u := &l.uses[cmd.number]
		all.calls, all.rejected, all.failed, all.took = all.calls+u.calls, all.rejected+u.rejected, all.failed+u.failed, all.took+u.took
	}
	return all
}

// all is the commands that can be executed, subcommands among them, in the order of their names.
func (s *Server) all() []*known {
	var all []*known
	for _, c := range s.commands {
		if c.run != nil {
			all = append(all, c)
		}
		for _, sub := range c.subs {
			all = append(all, sub)
		}
	}
	slices.SortFunc(all, func(a, b *known) int { return cmp.Compare(a.name, b.name) })
	return all
}

// countError counts an error by its first word.
func (l *loop) countError(text string) {
	word, _, _ := strings.Cut(text, " ")
	l.stats.ErrorReplies++
	l.errors[word]++
}

func sortedKeys(m map[string]uint64) []string { return slices.Sorted(maps.Keys(m)) }
