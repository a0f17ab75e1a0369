package server

import (
	"slices"
	"strings"

	"usui/layer/kv/engine"
)

// bounded are commands whose records are not longer than twice their arguments and little. Others write as much as they find.
var bounded = strings.Fields(`set setnx setex psetex getset getdel mset msetnx incr decr incrby decrby incrbyfloat del unlink flushall flushdb
	hset hmset hsetnx hdel hincrby hincrbyfloat sadd srem smove spop`)

// little is what a command may write beside its arguments: numbers as text, and the record of its key.
const little = 256

// room is how many bytes a group needs that has the writes of a transaction: at least, and for certain. Both are 0 if it writes nothing.
func (t *transaction) room(most int) (least, enough int) {
	for _, q := range t.commands {
		if !q.cmd.write {
			continue
		}
		start := 0
		if q.first > 0 {
			start = t.ends[q.first-1]
		}
		for _, end := range t.ends[q.first:q.last] {
			least += engine.Room(end-start, 0)
			start = end
		}
		if !slices.Contains(bounded, q.cmd.name) {
			enough = most
		}
		enough = min(most, enough+little)
	}
	return least, min(most, enough+2*least)
}

// enclose begins a group of the engine for what a transaction writes, so that a crash leaves all of it or nothing, which is to be ended if
// begun says so. It answers if there is no room: then nothing was executed.
func (k *call) enclose(t *transaction) (begun, ok bool) {
	s := k.l.store
	least, enough := t.room(s.MaxValue())
	if least == 0 || k.s.apart {
		return false, true
	}
	begin := s.BeginDeletes // a full disk allows that, and looks at each write that adds something
	if slices.ContainsFunc(t.commands, func(q queued) bool { return q.cmd.adds }) {
		begin = s.Begin
	}
	if err := begin(max(least, enough)); err != nil {
		k.fail("EXECABORT Transaction discarded because of: " + strings.TrimPrefix(explain(err), "ERR "))
		return false, false
	}
	return true, true
}
