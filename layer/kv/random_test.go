package kv

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"usui/layer/kv/disk"
	"usui/layer/kv/engine"
)

// randomLists are commands of a few lists, among them one that grows long.
func randomLists(random *rand.Rand) []func() []string {
	key := func() string { return []string{"l0", "l1", "l2", "long", "long", "long"}[random.IntN(6)] }
	number := func() string { return fmt.Sprint(random.IntN(40) - 20) }
	index := func() string { return fmt.Sprint(random.IntN(4000) - 2000) }
	side := func() string { return []string{"left", "right"}[random.IntN(2)] }
	values := func(words ...string) []string {
		for range 1 + random.IntN(30) {
			words = append(words, number()+strings.Repeat("x", random.IntN(8)))
		}
		return words
	}
	return []func() []string{
		func() []string { return values("rpush", key()) },
		func() []string { return values("lpush", key()) },
		func() []string { return values("lpushx", key()) },
		func() []string { return []string{"rpush", key(), strings.Repeat("x", random.IntN(20000))} },
		func() []string { return []string{"lpop", key()} },
		func() []string { return []string{"rpop", key(), fmt.Sprint(random.IntN(50))} },
		func() []string {
			return []string{"lmpop", "2", key(), key(), side(), "count", fmt.Sprint(1 + random.IntN(20))}
		},
		func() []string { return []string{"blmpop", "0.001", "2", key(), "long", side()} },
		func() []string { return []string{"lmove", key(), key(), side(), side()} },
		func() []string { return []string{"rpoplpush", key(), key()} },
		func() []string { return []string{"llen", key()} },
		func() []string { return []string{"lrange", key(), index(), index()} },
		func() []string { return []string{"lrange", key(), number(), number()} },
		func() []string { return []string{"lindex", key(), index()} },
		func() []string { return []string{"lset", key(), index(), number()} },
		func() []string {
			return []string{"linsert", key(), []string{"before", "after"}[random.IntN(2)], number(), number()}
		},
		func() []string { return []string{"linsert", key(), "before", "0", "y"} },
		func() []string { return []string{"lrem", key(), fmt.Sprint(random.IntN(7) - 3), number()} },
		func() []string { return []string{"lpos", key(), number(), "rank", fmt.Sprint(1 + random.IntN(5))} },
		func() []string { return []string{"lpos", key(), number(), "rank", "-1", "count", "3", "maxlen", "100"} },
		func() []string {
			if random.IntN(20) > 0 {
				return []string{"ltrim", "long", "-5000", "-1"}
			}
			return []string{"ltrim", key(), number(), index()}
		},
		func() []string { return []string{"rename", "l0", "l1"} },
		func() []string { return []string{"copy", key(), "l2", "replace"} },
		func() []string { return []string{"object", "encoding", key()} },
	}
}

// randomZSets are commands of a few sorted sets, and of sets of which these are made.
func randomZSets(random *rand.Rand) []func() []string {
	key := func() string { return []string{"z0", "z1", "z2", "big", "big"}[random.IntN(5)] }
	any := func() string { return []string{"z0", "z1", "big", "set", "none"}[random.IntN(5)] }
	member := func() string { return fmt.Sprint("m", random.IntN(2000)) }
	score := func() string {
		return []string{fmt.Sprint(random.IntN(40) - 20), fmt.Sprint(random.Float64() * 100), "inf", "-inf", "0.1"}[min(4, random.IntN(12))]
	}
	rank := func() string { return fmt.Sprint(random.IntN(60) - 30) }
	limit := func() string { return []string{"", "("}[random.IntN(2)] + score() }
	pairs := func(words ...string) []string {
		for range 1 + random.IntN(20) {
			words = append(words, score(), member())
		}
		return words
	}
	option := func(words ...string) string { return words[random.IntN(len(words))] }
	return []func() []string{
		func() []string { return pairs("zadd", key()) },
		func() []string { return pairs("zadd", key(), option("nx", "xx", "gt", "lt"), "ch") },
		func() []string { return []string{"zadd", key(), option("ch", "nx", "gt"), "incr", score(), member()} },
		func() []string { return []string{"zincrby", key(), score(), member()} },
		func() []string { return []string{"zrem", key(), member(), member(), member()} },
		func() []string { return []string{"zscore", key(), member()} },
		func() []string { return []string{"zrank", key(), member()} },
		func() []string { return []string{"zrevrank", key(), member()} },
		func() []string { return []string{"zcard", key()} },
		func() []string { return []string{"zcount", key(), limit(), limit()} },
		func() []string { return []string{"zrange", key(), rank(), rank(), "withscores"} },
		func() []string { return []string{"zrevrange", key(), rank(), rank()} },
		func() []string {
			return []string{"zrange", key(), limit(), limit(), "byscore", "limit", fmt.Sprint(random.IntN(10)), fmt.Sprint(random.IntN(10) - 1)}
		},
		func() []string { return []string{"zrevrangebyscore", key(), limit(), limit(), "withscores"} },
		func() []string { return []string{"zrangestore", "z2", key(), rank(), rank(), option("rev", "rev")} },
		func() []string { return []string{"zremrangebyrank", key(), rank(), rank()} },
		func() []string {
			return []string{"zremrangebyscore", key(), fmt.Sprint(random.IntN(100)), fmt.Sprint(random.IntN(100))}
		},
		func() []string { return []string{"zpopmin", key()} },
		func() []string { return []string{"zpopmax", key(), fmt.Sprint(random.IntN(20))} },
		func() []string { return []string{"zmpop", "2", key(), key(), option("min", "max"), "count", "3"} },
		func() []string { return []string{"bzpopmin", key(), "0.001"} },
		func() []string { return []string{"sadd", "set", member(), member()} },
		func() []string { return []string{"zunion", "2", any(), any(), "withscores"} },
		func() []string {
			return []string{"zinter", "2", any(), any(), "weights", score(), "2", "aggregate", option("sum", "min", "max"), "withscores"}
		},
		func() []string { return []string{"zdiff", "2", any(), any(), "withscores"} },
		func() []string {
			return []string{"zunionstore", "z2", "3", any(), any(), any(), "weights", "1", "0.5", score()}
		},
		func() []string { return []string{"zinterstore", "z1", "2", any(), any()} },
		func() []string { return []string{"zdiffstore", "z0", "2", any(), any()} },
		func() []string { return []string{"zintercard", "2", any(), any(), "limit", "5"} },
		func() []string { return []string{"zadd", "names", "0", member()} },
		func() []string { return []string{"zrange", "names", "[" + member(), "(" + member(), "bylex"} },
		func() []string { return []string{"zlexcount", "names", "-", "[" + member()} },
		func() []string { return []string{"zremrangebylex", "names", "[" + member(), "[m1" + member()} },
		func() []string { return []string{"copy", key(), "z2", "replace"} },
		func() []string { return []string{"rename", "z0", "z1"} },
		func() []string { return []string{"object", "encoding", key()} },
		func() []string { return []string{"zscan", "z0", "0", "count", "100000"} },
	}
}

// TestRandomCommandsOfListsAndSortedSetsAnswerAsRedis compares once more after the server was started again.
func TestRandomCommandsOfListsAndSortedSetsAnswerAsRedis(t *testing.T) {
	for name, commands := range map[string]func(*rand.Rand) []func() []string{"lists": randomLists, "sorted sets": randomZSets} {
		t.Run(name, func(t *testing.T) {
			random := rand.New(rand.NewPCG(1, 2))
			path, theirs := t.TempDir(), connect(t, redis(t))
			start := func() (*peer, func()) {
				folder, err := disk.Open(path, engine.IsOurs, disk.Ordinary)
				if err != nil {
					t.Fatal(err)
				}
				address, stop := serveFolder(t, folder, func(c *Config) { c.SegmentBytes = 256 << 10 })
				return connect(t, address), stop
			}
			ours, stop := start()
			compacted := 0
			for range 4 {
				randomly(t, random, theirs, ours, commands(random), 100)
				compacted += ours.info(t, "segments_compacted")
				stop()
				ours, stop = start()
				for _, c := range [][]string{
					{"lrange", "long", "0", "-1"}, {"lrange", "l0", "0", "-1"}, {"lrange", "l1", "0", "-1"}, {"lrange", "l2", "0", "-1"},
					{"zrange", "z0", "0", "-1", "withscores"}, {"zrange", "z1", "0", "-1", "withscores"}, {"zrange", "z2", "0", "-1", "withscores"},
					{"zrange", "big", "0", "-1", "withscores"}, {"zrange", "names", "0", "-1"}, {"dbsize"},
				} {
					if want, got := theirs.must(t, c...), ours.must(t, c...); got != want {
						t.Errorf("after a restart %q = %.100q, want %.100q", c, got, want)
					}
				}
			}
			if compacted == 0 {
				t.Error("nothing was compacted: this test shows less than it should")
			}
		})
	}
}
