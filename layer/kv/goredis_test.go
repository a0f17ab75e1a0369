package kv

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	goredis "github.com/redis/go-redis/v9"
)

// TestGoRedis is how programs use the store: pipelines, transactions with WATCH, and messages, by both versions of the protocol.
func TestGoRedis(t *testing.T) {
	for _, version := range []int{2, 3} {
		t.Run(fmt.Sprint("RESP", version), func(t *testing.T) {
			c := goredis.NewClient(&goredis.Options{Addr: serve(t), Protocol: version})
			defer c.Close()
			talkByGoRedis(t, c)
			watchByGoRedis(t, c)
			listenByGoRedis(t, c)
		})
	}
}

func talkByGoRedis(t *testing.T, c *goredis.Client) {
	t.Helper()
	ctx := t.Context()
	if err := c.Set(ctx, "k", "v", 0).Err(); err != nil {
		t.Error(err)
	}
	if _, err := c.Get(ctx, "none").Result(); !errors.Is(err, goredis.Nil) {
		t.Errorf("Get of no key = %v, want %v", err, goredis.Nil)
	}
	replies, err := c.Pipelined(ctx, func(p goredis.Pipeliner) error {
		for range 1000 {
			p.Incr(ctx, "n")
		}
		p.HSet(ctx, "h", "a", 1, "b", 2)
		p.SAdd(ctx, "s", "x")
		return nil
	})
	if err != nil || len(replies) != 1002 || replies[999].(*goredis.IntCmd).Val() != 1000 {
		t.Errorf("a pipeline has %d replies, %v; want 1002, and 1000 at the end of the counter", len(replies), err)
	}
	if m, err := c.HGetAll(ctx, "h").Result(); err != nil || m["a"] != "1" || m["b"] != "2" {
		t.Errorf("HGetAll = %v, %v", m, err)
	}
	if keys, _, err := c.Scan(ctx, 0, "*", 1000).Result(); err != nil || len(keys) != 4 {
		t.Errorf("Scan = %q, %v; want 4 keys", keys, err)
	}
	if info, err := c.ClientInfo(ctx).Result(); err != nil || info.Multi != -1 || info.Resp != c.Options().Protocol {
		t.Errorf("ClientInfo = %+v, %v", info, err)
	}
	if err := c.ConfigSet(ctx, "slowlog-log-slower-than", "0").Err(); err != nil {
		t.Error(err)
	}
	if log, err := c.SlowLogGet(ctx, 1).Result(); err != nil || len(log) != 1 || !slices.Equal(log[0].Args, []string{"config", "set", "slowlog-log-slower-than", "0"}) {
		t.Errorf("SlowLogGet = %+v, %v", log, err)
	}
	if all, err := c.Command(ctx).Result(); err != nil || all["get"] == nil || all["get"].FirstKeyPos != 1 || !all["get"].ReadOnly {
		t.Errorf("Command = %d commands, %v; want GET among them", len(all), err)
	}
}

func watchByGoRedis(t *testing.T, c *goredis.Client) {
	t.Helper()
	ctx := t.Context()
	disturb := func(disturbed bool) error {
		return c.Watch(ctx, func(tx *goredis.Tx) error {
			n, err := tx.Get(ctx, "k").Result()
			if err != nil {
				return err
			}
			if disturbed {
				if err := c.Set(ctx, "k", "other", 0).Err(); err != nil { // by another connection
					return err
				}
			}
			_, err = tx.TxPipelined(ctx, func(p goredis.Pipeliner) error {
				p.Set(ctx, "k", n+"!", 0)
				p.Get(ctx, "k")
				return nil
			})
			return err
		}, "k")
	}
	if err := disturb(true); !errors.Is(err, goredis.TxFailedErr) {
		t.Errorf("a transaction whose key another wrote = %v, want %v", err, goredis.TxFailedErr)
	}
	if err := disturb(false); err != nil {
		t.Error(err)
	}
	if v, err := c.Get(ctx, "k").Result(); v != "other!" {
		t.Errorf("Get = %q, %v; want what the transaction wrote", v, err)
	}
}

func listenByGoRedis(t *testing.T, c *goredis.Client) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s := c.Subscribe(ctx, "news")
	defer s.Close()
	if err := s.PSubscribe(ctx, "n*s"); err != nil {
		t.Fatal(err)
	}
	var got []string
	for len(got) < 4 {
		m, err := s.Receive(ctx)
		if err != nil {
			t.Fatal(err)
		}
		switch m := m.(type) {
		case *goredis.Subscription:
			if got = append(got, m.Kind+" "+m.Channel); len(got) == 2 {
				if n, err := c.Publish(ctx, "news", "hello").Result(); err != nil || n != 2 {
					t.Errorf("Publish = %d, %v; want 2 subscriptions", n, err)
				}
			}
		case *goredis.Message:
			got = append(got, m.Pattern+" "+m.Channel+" "+m.Payload)
		}
	}
	if want := []string{"subscribe news", "psubscribe n*s", " news hello", "n*s news hello"}; !slices.Equal(got, want) {
		t.Errorf("a subscriber hears %q, want %q", got, want)
	}
	if err := s.Ping(ctx, "x"); err != nil {
		t.Error(err)
	}
	if m, err := s.Receive(ctx); err != nil || m.(*goredis.Pong).Payload != "x" {
		t.Errorf("a subscriber's PING = %v, %v", m, err)
	}
}
