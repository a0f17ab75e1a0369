package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"usui/layer/kv/disktest"
	"usui/layer/kv/engine"
)

// sharded makes a server with some loops, and as many shards or more, on a disk in memory.
func sharded(t *testing.T, loops int) *Server {
	t.Helper()
	s, err := New(Config{Loops: loops, Logger: slog.New(slog.DiscardHandler), Open: func(o engine.Options) (*engine.Store, error) {
		o.SegmentBytes = 1 << 20
		return engine.Open(disktest.New(), o)
	}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// running is sharded that serves until the test ends, with a client of each loop.
func running(t *testing.T, loops int) (s *Server, clients []*os.File) {
	t.Helper()
	s = sharded(t, loops)
	for range loops {
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(unix.SetNonblock(pair[0], true), s.Attach(pair[0], Origin{})); err != nil {
			t.Fatal(err)
		}
		f := os.NewFile(uintptr(pair[1]), "client")
		t.Cleanup(func() { f.Close() })
		clients = append(clients, f)
	}
	for i, l := range s.loops {
		if l.clients != 1 {
			t.Fatalf("loop %d has %d clients, want 1", i, l.clients)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- errors.Join(s.Run(ctx), s.Close()) }() // ends when the test does
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s, clients
}

// keysOfShards is one key of each shard.
func keysOfShards(s *Server) (keys []string) {
	met := map[engine.Shards]bool{}
	for i := 0; len(keys) < len(s.locks); i++ {
		key := fmt.Sprint("key", i)
		if shard := s.store.Shard([]byte(key)); !met[shard] {
			met[shard] = true
			keys = append(keys, key)
		}
	}
	return keys
}

func send(t *testing.T, f *os.File, line string) {
	t.Helper()
	if _, err := f.WriteString(line + "\r\n"); err != nil {
		t.Fatal(err)
	}
}

func expect(t *testing.T, f *os.File, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(f, got); err != nil || string(got) != want {
		t.Fatalf("a reply is %q, %v; want %q", got, err, want)
	}
}

// TestCommandsOfDifferentShardsGoOnSideBySide holds the lock of one shard. A command of its key, or of its key among others, waits for that; commands of other shards,
// by another loop, come to their end meanwhile, with the sync that they wait for.
func TestCommandsOfDifferentShardsGoOnSideBySide(t *testing.T) {
	for _, waiting := range []string{"SET %[1]s x", "MSET %[2]s x %[1]s x", "LMOVE %[2]s %[1]s LEFT LEFT\r\nSET %[1]s x"} {
		for i := range 2 {
			s, clients := running(t, 3)
			keys := keysOfShards(s)
			held, beside, other := []byte(keys[0]), keys[1], keys[2]
			hold := s.store.Share(func() int64 { return 0 })
			hold.Lock(s.store.Shard(held))
			waits, goes := clients[i], clients[1-i]
			send(t, waits, fmt.Sprintf(waiting, held, beside))
			for s.locks[i].TryLock() { // its loop is not in the command yet
				s.locks[i].Unlock()
				runtime.Gosched()
			}
			for n := range 100 {
				send(t, goes, fmt.Sprintf("SET %s %d\r\nGET %s\r\nPING", other, n, other))
				expect(t, goes, fmt.Sprintf("+OK\r\n$%d\r\n%d\r\n+PONG\r\n", len(fmt.Sprint(n)), n))
			}
			if _, is := hold.Get(held); is {
				t.Errorf("%q was executed while another had the shard", waiting)
			}
			hold.Unlock()
			send(t, waits, fmt.Sprintf("GET %s", held))
			want := "+OK\r\n$1\r\nx\r\n"
			if waiting[0] == 'L' {
				want = "$-1\r\n" + want
			}
			expect(t, waits, want)
		}
	}
}

// TestSomeCommandsTakeAll names commands that are about more than the keys that they name: a loop does not execute them beside others.
func TestSomeCommandsTakeAll(t *testing.T) {
	for _, command := range []string{"DBSIZE", "FLUSHALL", "SCAN 0", "EXEC", "KEYS *", "RANDOMKEY", "INFO", "PUBLISH c m", "WATCH k", "CLIENT LIST", "SORT l BY w*", "BLPOP l 0"} {
		s := sharded(t, 2)
		l := s.loops[0]
		l.lock()
		c := &client{loop: l, fd: 1000, trusted: true}
		c.parser.MaxBulk, c.out.Max = s.maxBulk(), outputBytes
		args, n, err := c.parser.Next([]byte(command + "\r\n"))
		if n == 0 || err != nil {
			t.Fatal(n, err)
		}
		k := l.call(c, args)
		if cmd := k.lookup(args); !k.needsAll(cmd) {
			t.Errorf("%s is executed beside others", command)
		}
		l.mu.Unlock()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestAClientMayBeEndedWhileItsLoopWaitsForAll keeps a loop at the door with a command that needs all, and ends the client there, as another loop may.
func TestAClientMayBeEndedWhileItsLoopWaitsForAll(t *testing.T) {
	s, clients := running(t, 2)
	s.door.Lock()
	send(t, clients[1], "SET k v\r\nDBSIZE\r\nSET k w")
	for s.wanted.Load() == 0 {
		runtime.Gosched()
	}
	for _, mu := range s.locks {
		mu.Lock()
	}
	s.owner = s.loops[0]
	for _, c := range s.clients {
		if c.loop == s.loops[1] {
			s.end(c)
		}
	}
	s.owner = nil
	for _, mu := range s.locks {
		mu.Unlock()
	}
	s.door.Unlock()
	if p, err := io.ReadAll(clients[1]); len(p) > 0 || err != nil {
		t.Errorf("its client got %q, %v; want nothing but the end", p, err)
	}
	send(t, clients[0], "DBSIZE\r\nGET k")
	expect(t, clients[0], ":1\r\n$1\r\nv\r\n")
}

// TestKeysOfCommandsAreWhereTheTableSays makes sure that a command that takes the locks of its keys has a key, whatever its arguments are, and that those are such commands that should be.
func TestKeysOfCommandsAreWhereTheTableSays(t *testing.T) {
	s := sharded(t, 2)
	defer s.Close() // nothing depends on it
	var beside []string
	for _, c := range s.all() {
		if c.reach != itsKeys {
			continue
		}
		beside = append(beside, c.name)
		least := max(c.arity, -c.arity)
		if n := len(slices.Collect(c.places(least))); n == 0 {
			t.Errorf("%s has no key among %d arguments", c.name, least)
		}
	}
	for _, name := range []string{"get", "set", "mset", "rename", "lmove", "hset", "zadd", "sinterstore", "bitop", "expire", "object|encoding"} {
		if !slices.Contains(beside, name) {
			t.Errorf("%s takes all", name)
		}
	}
	for _, name := range []string{"sort", "blpop", "watch", "ssubscribe", "spublish", "zunionstore", "lmpop", "flushall", "exec"} {
		if slices.Contains(beside, name) {
			t.Errorf("%s takes the locks of its keys only", name)
		}
	}
}

// TestCommandsBesideOthersAllocateNothing is for the locks of shards what TestCommandsAllocateNothing is without.
func TestCommandsBesideOthersAllocateNothing(t *testing.T) {
	s := sharded(t, 4)
	l := s.loops[1]
	l.lock()
	defer func() {
		l.mu.Unlock()
		s.Close() // nothing depends on it
	}()
	c := &client{loop: l, fd: 1000, trusted: true}
	c.parser.MaxBulk, c.out.Max = s.maxBulk(), outputBytes
	p := []byte("SET k hello\r\nGET k\r\nINCR n\r\nMSET a 1 b 2 c 3\r\nHSET h f 1 g 2\r\nHGET h f\r\nPING\r\nDEL none\r\n")
	s.execute(c, p)
	if n := testing.AllocsPerRun(100, func() {
		c.out.Out, c.marks = c.out.Out[:0], c.marks[:0]
		s.execute(c, p)
	}); n != 0 {
		t.Errorf("commands of several shards allocate %v times, want 0", n)
	}
}
