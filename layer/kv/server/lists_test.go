package server

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"usui/layer/kv/collection"
)

// talker is a client without a connection.
func talker(s *Server) *client {
	c := &client{loop: s.loops[0], fd: 1000, trusted: true}
	c.parser.MaxBulk, c.out.Max = s.maxBulk(), outputBytes
	return c
}

// say executes lines and returns the replies.
func (c *client) say(s *Server, lines string) string {
	c.out.Out, c.marks = c.out.Out[:0], c.marks[:0]
	s.execute(c, []byte(strings.ReplaceAll(lines, "\n", "\r\n")))
	return string(c.out.Out)
}

// TestListsGoOnAtTheLastLabels begins with elements that have the first and the last labels that there are.
func TestListsGoOnAtTheLastLabels(t *testing.T) {
	for _, labels := range [][]uint64{{0, 1, 2}, {math.MaxUint64 - 2, math.MaxUint64 - 1, math.MaxUint64}, {0, 1 << 63, math.MaxUint64}, {5, 6, 7}} {
		s := newServer(t)
		l := s.store.NewCollection(collection.List)
		for i, n := range labels {
			label := collection.Label(n)
			if err := s.store.PutElement(l, label[:], fmt.Append(nil, "old", i)); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.store.PutCollection([]byte("l"), l, 0); err != nil {
			t.Fatal(err)
		}
		c := talker(s)
		got := c.say(s, "RPUSH l a b\nLPUSH l c d\nLINSERT l BEFORE old1 e\nLINSERT l AFTER old1 f\nRPOPLPUSH l l\nEXPIRE l 1000\nLMOVE l l RIGHT LEFT\n"+strings.Repeat("LINSERT l AFTER f g\n", 60)+"LREM l 0 g\nLRANGE l 0 -1\nTTL l\n")
		if want := "*9\n$1\na\n$1\nb\n$1\nd\n$1\nc\n$4\nold0\n$1\ne\n$4\nold1\n$1\nf\n$4\nold2\n:1000\n"; !strings.HasSuffix(got, strings.ReplaceAll(want, "\n", "\r\n")) {
			t.Errorf("labels %x: %q, want the end %q", labels, got, want)
		}
	}
}

func TestListsAndSortedSetsInSteadyStateAllocateNothing(t *testing.T) {
	s := newServer(t)
	c := talker(s)
	p := []byte("RPUSH l a b\r\nLPOP l\r\nLPUSH l c\r\nRPOP l\r\nLSET l 0 d\r\nLINDEX l 0\r\nLRANGE l 0 -1\r\nLMOVE l l LEFT RIGHT\r\nRPOP l 1\r\nRPUSH l x\r\n" +
		"ZADD z 1 a 2 b\r\nZINCRBY z 1 a\r\nZSCORE z a\r\nZRANK z b\r\nZRANGE z 0 -1 WITHSCORES\r\nZRANGEBYSCORE z (1 +inf LIMIT 0 1\r\nZCOUNT z 1 2\r\n")
	c.say(s, "RPUSH l 1 2 3 4 5 6\nLPOP l 2\nZADD z 1 a 2 b 3 c\n")
	once := func() {
		c.out.Out, c.marks = c.out.Out[:0], c.marks[:0]
		s.execute(c, p)
	}
	once()
	if strings.Contains(string(c.out.Out), "-ERR") {
		t.Fatalf("%q", c.out.Out)
	}
	if n := testing.AllocsPerRun(100, once); n != 0 {
		t.Errorf("commands of lists and sorted sets allocate %v times, want 0", n)
	}
}
