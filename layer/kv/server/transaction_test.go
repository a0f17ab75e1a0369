package server

import (
	"strings"
	"testing"
)

// TestAVeryLongTransactionIsExecuted reads more in a transaction than a client may be owed: all of it is executed, and nothing answered.
func TestAVeryLongTransactionIsExecuted(t *testing.T) {
	s := newServer(t)
	c := &client{loop: s.loops[0], fd: 1000, trusted: true}
	c.parser.MaxBulk, c.out.Max = s.maxBulk(), 1000
	s.execute(c, []byte("SET k "+strings.Repeat("x", 300)+"\r\nMULTI\r\n"+strings.Repeat("GET k\r\n", 5)+"INCR n\r\n"))
	c.out.Out = c.out.Out[:0]
	s.execute(c, []byte("EXEC\r\n"))
	if len(c.out.Out) > 0 || !c.closing {
		t.Errorf("EXEC = %q, closing %v; want nothing, and the end", c.out.Out, c.closing)
	}
	if e, _ := s.store.Get([]byte("n")); string(e.Value) != "1" {
		t.Errorf("a write at the end of that transaction: %q, want 1", e.Value)
	}
	c = &client{loop: s.loops[0], fd: 1001, trusted: true}
	c.parser.MaxBulk, c.out.Max = s.maxBulk(), 1000
	s.execute(c, []byte("MGET k k k k\r\n"))
	if len(c.out.Out) > 0 || !c.closing {
		t.Errorf("MGET = %q, closing %v; want nothing, and the end", c.out.Out, c.closing)
	}
}

// TestTransactionsAllocateNothing looks at the steady state.
func TestTransactionsAllocateNothing(t *testing.T) {
	s := newServer(t)
	c := &client{loop: s.loops[0], fd: 1000, trusted: true}
	c.parser.MaxBulk, c.out.Max = s.maxBulk(), outputBytes
	listener := &client{loop: s.loops[0], fd: 1001}
	s.join(listener, channels, "c")
	p := []byte("MULTI\r\nSET k v\r\nGET k\r\nINCR n\r\nEXEC\r\nPUBLISH c x\r\n")
	once := func() {
		c.out.Out, c.marks = c.out.Out[:0], c.marks[:0]
		listener.out.Out, listener.marks = listener.out.Out[:0], listener.marks[:0]
		s.execute(c, p)
	}
	once()
	if n := testing.AllocsPerRun(100, once); n != 0 {
		t.Errorf("a transaction and a message allocate %v times, want 0", n)
	}
}
