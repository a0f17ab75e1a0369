package vhostuser_test

import (
	"encoding/binary"
	"errors"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"usui/host/eventfd"
	"usui/host/vhostuser"
	"usui/host/vhostuser/vhostusertest"
)

// short is a time-out for back ends that never answer; nothing depends on how long it takes.
const short = 20 * time.Millisecond

// modern is a back end with all that the front end can use.
func modern() *vhostusertest.Backend {
	return &vhostusertest.Backend{
		Features: vhostusertest.Usual | 1, Queues: 2,
		ProtocolFeatures: 0xffff, // most of which the front end must not accept
	}
}

// connect makes a client of b, closed at the end of the test.
func connect(t *testing.T, b *vhostusertest.Backend) *vhostuser.Client {
	t.Helper()
	c, err := vhostuser.New(vhostuser.Config{Conn: b.Start(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// session is a session with two rings, on descriptors that live as long as the test.
func session(t *testing.T) vhostuser.Session {
	t.Helper()
	var fds []int
	for range 4 {
		e, err := eventfd.New()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { e.Close() })
		fds = append(fds, int(e.Fd()))
	}
	memory, err := unix.MemfdCreate("memory", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(memory) })
	return vhostuser.Session{
		Features: 1<<32 | 1<<28, Memory: memory,
		Regions: []vhostuser.Region{{0, 0x1000, 0x7f0000000000, 0}, {1 << 32, 0x2000, 0x7f1000000000, 0x1000}},
		Rings: []vhostuser.Ring{
			{Index: 0, Size: 8, Desc: 0x7f0000000000, Avail: 0x7f0000000100, Used: 0x7f0000000200, Kick: fds[0], Call: fds[1]},
			{Index: 1, Size: 256, Base: 7, Desc: 0x7f1000000000, Avail: 0x7f1000001000, Used: 0x7f1000001800, Kick: fds[2], Call: fds[3]},
		},
	}
}

// openFiles is how many descriptors this process has.
func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestRingsAreHandedOverAndTakenBack(t *testing.T) {
	for name, protocol := range map[string]uint64{"no protocol features": 0, "all": 0xffff, "no acknowledgements": vhostuser.ProtocolMQ} {
		t.Run(name, func(t *testing.T) {
			var mu sync.Mutex // the race detector sees no order in what crosses a socket
			var given []vhostusertest.Ring
			var stopped []int
			b := modern()
			if b.ProtocolFeatures = protocol; protocol == 0 {
				b.Features &^= vhostuser.FeatureProtocol
			}
			b.Started = func(r vhostusertest.Ring) { mu.Lock(); given = append(given, r); mu.Unlock() }
			b.Stopped = func(i int) { mu.Lock(); stopped = append(stopped, i); mu.Unlock() }
			c := connect(t, b)
			if got, want := c.Features(), b.Features&^uint64(vhostuser.FeatureProtocol); got != want {
				t.Errorf("Features = %#x, want %#x", got, want)
			}
			if got := c.Queues(); got != 2 && protocol != 0 || got != 0 && protocol == 0 {
				t.Errorf("Queues = %d", got)
			}
			s := session(t)
			for range 3 {
				mu.Lock()
				given, stopped = nil, nil
				mu.Unlock()
				if err := c.Start(s); err != nil {
					t.Fatal(err)
				}
				if err := c.Stop(); err != nil { // its replies come behind all that Start sent
					t.Fatal(err)
				}
				mu.Lock()
				checkGiven(t, b, s, given)
				mu.Unlock()
				if !slices.Equal(stopped, []int{0, 1}) {
					t.Errorf("rings %v are stopped, want both", stopped)
				}
			}
		})
	}
}

// checkGiven compares what the back end got with what was sent.
func checkGiven(t *testing.T, b *vhostusertest.Backend, s vhostuser.Session, given []vhostusertest.Ring) {
	t.Helper()
	if want := s.Features | b.Features&vhostuser.FeatureProtocol; b.Accepted() != want {
		t.Errorf("features %#x, want %#x", b.Accepted(), want)
	}
	if !slices.Equal(b.Regions(), s.Regions) {
		t.Errorf("regions %+v, want %+v", b.Regions(), s.Regions)
	}
	if len(given) != len(s.Rings) {
		t.Fatalf("%d rings, want %d", len(given), len(s.Rings))
	}
	for i, r := range given {
		r.Kick, r.Call = s.Rings[i].Kick, s.Rings[i].Call // they have other numbers there
		if r.Ring != s.Rings[i] {
			t.Errorf("ring %d is %+v, want %+v", i, r.Ring, s.Rings[i])
		}
	}
}

func TestADriverThatPolls(t *testing.T) {
	b := modern()
	files := make(chan *os.File, 1)
	b.Started = func(r vhostusertest.Ring) { files <- r.CallFile }
	s := session(t)
	s.Rings = s.Rings[:1]
	s.Rings[0].Call = -1
	if err := connect(t, b).Start(s); err != nil {
		t.Fatal(err)
	}
	if f := <-files; f != nil {
		t.Errorf("a driver that polls is interrupted by %v", f)
	}
}

// The descriptors that arrive are those that were sent, each in its place.
func TestEventsCrossTheConnection(t *testing.T) {
	b := modern()
	crossed := make(chan error, 1)
	kick, err := eventfd.New()
	if err != nil {
		t.Fatal(err)
	}
	defer kick.Close()
	call, err := eventfd.New()
	if err != nil {
		t.Fatal(err)
	}
	defer call.Close()
	b.Started = func(r vhostusertest.Ring) {
		var count [8]byte
		_, err := unix.Read(int(r.KickFile.Fd()), count[:])
		if err == nil {
			_, err = unix.Write(int(r.CallFile.Fd()), count[:])
		}
		crossed <- err
	}
	c := connect(t, b)
	s := session(t)
	s.Rings = s.Rings[:1]
	s.Rings[0].Kick, s.Rings[0].Call = int(kick.Fd()), int(call.Fd())
	if err := kick.Signal(); err != nil {
		t.Fatal(err)
	}
	if err := c.Start(s); err != nil {
		t.Fatal(err)
	}
	if err := <-crossed; err != nil {
		t.Fatal(err)
	}
	if err := call.Wait(); err != nil {
		t.Fatal(err)
	}
}

// mistakes are replies that are none, with the words of the error.
var mistakes = map[string]struct {
	change func([]byte) []byte
	want   string
}{
	"silence":        {func([]byte) []byte { return nil }, "did not answer"},
	"half a header":  {func(b []byte) []byte { return b[:5] }, "did not answer"},
	"half a payload": {func(b []byte) []byte { return b[:15] }, "did not answer"},
	"another kind":   {func(b []byte) []byte { b[0]++; return b }, "answers"},
	"no reply flag":  {func(b []byte) []byte { b[4] = 1; return b }, "with flags 0x1, want 0x5"},
	"version 2":      {func(b []byte) []byte { b[4] = 6; return b }, "with flags 0x6"},
	"long":           {func(b []byte) []byte { b[8] = 9; return append(b, 0) }, "with 9 bytes, want 8"},
	"huge":           {func(b []byte) []byte { binary.LittleEndian.PutUint32(b[8:], 0xffffffff); return b }, "with 4294967295 bytes"},
	"empty":          {func(b []byte) []byte { b[8] = 0; return b[:12] }, "with 0 bytes"},
}

// whole are the requests whose replies are worth being wrong, and what the front end does then.
var whole = []vhostuser.Request{vhostuser.GetFeatures, vhostuser.GetProtocolFeatures, vhostuser.GetQueueNum, vhostuser.SetOwner,
	vhostuser.SetMemTable, vhostuser.SetVringKick, vhostuser.SetVringEnable, vhostuser.GetVringBase}

// A back end that lies, is silent or dies in the middle of anything gives an error, and all that follows gives the same one.
func TestBackEndsThatMisbehave(t *testing.T) {
	cases := map[string]struct {
		change func([]byte) []byte
		want   string
	}{"death": {nil, "closed the connection"}}
	for name, m := range mistakes {
		cases[name] = m
	}
	for _, request := range whole {
		for name, m := range cases {
			t.Run(request.String()+" "+name, func(t *testing.T) {
				b := modern()
				change := m.change
				if change == nil {
					change = func([]byte) []byte { b.Die(); return nil }
				}
				b.Mistakes = map[vhostuser.Request]func([]byte) []byte{request: change}
				timeout := time.Duration(0)
				if strings.Contains(m.want, "did not") {
					timeout = short
				}
				if err := talk(t, b, timeout); err == nil || !strings.Contains(err.Error(), m.want) {
					t.Errorf("error %v, want %q", err, m.want)
				}
			})
		}
	}
}

// talk is a whole life of a client; it returns the first error, after it saw that the client stays with it.
func talk(t *testing.T, b *vhostusertest.Backend, timeout time.Duration) error {
	t.Helper()
	before := runtime.NumGoroutine()
	c, err := vhostuser.New(vhostuser.Config{Conn: b.Start(t), Timeout: timeout})
	if err != nil {
		return err
	}
	defer func() {
		c.Close()
		if n := runtime.NumGoroutine(); n > before+2 { // the back end's, and one that is about to end
			t.Errorf("%d goroutines, before %d", n, before)
		}
	}()
	s := session(t)
	err = c.Start(s)
	if err == nil {
		err = c.Stop()
	}
	if err == nil {
		return nil
	}
	<-c.Lost()
	for i, again := range []error{c.Start(s), c.Stop(), c.Err()} {
		if again == nil || again.Error() != err.Error() && i > 0 {
			t.Errorf("after %v comes %v", err, again)
		}
	}
	return err
}

func TestRefusalsAndWrongRings(t *testing.T) {
	b := modern()
	b.Mistakes = map[vhostuser.Request]func([]byte) []byte{vhostuser.SetMemTable: func(r []byte) []byte { r[12] = 1; return r }}
	if err := talk(t, b, 0); err == nil || !strings.Contains(err.Error(), "refuses SET_MEM_TABLE with status 1") {
		t.Errorf("error %v, want the refusal", err)
	}
	b = modern()
	b.Mistakes = map[vhostuser.Request]func([]byte) []byte{vhostuser.GetVringBase: func(r []byte) []byte { r[12] += 3; return r }}
	if err := talk(t, b, 0); err == nil || !strings.Contains(err.Error(), "for ring 0 with ring 3") {
		t.Errorf("error %v, want the wrong ring", err)
	}
	if err := connect(t, modern()).Start(vhostuser.Session{Regions: make([]vhostuser.Region, 9)}); err == nil {
		t.Error("nine regions are accepted")
	}
}

// Words that nobody asked for end the connection, and descriptors with them do not stay open.
func TestUnaskedWordsEndTheConnection(t *testing.T) {
	for name, words := range map[string][]byte{
		"reply": vhostusertest.Reply(vhostuser.GetFeatures, 1), "noise": []byte(strings.Repeat("noise ", 100)),
	} {
		t.Run(name, func(t *testing.T) {
			b := modern()
			c := connect(t, b)
			before := openFiles(t)
			b.Say(words)
			<-c.Lost()
			if err := c.Err(); err == nil || !strings.Contains(err.Error(), "nobody asked") {
				t.Errorf("error %v, want that nobody asked", err)
			}
			if n := openFiles(t); n > before {
				t.Errorf("%d open files, before %d", n, before)
			}
		})
	}
}

// A back end that reads nothing cannot hold a writer.
func TestABackEndThatDoesNotRead(t *testing.T) {
	front, back := vhostusertest.Pair(t)
	if _, err := back.Write(vhostusertest.Reply(vhostuser.GetFeatures, 1<<32)); err != nil {
		t.Fatal(err)
	}
	c, err := vhostuser.New(vhostuser.Config{Conn: front, Timeout: short})
	for i := 0; err == nil && i < 1e5; i++ {
		err = c.Start(session(t))
	}
	// The first reply may come before it is asked for.
	if err == nil || !strings.Contains(err.Error(), "did not take") && !strings.Contains(err.Error(), "nobody asked") {
		t.Errorf("error %v, want that nobody reads", err)
	}
	if c != nil {
		c.Close()
	}
}

func TestCloseEndsACall(t *testing.T) {
	b := modern()
	asked := make(chan struct{})
	b.Mistakes = map[vhostuser.Request]func([]byte) []byte{vhostuser.GetVringBase: func([]byte) []byte { close(asked); return nil }}
	c := connect(t, b)
	if err := c.Start(session(t)); err != nil {
		t.Fatal(err)
	}
	stopped := make(chan error)
	go func() { stopped <- c.Stop() }()
	<-asked
	c.Close()
	if err := <-stopped; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Stop = %v, want net.ErrClosed", err)
	}
	c.Close() // again: nothing
}

func TestNothingStaysOpen(t *testing.T) {
	files, routines := openFiles(t), runtime.NumGoroutine()
	for range 20 {
		t.Run("", func(t *testing.T) {
			c := connect(t, modern())
			if err := c.Start(session(t)); err != nil {
				t.Fatal(err)
			}
		})
	}
	if n := openFiles(t); n > files {
		t.Errorf("%d open files, before %d", n, files)
	}
	for range 1 << 20 {
		if runtime.NumGoroutine() <= routines {
			return
		}
		runtime.Gosched()
	}
	t.Errorf("%d goroutines, before %d", runtime.NumGoroutine(), routines)
}

// FuzzReplies lets bytes be all that a back end ever says.
func FuzzReplies(f *testing.F) {
	good := vhostusertest.Reply(vhostuser.GetFeatures, vhostusertest.Usual)
	good = append(good, vhostusertest.Reply(vhostuser.GetProtocolFeatures, 9)...)
	f.Add(good)
	good = append(good, vhostusertest.Reply(vhostuser.SetProtocolFeatures, 0)...)
	f.Add(append(good, vhostusertest.Reply(vhostuser.GetQueueNum, 1<<40)...))
	f.Add([]byte("no reply at all, but long enough"))
	f.Fuzz(func(t *testing.T, said []byte) {
		if len(said) > 1<<12 {
			return
		}
		front, back := vhostusertest.Pair(t)
		if _, err := back.Write(said); err != nil {
			t.Fatal(err)
		}
		if err := back.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		c, err := vhostuser.New(vhostuser.Config{Conn: front})
		if err != nil {
			return
		}
		defer c.Close()
		if n := c.Queues(); n < 0 || n > 256 {
			t.Errorf("Queues = %d", n)
		}
		_ = c.Start(session(t))
		_ = c.Stop()
	})
}
