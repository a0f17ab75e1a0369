package server

import (
	"log/slog"
	"testing"

	"golang.org/x/sys/unix"

	"usui/layer/kv/disktest"
	"usui/layer/kv/engine"
)

// TestAClientThatIsServedByAnotherLoopIsNotRead has a client of one loop get what it waits for from another. What it has said meanwhile is executed at the
// end of that one's turn: until then its own loop must not read into the same buffer.
func TestAClientThatIsServedByAnotherLoopIsNotRead(t *testing.T) {
	s, err := New(Config{Loops: 2, Logger: slog.New(slog.DiscardHandler), Open: func(o engine.Options) (*engine.Store, error) {
		o.SegmentBytes = engine.MinSegment
		return engine.Open(disktest.NewMemory(), o)
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close() // nothing depends on it
	var all [2]*client
	for i := range all {
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(pair[1])
		if err := s.Attach(pair[0], Origin{}); err != nil {
			t.Fatal(err)
		}
		all[i] = s.clients[pair[0]]
	}
	waits, pushes := all[0], all[1]
	if waits.loop == pushes.loop {
		t.Fatal("both are in one loop")
	}
	s.lockAll(s.loops[0])
	defer s.unlockAll(nil)
	s.execute(waits, []byte("BLPOP q 0\r\nECHO more\r\n"))
	waits.loop.send()
	s.execute(pushes, []byte("LPUSH q v\r\n"))
	waits.loop.send()
	if waits.wait != nil || waits.events&unix.EPOLLIN != 0 || len(waits.in) == 0 {
		t.Errorf("it waits: %v, is read: %v, has %q to execute; want only the last", waits.wait != nil, waits.events&unix.EPOLLIN != 0, waits.in)
	}
	waits.loop.advance(true)
	waits.loop.send()
	if waits.events&unix.EPOLLIN == 0 || len(waits.in) != 0 {
		t.Errorf("it is read: %v, has %q to execute; want only the first", waits.events&unix.EPOLLIN != 0, waits.in)
	}
}
