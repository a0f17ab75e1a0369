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
	s.stats = Stats{}
	clear(s.errors)
	for _, c := range s.all() {
		c.use = use{}
	}
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
func (s *Server) countError(text string) {
	word, _, _ := strings.Cut(text, " ")
	s.stats.ErrorReplies++
	s.errors[word]++
}

func sortedKeys(m map[string]uint64) []string { return slices.Sorted(maps.Keys(m)) }
