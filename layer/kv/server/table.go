package server

import (
	"errors"
	"fmt"
	"strings"

	"usui/layer/kv/engine"
	"usui/layer/kv/resp"
)

// command is one that clients may send, as COMMAND describes it.
type command struct {
	name              string
	arity             int // number of arguments with the name; negative: at least so many
	flags             string
	first, last, step int // which arguments are keys
	run               func(k *call)
}

// call is a command that is executed. There is one of it, used again and again.
type call struct {
	s       *Server
	c       *client
	args    [][]byte // the name first
	w       *resp.Writer
	need    uint64 // what has to be durable before the reply may be sent
	failed  bool   // the reply is an error
	name    [32]byte
	scratch []byte // for values that are put together
}

// table is all commands by name.
func table() map[string]*command {
	list := slicesOf(stringCommands(), bitCommands(), hashCommands(), setCommands(), keyCommands(), expiryCommands(), connectionCommands(),
		serverCommands(), absentCommands())
	m := make(map[string]*command, len(list))
	for i := range list {
		m[list[i].name] = &list[i]
	}
	return m
}

func slicesOf(lists ...[]command) (all []command) {
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}

// do executes a command and has its reply wait for what it speaks of.
func (s *Server) do(c *client, args [][]byte) {
	s.stats.Commands++
	if c.out.Out == nil {
		c.out.Out = s.buffers.get(0)
	}
	k := &s.call
	k.s, k.c, k.args, k.w, k.need, k.failed = s, c, args, &c.out, 0, false
	start := len(c.out.Out)
	cmd := k.lookup()
	switch {
	case cmd == nil:
		k.unknown()
	case cmd.arity > 0 && len(args) != cmd.arity || len(args) < -cmd.arity:
		k.fail(fmt.Sprintf("ERR wrong number of arguments for '%s' command", cmd.name))
	case !c.trusted && !strings.Contains(cmd.flags, "no_auth"):
		k.fail("NOAUTH Authentication required.")
	default:
		c.command = cmd.name
		cmd.run(k)
	}
	if cap(k.scratch) > keptScratch {
		k.scratch = nil
	}
	s.await(c, start, k.need)
}

const keptScratch = 1 << 20

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
	s.stats.Held++
	c.hold(start, need, s.store.Flight())
	if !c.waits {
		c.waits = true
		s.waiting = append(s.waiting, c)
	}
}

// lookup finds the command, whatever the case of its name.
func (k *call) lookup() *command {
	name := k.args[0]
	if len(name) > len(k.name) {
		return nil
	}
	for i, b := range name {
		if b >= 'A' && b <= 'Z' {
			b |= 0x20
		}
		k.name[i] = b
	}
	return k.s.commands[string(k.name[:len(name)])]
}

// unknown answers as Redis does (rejectCommandFormat in processCommand): some of the arguments, cut at 128 bytes in all.
func (k *call) unknown() {
	var b strings.Builder
	for _, a := range k.args[1:] {
		if b.Len() >= 128 {
			break
		}
		fmt.Fprintf(&b, "'%s' ", a[:min(len(a), 128-b.Len())])
	}
	name := k.args[0]
	k.fail(fmt.Sprintf("ERR unknown command '%s', with args beginning with: %s", name[:min(len(name), 128)], b.String()))
}

// fail answers with an error.
func (k *call) fail(text string) {
	k.failed = true
	k.w.Error(text)
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
	k.need = max(k.need, k.s.store.Pending(key))
	e, ok := k.s.store.Get(key)
	if ok {
		k.s.stats.Hits++
	} else {
		k.s.stats.Misses++
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
	return k.wrote(k.s.store.Put(key, value, expire))
}

// remove deletes a key and says whether it was there; ok is false if that failed and was answered.
func (k *call) remove(key []byte) (was, ok bool) {
	k.need = max(k.need, k.s.store.Pending(key)) // that it is gone may be news
	was, err := k.s.store.Delete(key)
	if !was && err == nil {
		return false, true
	}
	return was, k.wrote(err)
}

// wrote looks at the result of a write.
func (k *call) wrote(err error) bool {
	if err == nil {
		k.need = k.s.store.Last()
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
func (k *call) all() { k.need = k.s.store.Last() }

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
