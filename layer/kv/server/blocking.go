package server

import (
	"bytes"
	"container/heap"
	"math"
	"slices"

	"usui/layer/kv/collection"
	"usui/layer/kv/engine"
)

// vigil is what a client waits for that is blocked: one of some keys shall have a collection of a kind.
type vigil struct {
	c     *client
	cmd   *known
	args  [][]byte // a copy of the command's
	keys  [][]byte
	kind  collection.Kind
	until int64 // Unix time in milliseconds, 0 for ever
	place int   // in waits, if it is not for ever
	mute  bool  // the reply is not wanted
	serve func(k *call, key []byte, c *engine.Collection)
}

// waitBytes is about what a wait takes beside the arguments, and one of its keys beside its name.
const waitBytes = 200

func (w *vigil) memory() int {
	if w == nil {
		return 0
	}
	n := waitBytes
	for _, a := range w.args {
		n += 2*len(a) + waitBytes
	}
	return n
}

// queue is the clients that wait for a key, in the order in which they came.
type queue struct {
	key     string
	clients []*client
	ready   bool // is in blocking.ready
}

// blocking is all that wait.
type blocking struct {
	queues map[string]*queue
	count  int      // of clients
	ready  []*queue // of keys that commands have written
	waits  waits
}

// waits are those that are not for ever: a heap, the nearest first.
type waits []*vigil

func (w waits) Len() int           { return len(w) }
func (w waits) Less(i, j int) bool { return w[i].until < w[j].until }
func (w waits) Swap(i, j int) {
	w[i], w[j] = w[j], w[i]
	w[i].place, w[j].place = i, j
}

// Push implements [heap.Interface].
func (w *waits) Push(x any) {
	x.(*vigil).place = len(*w)
	*w = append(*w, x.(*vigil))
}

// Pop implements [heap.Interface].
func (w *waits) Pop() any {
	last := len(*w) - 1
	x := (*w)[last]
	(*w)[last] = nil
	*w = (*w)[:last]
	return x
}

// deadline reads how long to wait in seconds and returns until when, and answers if it is no time.
func (k *call) deadline(arg []byte) (until int64, ok bool) {
	f, ok := parseFloat(arg)
	if !ok {
		k.fail("ERR timeout is not a float or out of range")
		return 0, false
	}
	seconds, _ := f.Float64()
	ms := math.Ceil(seconds * 1000)
	switch {
	case ms < 0, ms >= math.MaxInt64: // Redis 7.0 does not tell these apart
		k.fail("ERR timeout is negative")
		return 0, false
	case ms == 0:
		return 0, true
	}
	return k.l.now + min(int64(ms), math.MaxInt64-k.l.now), true
}

// block has the client wait until one of the keys, which are among the arguments, has a collection of that kind; serve answers then. Within a
// transaction it is as if the time were over.
func (k *call) block(keys [][]byte, kind collection.Kind, until int64, serve func(k *call, key []byte, c *engine.Collection)) {
	if k.enclosed {
		k.w.NullArray()
		return
	}
	w := &vigil{c: k.c, cmd: k.cmd, kind: kind, until: until, mute: k.c.mute || k.c.skip, serve: serve}
	for _, a := range k.args {
		w.args = append(w.args, bytes.Clone(a))
	}
	b := &k.s.blocking
	for _, key := range keys {
		q := b.queues[string(key)]
		if q == nil {
			q = &queue{key: string(key)}
			b.queues[q.key] = q
		}
		if n := len(q.clients); n == 0 || q.clients[n-1] != k.c { // else the key was named before
			q.clients = append(q.clients, k.c)
			w.keys = append(w.keys, bytes.Clone(key))
		}
	}
	if until > 0 {
		heap.Push(&b.waits, w)
	}
	b.count++
	k.c.wait = w
}

// unblock has a client wait no more. What it has sent meanwhile is executed later.
func (s *Server) unblock(c *client) {
	w, b := c.wait, &s.blocking
	if w == nil {
		return
	}
	for _, key := range w.keys {
		q := b.queues[string(key)]
		i := slices.Index(q.clients, c)
		if q.clients = slices.Delete(q.clients, i, i+1); len(q.clients) == 0 {
			delete(b.queues, q.key)
		}
	}
	if w.until > 0 {
		heap.Remove(&b.waits, w.place)
	}
	b.count--
	c.wait = nil
	c.stalled = true // until resume: its loop must not read meanwhile
	s.wake(c)
}

// note takes note of keys for which clients wait, and which a command wrote; before is the last sequence number before it.
func (s *Server) note(cmd *known, args [][]byte, before uint64) {
	b := &s.blocking
	written := func(q *queue) {
		if q != nil && !q.ready && s.store.Pending([]byte(q.key)) > before {
			q.ready = true
			b.ready = append(b.ready, q)
		}
	}
	if cmd.first > 0 && !cmd.movable {
		for i := range cmd.places(len(args)) {
			written(b.queues[string(args[i])])
		}
		return
	}
	for _, q := range b.queues {
		written(q)
	}
}

// serveWaiting gives clients what they wait for, if it is there by now. That may write keys for which others wait.
func (s *Server) serveWaiting() {
	for b := &s.blocking; len(b.ready) > 0; {
		q := b.ready[0]
		b.ready = slices.Delete(b.ready, 0, 1)
		q.ready = false
		for i := 0; i < len(q.clients); {
			e, ok := s.store.Get([]byte(q.key))
			if !ok || e.Collection == nil {
				break
			}
			if c := q.clients[i]; c.wait.kind == e.Kind() {
				s.serveOne(c, []byte(q.key), e.Collection)
			} else {
				i++
			}
		}
	}
}

func (s *Server) serveOne(c *client, key []byte, from *engine.Collection) {
	w := c.wait
	s.reply(c, func(k *call) {
		k.need = s.store.Pending(key)
		before := s.store.Last()
		w.serve(k, key, from)
		if k.failed {
			k.l.uses[w.cmd.number].failed++
		}
		if s.store.Last() != before {
			s.wrote(w.cmd, w.args, before)
		}
	})
}

// reply has a client that waits get a reply, which f writes, and go on.
func (s *Server) reply(c *client, f func(k *call)) {
	w := c.wait
	s.unblock(c)
	if c.out.Out == nil {
		c.out.Out = c.loop.buffers.get(0)
	}
	k := s.owner.call(c, w.args)
	k.cmd = w.cmd
	if w.mute {
		k.w = k.l.nowhere(c)
	}
	start := len(c.out.Out)
	f(k)
	if s.finish(c, start, k.need); !c.closing {
		s.account(c)
	}
	s.queue(c)
}

// timeOut ends what has lasted long enough.
func (s *Server) timeOut() {
	for b := &s.blocking; len(b.waits) > 0 && b.waits[0].until <= s.now.Load(); {
		w := b.waits[0]
		s.reply(w.c, func(k *call) { k.inVain(w) })
	}
}

// inVain answers who has waited for nothing; that nothing was there is news, too.
func (k *call) inVain(w *vigil) {
	for _, key := range w.keys {
		k.need = max(k.need, k.l.store.Pending(key))
	}
	k.w.NullArray()
}

// unblockClient is CLIENT UNBLOCK.
func unblockClient(k *call) {
	failure := false
	switch n := len(k.args); {
	case n > 4:
		k.failSub()
		return
	case n == 4 && is(k.args[3], "ERROR"):
		failure = true
	case n == 4 && !is(k.args[3], "TIMEOUT"):
		k.fail("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR")
		return
	}
	id, ok := k.integer(k.args[2])
	if !ok {
		return
	}
	for _, c := range k.s.clients {
		w := c.wait
		if c.id != uint64(id) || w == nil {
			continue
		}
		caller := *k // the other's reply takes its place
		k.s.reply(c, func(k *call) {
			if failure {
				k.fail("UNBLOCKED client unblocked via CLIENT UNBLOCK")
			} else {
				k.inVain(w)
			}
		})
		*k = caller
		k.w.Int(1)
		return
	}
	k.w.Int(0)
}
