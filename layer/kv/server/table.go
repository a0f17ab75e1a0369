package server

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"usui/layer/kv/engine"
	"usui/layer/kv/resp"
)

// command is one that clients may send, as COMMAND describes it. One whose name has a bar, as in client|id, is a subcommand.
type command struct {
	name              string
	arity             int // number of arguments with the name; negative: at least so many
	flags             string
	first, last, step int // which arguments are keys
	run               func(k *call)
}

// call is a command that is executed. There is one of it for each loop, used again and again.
type call struct {
	s        *Server
	l        *loop // which executes it
	c        *client
	cmd      *known
	args     [][]byte // the name first
	w        *resp.Writer
	need     uint64 // what has to be durable before the reply may be sent
	failed   bool   // the reply is an error
	enclosed bool   // is part of a transaction
	name     [32]byte
	scratch  []byte   // for values that are put together
	value    []byte   // for a score or a label
	views    [][]byte // arguments of queued commands
}

// known is a command with what follows from its flags, and with its subcommands.
type known struct {
	command
	stranger bool // may come before the password
	write    bool // may change keys
	spreads  bool // may change keys or tell others
	adds     bool // may take more room
	movable  bool // has keys whose places depend on its arguments
	alone    bool // may not be in a transaction
	steers   bool // is about the transaction itself: executed, never queued
	listener bool // may come from a subscriber by version 2 of the protocol
	subs     map[string]*known
	hidden   bool   // is not kept in the slow log: what it executes is
	secret   bool   // has passwords in its arguments
	title    string // in upper case
	reach    reach
	number   int // in loop.uses; 0 if it has nothing but subcommands
}

// reach is what a command may look at and change, beside what its client has.
type reach int

const (
	everything reach = iota
	itsKeys          // those that it names
	itsClient        // nothing else
)

// table is all commands by name.
func table() map[string]*known {
	list := slicesOf(stringCommands(), bitCommands(), hashCommands(), setCommands(), listTypeCommands(), zsetCommands(), sortCommands(), keyCommands(), expiryCommands(), connectionCommands(), serverCommands(),
		transactionCommands(), pubsubCommands(), clientCommands(), configCommands(), introspectionCommands(), objectCommands(), slowlogCommands(), backupCommands(), absentCommands())
	m := make(map[string]*known, len(list))
	for _, c := range list {
		flags := " " + c.flags + " "
		has := func(flag string) bool { return strings.Contains(flags, " "+flag+" ") }
		n := &known{
			command: c, title: strings.ToUpper(c.name), stranger: has("no_auth"), write: has("write"), adds: has("denyoom"), movable: has("movablekeys"), alone: has("no_multi"), hidden: has("skip_slowlog"),
			steers: slices.Contains(steering, c.name), listener: slices.Contains(listening, c.name), secret: c.name == "auth" || c.name == "hello",
		}
		switch {
		case slices.Contains(private, c.name):
			n.reach = itsClient
		case c.first > 0 && !n.movable && !n.steers && !has("blocking") && !has("pubsub"):
			n.reach = itsKeys
		}
		n.spreads = n.write || slices.Contains(telling, c.name)
		of, sub, is := strings.Cut(c.name, "|")
		if !is {
			m[c.name] = n
			continue
		}
		if m[of].subs == nil { // it stands before its subcommands
			m[of].subs = map[string]*known{}
		}
		m[of].subs[sub] = n
	}
	for _, c := range m {
		if c.subs != nil {
			c.subs["help"] = &known{command: command{c.name + "|help", 2, "loading stale", 0, 0, 0, help(c)}, title: c.title + "|HELP"}
		}
	}
	return m
}

// Commands that have properties which no flag tells.
var (
	steering  = []string{"multi", "exec", "discard", "watch", "quit", "reset"}
	listening = []string{"subscribe", "unsubscribe", "psubscribe", "punsubscribe", "ssubscribe", "sunsubscribe", "ping", "quit", "reset"}
	telling   = []string{"publish", "spublish"}
	private   = []string{"ping", "echo", "select", "time", "multi"}
)

func slicesOf(lists ...[]command) (all []command) {
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}

// verdict is what became of a command.
type verdict int

const (
	done     verdict = iota // it was executed, queued or refused
	putOff                  // it has to wait
	needsAll                // it is for who has all of the server, and to be done by him, perhaps again
)

// do executes or queues a command, and has its reply wait for what it speaks of.
func (s *Server) do(c *client, args [][]byte) verdict {
	if c.out.Out == nil {
		c.out.Out = c.loop.buffers.get(0)
	}
	if isHTTP(args[0]) {
		s.refuseHTTP(c)
		return done
	}
	k := c.loop.call(c, args)
	cmd := k.lookup(args)
	if s.owner == nil && k.needsAll(cmd) {
		return needsAll
	}
	if c.mute || c.skip {
		k.w = k.l.nowhere(c)
	}
	start := len(c.out.Out)
	switch problem := k.refusal(cmd); {
	case problem != "":
		k.reject(cmd, problem)
	case s.putsOff(c, cmd):
		return putOff
	case c.queue != nil && !cmd.steers:
		c.queue.add(cmd, args)
		k.w.Status("QUEUED")
	default:
		if !k.perform(cmd) {
			return needsAll
		}
	}
	c.skip, c.skipNext, c.deleting = c.skipNext, false, deleting{}
	s.finish(c, start, k.need)
	if s.owner != nil {
		s.serveWaiting()
	}
	return done
}

// call is the loop's, for a command of a client.
func (l *loop) call(c *client, args [][]byte) *call {
	k := &l.executes
	k.s, k.l, k.c, k.args, k.w, k.need, k.failed, k.enclosed = l.s, l, c, args, &c.out, 0, false, false
	l.now = l.s.now.Load() // one time for all of the command
	return k
}

// needsAll says that a command can only be executed, queued or refused by who has all of the server. What it depends on changes only then, but for how much
// room there is, which is a guess: see run.
func (k *call) needsAll(cmd *known) bool {
	s := k.s
	switch {
	case s.pause.until > 0: // it may have to wait
		return true
	case cmd == nil, k.c.queue != nil && !cmd.steers:
		return false
	case cmd.reach == everything:
		return true
	case !cmd.write:
		return false
	case !s.store.Roomy():
		return true
	case len(s.watched) == 0 && len(s.blocking.queues) == 0:
		return false
	}
	for i := range cmd.places(len(k.args)) { // others are told of what it writes, or served
		if s.watched[string(k.args[i])] != nil || s.blocking.queues[string(k.args[i])] != nil {
			return true
		}
	}
	return false
}

// run executes the command with the locks that it needs, which are taken here only. ok is false if it has to be done again by who has all of the server: it met a lack of room that
// only he can help. What it wrote until then nobody can see: a collection that no key has got, and was given up, or other labels of a list; no group fails after its beginning for that. DEL of several
// keys goes on behind those that it deleted.
func (k *call) run(cmd *known) (ok bool) {
	store := k.l.store
	if k.s.owner == nil && cmd.reach == itsKeys {
		var set engine.Shards
		for i := range cmd.places(len(k.args)) {
			set |= store.Shard(k.args[i])
		}
		store.Lock(set)
		defer store.Unlock()
	}
	cmd.run(k)
	return !store.Short()
}

// finish has the reply from start on wait for need, if there is one, or disconnects a client for which it is too long.
func (s *Server) finish(c *client, start int, need uint64) {
	if c.out.Over {
		// The rest of a transaction has been executed nevertheless. What was answered before is still sent.
		c.out.Out, c.closing = slices.Clone(c.out.Out[:start]), true
		c.loop.stats.Evicted++
		return
	}
	c.need = max(c.need, need)
	if len(c.out.Out) > start {
		s.await(c, start, need)
	}
}

// reject answers a command that can neither be executed nor queued.
func (k *call) reject(cmd *known, problem string) {
	if cmd != nil && cmd.name == "exec" {
		k.s.forget(k.c)
		problem = "EXECABORT Transaction discarded because of: " + strings.TrimPrefix(problem, "ERR ")
	}
	if k.c.queue != nil {
		k.c.queue.broken = true
	}
	if cmd != nil {
		k.l.uses[cmd.number].rejected++
	}
	k.fail(problem)
}

// refusal is the error of a command that can neither be executed nor queued, empty if it can.
func (k *call) refusal(cmd *known) string {
	switch n := len(k.args); {
	case cmd == nil:
		return k.unknown()
	case cmd.arity > 0 && n != cmd.arity || n < -cmd.arity:
		return fmt.Sprintf("ERR wrong number of arguments for '%s' command", cmd.name)
	case !k.c.trusted && !cmd.stranger:
		return "NOAUTH Authentication required."
	case k.c.queue != nil && cmd.alone:
		return "ERR Command not allowed inside a transaction"
	case !cmd.listener && k.c.listens():
		return "ERR Can't execute '" + cmd.name + "': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context"
	}
	return ""
}

// perform executes a command and counts it. Its time begins where that of the one before ended. ok is false if run's is: then it has left nothing.
func (k *call) perform(cmd *known) (ok bool) {
	s, l, args, start, before := k.s, k.l, k.args, k.l.clock, k.l.store.Last()
	stats := l.stats
	l.stats.Commands++
	k.c.command, k.failed, k.cmd = cmd.name, false, cmd
	sealed, began, over := s.store.Sealed(), len(k.w.Out), k.w.Over
	if !k.run(cmd) {
		l.stats, k.w.Out, k.w.Over = stats, k.w.Out[:began], over
		return false
	}
	if now := s.store.Sealed(); now != nil && sealed == nil && errors.Is(now, engine.ErrDamaged) { // what it says of a key may be wrong
		k.w.Out = k.w.Out[:min(began, len(k.w.Out))] // it may have ended its own client
		k.fail(explain(now))
	}
	l.clock = time.Now()
	took := l.clock.Sub(start)
	u := &l.uses[cmd.number]
	u.calls, u.took = u.calls+1, u.took+took
	if k.failed {
		u.failed++
	}
	l.latency.Observe(took)
	if s.slow.threshold >= 0 {
		s.noteSlow(k.c, cmd, args, took)
	}
	if cmd.write && s.owner != nil && s.store.Last() != before { // else nobody watches its keys, or waits for them: see needsAll
		s.wrote(cmd, args, before)
	}
	if cap(k.scratch) > keptScratch {
		k.scratch = nil
	}
	return true
}

const keptScratch = 1 << 20

// wrote tells those who watch keys, or wait for them, that a command wrote; before is the last sequence number before it.
func (s *Server) wrote(cmd *known, args [][]byte, before uint64) {
	if len(s.watched) > 0 {
		s.touch(cmd, args, before)
	}
	if len(s.blocking.queues) > 0 {
		s.note(cmd, args, before)
	}
}

// await makes the reply from start on wait for need.
func (s *Server) await(c *client, start int, need uint64) {
	if need <= s.store.Durable() || c.fd < 0 {
		return
	}
	if s.store.Sealed() != nil { // it will never be durable: nobody may hear of it
		c.out.Out = c.out.Out[:start]
		c.out.Error("MISCONF " + s.store.Sealed().Error())
		return
	}
	c.loop.stats.Held++
	c.hold(start, need, s.store.Flight())
	if !c.waits {
		c.waits = true
		c.loop.waiting = append(c.loop.waiting, c)
	}
}

// lookup finds the command, whatever the case of its name. It is nil for an unknown subcommand, too.
func (k *call) lookup(args [][]byte) *known {
	cmd := k.named(k.s.commands, args[0])
	if cmd != nil && cmd.subs != nil && len(args) > 1 {
		return k.named(cmd.subs, args[1])
	}
	return cmd
}

func (k *call) named(m map[string]*known, name []byte) *known {
	if len(name) > len(k.name) {
		return nil
	}
	for i, b := range name {
		if b >= 'A' && b <= 'Z' {
			b |= 0x20
		}
		k.name[i] = b
	}
	return m[string(k.name[:len(name)])]
}

// unknown is the error of Redis (rejectCommandFormat in processCommand): some of the arguments, cut at 128 bytes in all.
func (k *call) unknown() string {
	name := k.args[0]
	if of := k.named(k.s.commands, name); of != nil {
		return fmt.Sprintf("ERR unknown subcommand '%s'. Try %s HELP.", k.args[1][:min(len(k.args[1]), 128)], of.title)
	}
	var b strings.Builder
	for _, a := range k.args[1:] {
		if b.Len() >= 128 {
			break
		}
		fmt.Fprintf(&b, "'%s' ", a[:min(len(a), 128-b.Len())])
	}
	return fmt.Sprintf("ERR unknown command '%s', with args beginning with: %s", name[:min(len(name), 128)], b.String())
}

// fail answers with an error.
func (k *call) fail(text string) {
	k.failed = true
	if !k.l.store.Short() { // else the reply is dropped
		k.l.countError(text)
	}
	k.w.Error(text)
}

// failSub answers a subcommand with too many arguments.
func (k *call) failSub() {
	of, _, _ := strings.Cut(k.c.command, "|")
	k.fail(fmt.Sprintf("ERR unknown subcommand or wrong number of arguments for '%s'. Try %s HELP.", k.args[1][:min(len(k.args[1]), 128)], strings.ToUpper(of)))
}

// Errors that many commands have, as Redis words them.
const (
	errSyntax    = "ERR syntax error"
	errInteger   = "ERR value is not an integer or out of range"
	errOverflow  = "ERR increment or decrement would overflow"
	errFloat     = "ERR value is not a valid float"
	errWrongType = "WRONGTYPE Operation against a key holding the wrong kind of value"
	errNoKey     = "ERR no such key"
	errTooLong   = "ERR string exceeds maximum allowed size (proto-max-bulk-len)"
)

// find reads a key, whatever it has.
func (k *call) find(key []byte) (engine.Entry, bool) {
	k.need = max(k.need, k.l.store.Pending(key))
	e, ok := k.l.store.Get(key)
	if ok {
		k.l.stats.Hits++
	} else {
		k.l.stats.Misses++
	}
	return e, ok
}

// get reads a key that must have a string or be none. ok is false if it has something else, and that was answered.
func (k *call) get(key []byte) (e engine.Entry, was, ok bool) {
	if e, was = k.find(key); e.Collection != nil {
		k.fail(errWrongType)
		return engine.Entry{}, false, false
	}
	return e, was, true
}

// put writes a string, and answers if that fails.
func (k *call) put(key, value []byte, expire int64) bool {
	return k.wrote(k.l.store.Put(key, value, expire))
}

// remove deletes a key and says whether it was there; ok is false if that failed and was answered.
func (k *call) remove(key []byte) (was, ok bool) {
	k.need = max(k.need, k.l.store.Pending(key)) // that it is gone may be news
	was, err := k.l.store.Delete(key)
	if !was && err == nil {
		return false, true
	}
	return was, k.wrote(err)
}

// wrote looks at the result of a write.
func (k *call) wrote(err error) bool {
	if err == nil {
		k.need = k.l.store.Last()
		return true
	}
	k.fail(explain(err))
	return false
}

// explain gives an error of the store the first word that clients know: MISCONF is that of a server whose disk has trouble.
func explain(err error) string {
	switch {
	case err == engine.ErrTooLong: // one value; what wraps it says more
		return errTooLong
	case errors.Is(err, engine.ErrTooLong):
		return "ERR " + err.Error()
	}
	return "MISCONF " + err.Error()
}

// all makes the reply wait for every write so far: it speaks of more than single keys.
func (k *call) all() { k.need = k.l.store.Last() }

// integer reads an argument that is a whole number, and answers if it is none.
func (k *call) integer(p []byte) (int64, bool) {
	n, ok := resp.ParseInt(p)
	if !ok {
		k.fail(errInteger)
	}
	return n, ok
}

// is compares an argument with a word in upper case.
func is(arg []byte, word string) bool {
	if len(arg) != len(word) {
		return false
	}
	for i, b := range arg {
		if b >= 'a' && b <= 'z' {
			b -= 0x20
		}
		if b != word[i] {
			return false
		}
	}
	return true
}
