package server

import "slices"

// watch is what a watched key had when WATCH came. A change by a command is noticed at once (touch); that it expired is seen at EXEC.
type watch struct {
	existed bool
	expire  int64 // 0 for never
}

// watchBytes is about what a watched key takes beside its name, twice: here and in Server.watched.
const watchBytes = 100

func watchKeys(k *call) {
	if k.c.queue != nil {
		k.fail("ERR WATCH inside MULTI is not allowed")
		return
	}
	for _, arg := range k.args[1:] {
		if _, ok := k.c.watches[string(arg)]; ok {
			continue
		}
		e, ok := k.l.store.Get(arg)
		k.s.watch1(k.c, string(arg), watch{ok, e.Expire})
	}
	k.w.Status("OK")
}

// watch1 adds one key to those that c watches.
func (s *Server) watch1(c *client, key string, w watch) {
	if c.watches == nil {
		c.watches = map[string]watch{}
	}
	c.watches[key] = w
	c.watchedBytes += 2*len(key) + watchBytes
	s.watched[key] = append(s.watched[key], c)
}

// unwatch forgets what c watches.
func (s *Server) unwatch(c *client) {
	for key := range c.watches {
		left := slices.DeleteFunc(s.watched[key], func(other *client) bool { return other == c })
		if len(left) == 0 {
			delete(s.watched, key)
		} else {
			s.watched[key] = left
		}
	}
	c.watches, c.watchedBytes, c.stale = nil, 0, false
}

// stale says that a key changed that c watches.
func (s *Server) stale(c *client) bool {
	if c.stale {
		return true
	}
	for _, w := range c.watches {
		if w.expire != 0 && w.expire <= s.now.Load() {
			return true
		}
	}
	return false
}

// touch tells clients of the keys they watch that a command wrote; before is the last sequence number before it. Of the keys that the command
// names those changed whose number is newer. One that may have written others, too, is held against all that are watched.
func (s *Server) touch(cmd *known, args [][]byte, before uint64) {
	if cmd.first > 0 && !cmd.movable {
		for i := range cmd.places(len(args)) {
			if watchers := s.watched[string(args[i])]; len(watchers) > 0 && s.store.Pending(args[i]) > before {
				s.tell(args[i], watchers)
			}
		}
		return
	}
	for key, watchers := range s.watched {
		if s.store.Pending([]byte(key)) > before {
			s.tell([]byte(key), watchers)
		}
	}
}

// tell makes the transactions of watchers fail. A key that was not there and is not there, after FLUSHALL, has not changed.
func (s *Server) tell(key []byte, watchers []*client) {
	_, exists := s.store.Get(key)
	for _, c := range watchers {
		if exists || c.watches[string(key)].existed {
			c.stale = true
		}
	}
}

// places yields the indexes of the arguments that are keys, of n.
func (c *command) places(n int) func(yield func(int) bool) {
	return func(yield func(int) bool) {
		last := c.last
		if last < 0 {
			last += n
		}
		for i := c.first; i > 0 && i <= min(last, n-1); i += c.step {
			if !yield(i) {
				return
			}
		}
	}
}
