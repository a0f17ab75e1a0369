package server

func transactionCommands() []command {
	const flags = "noscript loading stale fast allow_busy"
	return []command{
		{"multi", 1, flags, 0, 0, 0, multi},
		{"exec", 1, "noscript loading stale skip_slowlog", 0, 0, 0, exec},
		{"discard", 1, flags, 0, 0, 0, discard},
		{"watch", -2, flags, 1, -1, 1, watchKeys},
		{"unwatch", 1, flags, 0, 0, 0, func(k *call) { k.s.unwatch(k.c); k.w.Status("OK") }},
	}
}

// transaction is what a client has queued since MULTI.
type transaction struct {
	broken   bool // a command could not be queued
	spreads  bool // a command in it may change keys or tell others
	commands []queued
	bytes    []byte // the arguments of all, one after the other
	ends     []int  // where each ends
}

// queued is a command and where its arguments are in transaction.ends.
type queued struct {
	cmd         *known
	first, last int
}

// queuedBytes is what one element of commands takes, and one of ends.
const (
	queuedBytes = 24
	endBytes    = 8
)

func (t *transaction) add(cmd *known, args [][]byte) {
	first := len(t.ends)
	for _, a := range args {
		t.bytes = append(t.bytes, a...)
		t.ends = append(t.ends, len(t.bytes))
	}
	t.commands = append(t.commands, queued{cmd, first, len(t.ends)})
	t.spreads = t.spreads || cmd.spreads
}

// keptQueues is how many empty transactions are kept for the next.
const keptQueues = 64

func (c *client) begin() {
	if n := len(c.loop.queues); n > 0 {
		c.queue, c.loop.queues = c.loop.queues[n-1], c.loop.queues[:n-1]
		return
	}
	c.queue = &transaction{}
}

// forget ends what c has begun, whether it was executed or not.
func (s *Server) forget(c *client) {
	t := c.queue
	c.queue = nil
	s.unwatch(c)
	if t != nil && t.memory() <= bufferBytes && len(c.loop.queues) < keptQueues {
		clear(t.commands)
		*t = transaction{commands: t.commands[:0], bytes: t.bytes[:0], ends: t.ends[:0]}
		c.loop.queues = append(c.loop.queues, t)
	}
}

// memory is what it takes.
func (t *transaction) memory() int {
	if t == nil {
		return 0
	}
	return cap(t.bytes) + cap(t.ends)*endBytes + cap(t.commands)*queuedBytes
}

// arguments appends those of a command to views.
func (t *transaction) arguments(q queued, views [][]byte) [][]byte {
	start := 0
	if q.first > 0 {
		start = t.ends[q.first-1]
	}
	for _, end := range t.ends[q.first:q.last] {
		views = append(views, t.bytes[start:end:end])
		start = end
	}
	return views
}

func multi(k *call) {
	if k.c.queue != nil {
		k.fail("ERR MULTI calls can not be nested")
		return
	}
	k.c.begin()
	k.w.Status("OK")
}

func discard(k *call) {
	if k.c.queue == nil {
		k.fail("ERR DISCARD without MULTI")
		return
	}
	k.s.forget(k.c)
	k.w.Status("OK")
}

// exec executes what was queued, and its reply has all the replies. It waits as a whole for the last of its writes, and if it fails for
// changes by others, for theirs.
func exec(k *call) {
	s, c, t := k.s, k.c, k.c.queue
	if t == nil {
		k.fail("ERR EXEC without MULTI")
		return
	}
	defer s.forget(c)
	switch {
	case t.broken:
		k.fail("EXECABORT Transaction discarded because of previous errors.")
		return
	case s.stale(c):
		for key := range c.watches {
			k.need = max(k.need, s.store.Pending([]byte(key)))
		}
		k.w.NullArray()
		return
	}
	begun, ok := k.enclose(t)
	if !ok {
		return
	}
	c.queue = nil // the commands shall not find themselves in it
	s.unwatch(c)
	k.w.Array(len(t.commands))
	k.enclosed = true
	for _, q := range t.commands {
		k.views = t.arguments(q, k.views[:0])
		k.args = k.views
		_ = k.perform(q.cmd) // it has all
	}
	if begun {
		k.l.store.End()
	}
	c.queue, k.enclosed = t, false
	k.failed, c.command = false, "exec"
}
