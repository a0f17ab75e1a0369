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
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"usui/layer/kv/disktest"
	"usui/layer/kv/engine"
)

// sharded makes a server with some loops, and as many shards or more, on a disk in memory.
func sharded(t *testing.T, loops int) *Server { return shardedOn(t, disktest.New(), loops) }

func shardedOn(t *testing.T, d *disktest.Disk, loops int) *Server {
	t.Helper()
	s, err := New(Config{Loops: loops, Logger: slog.New(slog.DiscardHandler), Open: func(o engine.Options) (*engine.Store, error) {
		o.SegmentBytes = 1 << 20
		return engine.Open(d, o)
	}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// running is sharded that serves until the test ends, with a client of each loop.
func running(t *testing.T, loops int) (s *Server, clients []*os.File) {
	return runningOn(t, disktest.New(), loops)
}

func runningOn(t *testing.T, d *disktest.Disk, loops int) (s *Server, clients []*os.File) {
	t.Helper()
	s = shardedOn(t, d, loops)
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

// bulk is a command with each argument in its length.
func bulk(args ...string) string {
	line := fmt.Appendf(nil, "*%d", len(args))
	for _, a := range args {
		line = fmt.Appendf(line, "\r\n$%d\r\n%s", len(a), a)
	}
	return string(line)
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

// fullDisk is a disk in memory that has room for so many segments.
func fullDisk(segments int) *disktest.Disk {
	d := disktest.New()
	d.Full = func() bool { segments--; return segments < 0 }
	return d
}

// TestAFullDiskRefusesNothingThatCompactionHasRoomFor has commands that write much, beside others, while a full disk has garbage. Each is counted once.
func TestAFullDiskRefusesNothingThatCompactionHasRoomFor(t *testing.T) {
	for _, loops := range []int{1, 2, 4} {
		s, clients := runningOn(t, fullDisk(8), loops)
		add := func(key, prefix string, n int) string {
			args := []string{"SADD", key}
			for i := range n {
				args = append(args, fmt.Sprintf("%s%05d%s", prefix, i, strings.Repeat("x", 220)))
			}
			return bulk(args...)
		}
		send(t, clients[0], add("s", "m", 2500))
		expect(t, clients[0], ":2500\r\n")
		send(t, clients[0], add("few", "f", 10))
		expect(t, clients[0], ":10\r\n")
		var all sync.WaitGroup
		for i, c := range clients[1:] {
			all.Go(func() { // ends after its rounds
				for n := range 300 {
					if n%3 == 0 {
						send(t, c, fmt.Sprintf("SET small%d %0*d", i, n%100, n))
						expect(t, c, "+OK\r\n")
						continue
					}
					send(t, c, fmt.Sprintf("SET small%d %0*d\r\nRPUSH l%d a b\r\nDEL l%d none", i, n%100, n, i, i))
					expect(t, c, "+OK\r\n:2\r\n:1\r\n")
				}
			})
		}
		for range 10 { // at once, so that no turn ends in between, and compacts
			send(t, clients[0], strings.Repeat("COPY s d REPLACE\r\n", 9)+"COPY s d REPLACE")
			expect(t, clients[0], strings.Repeat(":1\r\n", 10))
			send(t, clients[0], strings.Repeat("SUNIONSTORE d s few\r\n", 9)+"SUNIONSTORE d s few")
			expect(t, clients[0], strings.Repeat(":2510\r\n", 10))
		}
		all.Wait()
		send(t, clients[0], "SCARD d\r\nCOPY s d")
		expect(t, clients[0], ":2510\r\n:0\r\n")
		err := s.Ask(func() {
			if st := s.store.Stats(); st.Refused != 0 || st.Compacted == 0 || st.NoRoom == 0 {
				t.Errorf("%d loops: %d writes refused, %d segments compacted, no room for one %d times; want none, and some", loops, st.Refused, st.Compacted, st.NoRoom)
			}
			if st := s.stats(); st.ErrorReplies != 0 {
				t.Errorf("%d loops: %d error replies were counted", loops, st.ErrorReplies)
			}
			if u := s.use(s.commands["copy"]); u.calls != 101 || u.failed != 0 {
				t.Errorf("%d loops: COPY was counted %d times, %d failed; want 101", loops, u.calls, u.failed)
			}
		})
		if err != nil {
			t.Error(err)
		}
	}
}

// TestADeletionThatMeetsAFullDiskCountsEachKeyOnce deletes more keys by one command than there is room for records of that.
func TestADeletionThatMeetsAFullDiskCountsEachKeyOnce(t *testing.T) {
	const keys = 20_000
	for _, loops := range []int{1, 2} {
		s, clients := runningOn(t, fullDisk(5), loops)
		names, pairs := []string{"DEL"}, []string{"MSET"}
		for i := range keys {
			names = append(names, fmt.Sprintf("key:%05d:%s", i, strings.Repeat("k", 30)))
			if pairs = append(pairs, names[1+i], "v"); (i+1)%1000 == 0 {
				send(t, clients[0], bulk(pairs...))
				expect(t, clients[0], "+OK\r\n")
				pairs = pairs[:1]
			}
		}
		for roomy := false; !roomy; { // at the beginning of a segment, with no other one to come
			send(t, clients[0], bulk("SET", "filler", strings.Repeat("f", 10_000)))
			expect(t, clients[0], "+OK\r\n")
			if err := s.Ask(func() { roomy = s.store.Roomy() && s.store.Stats().NoRoom > 0 }); err != nil {
				t.Fatal(err)
			}
		}
		send(t, clients[loops-1], bulk(append(names, "filler")...))
		expect(t, clients[loops-1], fmt.Sprintf(":%d\r\n", keys+1))
		send(t, clients[0], "DBSIZE\r\nSET a b\r\nDEL a\r\nSET b c\r\nDEL b a")
		expect(t, clients[0], ":0\r\n+OK\r\n:1\r\n+OK\r\n:1\r\n")
	}
}

// TestExpiredKeysGoAsSoonWithManyShards has keys expire in each shard, and counts after how many tenths of a second they are gone.
func TestExpiredKeysGoAsSoonWithManyShards(t *testing.T) {
	for _, loops := range []int{1, 16} {
		s := sharded(t, loops)
		l := s.loops[0]
		l.lock()
		c := &client{loop: l, fd: 1000, trusted: true}
		c.parser.MaxBulk, c.out.Max = s.maxBulk(), outputBytes
		for _, key := range keysOfShards(s) {
			s.execute(c, fmt.Appendf(nil, "SET %s v PX 10\r\nSET stays%s v\r\n", key, key))
		}
		ticks := 0
		for ; s.store.Expiring() > 0 && ticks < 100; ticks++ {
			s.now.Add(sweepEvery)
			l.advance(true)
		}
		if ticks > 5 {
			t.Errorf("with %d loops keys that expired are gone after %d sweeps, want 5 at most", loops, ticks)
		}
		l.mu.Unlock()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestAFaultOfWhoHasAllSealsTheStoreBeforeOthersGoOn has a page of a device fail, as it were, in a command that has all.
func TestAFaultOfWhoHasAllSealsTheStoreBeforeOthersGoOn(t *testing.T) {
	s := sharded(t, 2)
	l := s.loops[0]
	l.lock()
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the fault was swallowed")
			}
		}()
		l.alone(func() {
			if err := l.store.Begin(100); err != nil {
				t.Error(err)
			}
			panic("fault")
		})
	}()
	if s.store.Sealed() == nil {
		t.Error("the store takes writes, of which it may have a part")
	}
	if !s.loops[1].mu.TryLock() {
		t.Error("the other loop cannot go on")
	} else {
		s.loops[1].mu.Unlock()
	}
	l.mu.Unlock()
	if err := s.Close(); err == nil {
		t.Error("nobody was told")
	}
}

// TestKeptBuffersAreNoMoreWithManyLoops gives back more than are kept.
func TestKeptBuffersAreNoMoreWithManyLoops(t *testing.T) {
	const want = keptBuffers
	for _, loops := range []int{1, 16} {
		s, kept := sharded(t, loops), 0
		for _, l := range s.loops {
			for range 2 * keptBuffers {
				l.buffers.put(make([]byte, 0, bufferBytes))
			}
			kept += len(l.buffers.free)
		}
		if kept != want {
			t.Errorf("%d loops keep %d buffers, want %d", loops, kept, want)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}
