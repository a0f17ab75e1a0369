package server

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

func introspectionCommands() []command {
	const flags = "loading stale"
	return []command{
		{"command", -1, flags, 0, 0, 0, func(k *call) { k.describeCommands(k.s.names()) }},
		{"command|count", 2, flags, 0, 0, 0, func(k *call) { k.w.Int(int64(len(k.s.commands))) }},
		{"command|list", -2, flags, 0, 0, 0, listCommands},
		{"command|info", -2, flags, 0, 0, 0, commandInfo},
		{"command|docs", -2, flags, 0, 0, 0, func(k *call) { k.w.Map(0) }}, // there are none beside Redis' own
		{"command|getkeys", -4, flags, 0, 0, 0, getKeys},
	}
}

// names are those of all commands, in order.
func (s *Server) names() []string { return slices.Sorted(maps.Keys(s.commands)) }

func listCommands(k *call) {
	keep := func(string) bool { return true }
	switch n := len(k.args); {
	case n == 2:
	case n == 5 && is(k.args[2], "FILTERBY") && is(k.args[3], "PATTERN"):
		keep = func(name string) bool { return match(k.args[4], []byte(name)) }
	case n == 5 && is(k.args[2], "FILTERBY") && (is(k.args[3], "MODULE") || is(k.args[3], "ACLCAT")):
		keep = func(string) bool { return false } // there are neither modules nor categories
	default:
		k.fail(errSyntax)
		return
	}
	var found []string
	for _, name := range k.s.names() {
		if keep(name) {
			found = append(found, name)
		}
		for _, sub := range k.s.commands[name].ordered() {
			if len(k.args) > 2 && keep(sub.name) {
				found = append(found, sub.name)
			}
		}
	}
	k.w.Array(len(found))
	for _, name := range found {
		k.w.Text(name)
	}
}

// ordered is the subcommands in the order of their names.
func (c *known) ordered() (all []*known) {
	for _, name := range slices.Sorted(maps.Keys(c.subs)) {
		all = append(all, c.subs[name])
	}
	return all
}

func commandInfo(k *call) {
	if len(k.args) == 2 {
		k.describeCommands(k.s.names())
		return
	}
	var names []string
	for _, a := range k.args[2:] {
		names = append(names, strings.ToLower(string(a)))
	}
	k.describeCommands(names)
}

func (k *call) describeCommands(names []string) {
	k.w.Array(len(names))
	for _, name := range names {
		of, sub, has := strings.Cut(name, "|")
		c := k.s.commands[of]
		if c != nil && has {
			c = c.subs[sub]
		}
		if c == nil {
			k.w.Null()
			continue
		}
		k.describeCommand(c)
	}
}

func (k *call) describeCommand(c *known) {
	flags := strings.Fields(c.flags)
	k.w.Array(10)
	k.w.Text(c.name)
	k.w.Int(int64(c.arity))
	k.w.Set(len(flags))
	for _, f := range flags {
		k.w.Status(f)
	}
	k.w.Int(int64(c.first))
	k.w.Int(int64(c.last))
	k.w.Int(int64(c.step))
	k.w.Set(0)   // categories of access control
	k.w.Array(0) // tips
	k.w.Array(0) // key specifications
	subs := c.ordered()
	k.w.Array(len(subs))
	for _, s := range subs {
		k.describeCommand(s)
	}
}

func getKeys(k *call) {
	args := k.args[2:]
	cmd := k.lookup(args)
	switch n := len(args); {
	case cmd == nil:
		k.fail("ERR Invalid command specified")
		return
	case cmd.first == 0:
		k.fail("ERR The command has no key arguments")
		return
	case cmd.arity > 0 && n != cmd.arity || n < -cmd.arity:
		k.fail("ERR Invalid number of arguments specified for command")
		return
	case cmd.movable:
		k.fail("ERR the keys of " + cmd.title + " depend on its arguments, and are not told")
		return
	}
	var keys [][]byte
	for i := range cmd.places(len(args)) {
		keys = append(keys, args[i])
	}
	k.bulks(keys)
}

// help answers with the names of subcommands.
func help(of *known) func(k *call) {
	return func(k *call) {
		subs := of.ordered()
		k.w.Array(len(subs) + 1)
		k.w.Status(fmt.Sprintf("%s <subcommand> [<arg> [value] [opt] ...]. Subcommands are:", of.title))
		for _, s := range subs {
			_, name, _ := strings.Cut(s.title, "|")
			k.w.Status(name)
		}
	}
}
