package kv

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"usui/layer/kv/disktest"
)

// TestLoopsServeTogether has clients of several loops meet: they move elements to each other, wait for them, publish, read long replies and end each
// other in the middle of all that. No reply is another client's, none comes out of order, and no element is lost or there twice.
func TestLoopsServeTogether(t *testing.T) {
	address, _ := serveFolder(t, disktest.New(), func(c *Config) { c.Loops = 4 })
	admin := connect(t, address)
	const workers, rounds, elements = 12, 150, 50
	long := strings.Repeat("x", 100_000)
	admin.must(t, "set", "long", long)
	for i := range elements {
		admin.must(t, "rpush", "list:0", fmt.Sprint("element:", i))
	}
	var ids [workers]atomic.Int64
	var subscribed sync.WaitGroup
	subscribed.Add(workers)
	var all, listeners sync.WaitGroup
	var heard atomic.Int64
	for n := range workers {
		l := connect(t, address)
		listeners.Go(func() { // ends when its connection does
			if _, err := l.do("subscribe", "news"); err != nil {
				t.Error(err)
			}
			subscribed.Done()
			for last := map[string]int{}; ; heard.Add(1) {
				r, err := l.reply()
				if err != nil {
					return
				}
				var from string
				var count int
				text := strings.Split(r, "\r\n")[6]
				if _, err := fmt.Sscanf(text, "%s %d", &from, &count); err != nil || count <= last[from] {
					t.Errorf("a message %q after %d of that client, %v", r, last[from], err)
				}
				last[from] = count
			}
		})
		all.Go(func() { // ends after its rounds
			subscribed.Wait()
			random := rand.New(rand.NewPCG(uint64(n), 1))
			var p *peer
			defer func() {
				if p != nil {
					p.Close()
				}
			}()
			for i := range rounds {
				if p == nil {
					var err error
					if p, err = dial(address); err != nil {
						t.Error(err)
						return
					}
				}
				if err := work(p, n, i, random, &ids, long); err != nil {
					p.Close() // another has ended it, or so it should be
					if p = nil; strings.Contains(err.Error(), "BUG") {
						t.Error(err)
					}
				}
			}
		})
	}
	all.Wait()
	admin.must(t, "client", "kill", "type", "pubsub")
	listeners.Wait()
	if heard.Load() == 0 {
		t.Error("nobody heard of anything")
	}
	seen := map[string]bool{}
	for i := range workers {
		for _, e := range strings.Split(admin.must(t, "lrange", fmt.Sprint("list:", i), "0", "-1"), "\r\n") {
			if strings.HasPrefix(e, "element:") {
				if seen[e] {
					t.Errorf("%s is there twice", e)
				}
				seen[e] = true
			}
		}
	}
	if len(seen) != elements {
		t.Errorf("%d elements, want %d", len(seen), elements)
	}
	if killed := admin.info(t, "total_connections_received"); killed <= 2*workers+1 {
		t.Errorf("%d connections in all: nobody was ended", killed)
	}
}

// work is one round of a client. An error with BUG in it is one of the server.
func work(p *peer, n, i int, random *rand.Rand, ids *[12]atomic.Int64, long string) error {
	key, token := fmt.Sprint("own:", n), fmt.Sprint("token:", n, ":", i)
	var sent []byte
	for _, c := range [][]string{
		{"client", "id"}, {"set", key, token}, {"get", "long"}, {"get", key}, {"publish", "news", fmt.Sprintf("%d %d", n, i+1)},
		{"lmove", fmt.Sprint("list:", random.IntN(12)), fmt.Sprint("list:", random.IntN(12)), "left", "right"},
		{"blmove", fmt.Sprint("list:", n), fmt.Sprint("list:", random.IntN(12)), "left", "right", "0.01"}, {"echo", token},
	} {
		sent = append(sent, encode(c...)...)
	}
	if victim := ids[random.IntN(12)].Load(); victim > 0 && random.IntN(4) == 0 {
		sent = append(sent, encode("client", "kill", "id", fmt.Sprint(victim), "skipme", "yes")...)
	} else {
		sent = append(sent, encode("ping")...)
	}
	if _, err := p.Write(sent); err != nil {
		return err
	}
	var replies []string
	for range 9 {
		r, err := p.reply()
		if err != nil {
			return err
		}
		replies = append(replies, r)
	}
	var id int64
	if _, err := fmt.Sscanf(replies[0], ":%d", &id); err != nil {
		return fmt.Errorf("BUG: CLIENT ID = %q", replies[0])
	}
	ids[n].Store(id)
	bulk := func(s string) string { return fmt.Sprintf("$%d\r\n%s\r\n", len(s), s) }
	for at, want := range map[int]string{1: "+OK\r\n", 2: bulk(long), 3: bulk(token), 7: bulk(token)} {
		if replies[at] != want {
			return fmt.Errorf("BUG: reply %d of client %d is %.80q, want %.80q", at, n, replies[at], want)
		}
	}
	return nil
}
