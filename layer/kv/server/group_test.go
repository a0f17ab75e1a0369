package server

import (
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"usui/layer/kv/disktest"
	"usui/layer/kv/engine"
)

// halves has clients execute transactions, and returns what is wrong after crashes in the middle of writes: transactions of which a part is
// there.
func halves(t *testing.T, apart bool, seed uint64) (wrong []string) {
	t.Helper()
	d := disktest.New()
	s := serverOn(t, d)
	s.apart = apart
	random := rand.New(rand.NewPCG(seed, 5))
	const clients = 4
	var all [clients]*client
	var done [clients]int
	for i := range all {
		all[i] = &client{loop: s.loops[0], fd: 1000 + i, id: uint64(i), trusted: true}
		all[i].parser.MaxBulk, all[i].out.Max = s.maxBulk(), outputBytes
	}
	left := make(chan *disktest.Disk, 1000)
	var crashes atomic.Uint64
	d.Written = func() { // by the committer or the keeper of segments, between a write and its sync
		left <- d.Crash(crashes.Add(1))
	}
	for range 150 {
		i := random.IntN(clients)
		done[i]++
		s.execute(all[i], fmt.Appendf(nil, "MULTI\r\nSET x:%d %d\r\nINCR y:%d\r\nGET x:%d\r\nAPPEND z:%d %d,\r\nSET pad:%d %0*d\r\nSADD set:%d %d\r\nHSET h:%d f %d\r\nEXEC\r\n",
			i, done[i], i, i, i, done[i], i, 1+random.IntN(300), 0, i, done[i], i, done[i]))
		all[i].out.Out, all[i].marks = all[i].out.Out[:0], nil
		if s.store.Tend(); random.IntN(3) == 0 {
			s.store.Advance(false)
		}
		if random.IntN(10) == 0 {
			if err := s.store.Drain(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := s.store.Drain(); err != nil {
		t.Fatal(err)
	}
	n := len(left)
	for range n {
		again := serverOn(t, <-left)
		for i := range clients {
			text := func(key string) string {
				e, _ := again.store.Get(fmt.Appendf(nil, "%s:%d", key, i))
				return string(e.Value)
			}
			size := func(key string) (n int) {
				if e, ok := again.store.Get(fmt.Appendf(nil, "%s:%d", key, i)); ok {
					n = e.Collection.Elements.Len()
				}
				return n
			}
			have := 0
			fmt.Sscan(text("x"), &have)
			appended := ""
			for j := range have {
				appended += fmt.Sprint(j+1, ",")
			}
			whole := have == 0 && text("y") == "" || text("y") == fmt.Sprint(have)
			if !whole || text("z") != appended || size("set") != have || size("h") != min(have, 1) {
				wrong = append(wrong, fmt.Sprintf("x has %d, y %q, z %q, the set %d", have, text("y"), text("z"), size("set")))
			}
		}
	}
	if n < 10 {
		t.Errorf("there were %d crashes, want 10 at least", n)
	}
	return wrong
}

// serverOn is newServer on a disk that is given.
func serverOn(t testing.TB, d *disktest.Disk) *Server {
	t.Helper()
	return newServerOn(t, func(o engine.Options) (*engine.Store, error) {
		o.SegmentBytes = engine.MinSegment
		return engine.Open(d, o)
	})
}

func TestACrashNeverLeavesHalfATransaction(t *testing.T) {
	for seed := range uint64(5) {
		for _, w := range halves(t, false, seed) {
			t.Error(w)
		}
	}
}

// TestTheCrashTestNoticesMissingGroups leaves the group out.
func TestTheCrashTestNoticesMissingGroups(t *testing.T) {
	if wrong := halves(t, true, 1); len(wrong) == 0 {
		t.Error("without groups no crash left half a transaction: this test cannot fail")
	} else {
		t.Log(wrong[0])
	}
}

func TestATransactionThatIsTooLongIsRefused(t *testing.T) {
	s := newServer(t)
	c := &client{loop: s.loops[0], fd: 1000, trusted: true}
	c.parser.MaxBulk, c.out.Max = s.maxBulk(), outputBytes
	var p []byte
	p = append(p, "MULTI\r\n"...)
	for i := range 5 {
		p = fmt.Appendf(p, "*3\r\n$3\r\nSET\r\n$2\r\nk%d\r\n$%d\r\n%0*d\r\n", i, s.maxBulk()/4, s.maxBulk()/4, 0)
	}
	s.execute(c, p)
	c.out.Out = c.out.Out[:0]
	s.execute(c, []byte("EXEC\r\n"))
	if got, want := string(c.out.Out), "-EXECABORT Transaction discarded because of: "; len(got) < len(want) || got[:len(want)] != want {
		t.Errorf("EXEC = %q, want %q and why", got, want)
	}
	if s.store.Len() > 0 {
		t.Errorf("a refused transaction left %d keys", s.store.Len())
	}
	// One of commands that write as much as they find has all the room there is.
	c.out.Out = c.out.Out[:0]
	s.execute(c, []byte("MULTI\r\nSETRANGE a 3000 x\r\nAPPEND a x\r\nCOPY a b\r\nRENAME b c\r\nEXPIRE c 100\r\nEXEC\r\n"))
	if got, want := string(c.out.Out[len(c.out.Out)-34:]), "*5\r\n:3001\r\n:3002\r\n:1\r\n+OK\r\n:1\r\n"; got[len(got)-len(want):] != want {
		t.Errorf("EXEC = %q, want %q", c.out.Out, want)
	}
}
