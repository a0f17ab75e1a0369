package server

import (
	"bytes"
	"maps"
	"slices"
)

func pubsubCommands() []command {
	const flags = "pubsub noscript loading stale"
	return []command{
		{"subscribe", -2, flags, 0, 0, 0, func(k *call) { k.subscribe(channels) }},
		{"psubscribe", -2, flags, 0, 0, 0, func(k *call) { k.subscribe(patterns) }},
		{"ssubscribe", -2, flags, 1, -1, 1, func(k *call) { k.subscribe(shards) }},
		{"unsubscribe", -1, flags, 0, 0, 0, func(k *call) { k.unsubscribe(channels) }},
		{"punsubscribe", -1, flags, 0, 0, 0, func(k *call) { k.unsubscribe(patterns) }},
		{"sunsubscribe", -1, flags, 1, -1, 1, func(k *call) { k.unsubscribe(shards) }},
		{"publish", 3, "pubsub loading stale fast", 0, 0, 0, func(k *call) { k.publish(channels) }},
		{"spublish", 3, "pubsub loading stale fast", 1, 1, 1, func(k *call) { k.publish(shards) }},
		{"pubsub", -2, "", 0, 0, 0, nil},
		{"pubsub|channels", -2, "pubsub loading stale", 0, 0, 0, func(k *call) { k.listTopics(channels) }},
		{"pubsub|shardchannels", -2, "pubsub loading stale", 0, 0, 0, func(k *call) { k.listTopics(shards) }},
		{"pubsub|numsub", -2, "pubsub loading stale", 0, 0, 0, func(k *call) { k.countSubscribers(channels) }},
		{"pubsub|shardnumsub", -2, "pubsub loading stale", 0, 0, 0, func(k *call) { k.countSubscribers(shards) }},
		{"pubsub|numpat", 2, "pubsub loading stale", 0, 0, 0, func(k *call) { k.w.Int(int64(len(k.s.topics[patterns]))) }},
	}
}

// kind is what one may subscribe to. Without a cluster shards are channels with a name space of their own.
type kind int

const (
	channels kind = iota
	patterns
	shards
	kinds
)

// words are what messages of a kind begin with.
var words = [kinds]struct{ subscribe, unsubscribe, message string }{
	channels: {"subscribe", "unsubscribe", "message"},
	patterns: {"psubscribe", "punsubscribe", "pmessage"},
	shards:   {"ssubscribe", "sunsubscribe", "smessage"},
}

// audience is who subscribed to something.
type audience struct {
	name    []byte
	clients map[*client]bool
}

// topicBytes is about what a subscription takes beside its name, twice.
const topicBytes = 200

// subscriber says that a client has subscriptions.
func (c *client) subscriber() bool {
	return len(c.topics[channels])+len(c.topics[patterns])+len(c.topics[shards]) > 0
}

// listens says that it has, and may say little else: by version 2 of the protocol a client could not tell replies from messages.
func (c *client) listens() bool { return !c.out.V3 && c.subscriber() }

// subscriptions is the number that replies tell.
func (c *client) subscriptions(of kind) int64 {
	if of == shards {
		return int64(len(c.topics[shards]))
	}
	return int64(len(c.topics[channels]) + len(c.topics[patterns]))
}

func (k *call) subscribe(of kind) {
	for _, name := range k.args[1:] {
		k.s.join(k.c, of, string(name))
		k.confirm(of, words[of].subscribe, name)
	}
}

// confirm is one message about one subscription. It is none of the replies that a client can switch off.
func (k *call) confirm(of kind, word string, name []byte) {
	w := &k.c.out
	w.Push(3)
	w.Text(word)
	if name == nil {
		w.Null()
	} else {
		w.Bulk(name)
	}
	w.Int(k.c.subscriptions(of))
}

func (s *Server) join(c *client, of kind, name string) {
	if c.topics[of][name] {
		return
	}
	if c.topics[of] == nil {
		c.topics[of] = map[string]bool{}
	}
	c.topics[of][name] = true
	c.topicBytes += 2*len(name) + topicBytes
	a := s.topics[of][name]
	if a == nil {
		a = &audience{[]byte(name), map[*client]bool{}}
		s.topics[of][name] = a
	}
	a.clients[c] = true
}

func (s *Server) leave(c *client, of kind, name string) {
	if !c.topics[of][name] {
		return
	}
	delete(c.topics[of], name)
	c.topicBytes -= 2*len(name) + topicBytes
	a := s.topics[of][name]
	if delete(a.clients, c); len(a.clients) == 0 {
		delete(s.topics[of], name)
	}
}

// leaveAll ends all subscriptions of a client.
func (s *Server) leaveAll(c *client) {
	for of := range kinds {
		for name := range c.topics[of] {
			s.leave(c, of, name)
		}
		c.topics[of] = nil
	}
}

func (k *call) unsubscribe(of kind) {
	word := words[of].unsubscribe
	for _, name := range k.args[1:] {
		k.s.leave(k.c, of, string(name))
		k.confirm(of, word, name)
	}
	if len(k.args) > 1 {
		return
	}
	if len(k.c.topics[of]) == 0 {
		k.confirm(of, word, nil)
	}
	for _, name := range slices.Sorted(maps.Keys(k.c.topics[of])) {
		k.s.leave(k.c, of, name)
		k.confirm(of, word, []byte(name))
	}
}

// message is one that is published, and what it waits for.
type message struct {
	channel, text []byte
	need          uint64
}

// publish tells subscribers. The message waits for what the publisher's own replies wait for: it may speak of that.
func (k *call) publish(of kind) {
	s := k.s
	m := message{k.args[1], k.args[2], max(k.need, k.c.need)}
	if err := s.store.Sealed(); err != nil && m.need > s.store.Durable() {
		k.fail("MISCONF " + err.Error())
		return
	}
	n := int64(0)
	if a := s.topics[of][string(m.channel)]; a != nil {
		n += k.send(m, words[of].message, nil, a)
	}
	if of == channels {
		for _, a := range s.topics[patterns] {
			if match(a.name, m.channel) {
				n += k.send(m, words[patterns].message, a.name, a)
			}
		}
	}
	k.w.Int(n)
}

// send gives a message to all of an audience and returns how many they are.
func (k *call) send(m message, word string, pattern []byte, to *audience) int64 {
	n := int64(len(to.clients))
	for c := range to.clients {
		if c.closing {
			continue
		}
		if c.out.Out == nil {
			c.out.Out = c.loop.buffers.get(0)
		}
		w, start := &c.out, len(c.out.Out)
		if pattern == nil {
			w.Push(3)
			w.Text(word)
		} else {
			w.Push(4)
			w.Text(word)
			w.Bulk(pattern)
		}
		w.Bulk(m.channel)
		w.Bulk(m.text)
		k.s.await(c, start, m.need)
		k.s.queue(c)
		k.overcome(c)
	}
	return n
}

// outputLimit is how much may wait for a subscriber: so much at no time, and so much for a time (client-output-buffer-limit).
type outputLimit struct {
	hard, soft int   // bytes, 0 for any
	seconds    int64 // that soft may last
}

// overcome disconnects a subscriber that does not fetch its messages.
func (k *call) overcome(c *client) {
	s, l, waits := k.s, k.s.pubsubLimit, len(c.out.Out)-c.sent
	over := c.out.Over || l.hard > 0 && waits > l.hard
	switch {
	case l.soft == 0 || waits <= l.soft:
		c.softSince = 0
	case c.softSince == 0:
		c.softSince = k.l.now
	case k.l.now-c.softSince > l.seconds*1000:
		over = true
	}
	switch {
	case over:
		s.cfg.Logger.Warn("client closed for overcoming of output buffer limits", "id", c.id, "addr", c.peer, "name", c.name, "bytes", waits)
		k.l.stats.OutputLimit++
		if c == k.c { // it is executing
			c.closing = true
			return
		}
		s.drop(c)
	case c != k.c:
		s.account(c)
	}
}

func (k *call) listTopics(of kind) {
	if len(k.args) > 3 {
		k.failSub()
		return
	}
	var found [][]byte
	for _, a := range k.s.topics[of] {
		if len(k.args) == 2 || match(k.args[2], a.name) {
			found = append(found, a.name)
		}
	}
	slices.SortFunc(found, bytes.Compare)
	k.bulks(found)
}

// bulks answers with an array of bulks.
func (k *call) bulks(all [][]byte) {
	k.w.Array(len(all))
	for _, p := range all {
		k.w.Bulk(p)
	}
}

func (k *call) countSubscribers(of kind) {
	k.w.Array(2 * (len(k.args) - 2))
	for _, name := range k.args[2:] {
		k.w.Bulk(name)
		n := 0
		if a := k.s.topics[of][string(name)]; a != nil {
			n = len(a.clients)
		}
		k.w.Int(int64(n))
	}
}
