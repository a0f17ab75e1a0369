package server

import (
	"math"

	"usui/layer/kv/collection"
	"usui/layer/kv/engine"
)

func zsetCommands() []command {
	const read, write = "readonly", "write"
	return []command{
		{"zadd", -4, "write denyoom fast", 1, 1, 1, func(k *call) { k.zadd(false) }},
		{"zincrby", 4, "write denyoom fast", 1, 1, 1, func(k *call) { k.zadd(true) }},
		{"zrem", -3, "write fast", 1, 1, 1, func(k *call) { k.removeFrom(collection.ZSet) }},
		{"zcard", 2, "readonly fast", 1, 1, 1, func(k *call) { k.count(collection.ZSet) }},
		{"zscore", 3, "readonly fast", 1, 1, 1, zscore},
		{"zmscore", -3, "readonly fast", 1, 1, 1, zmscore},
		{"zrank", 3, "readonly fast", 1, 1, 1, func(k *call) { k.rankOf(head) }},
		{"zrevrank", 3, "readonly fast", 1, 1, 1, func(k *call) { k.rankOf(tail) }},
		{"zcount", 4, "readonly fast", 1, 1, 1, func(k *call) { k.countBetween(byScore) }},
		{"zlexcount", 4, "readonly fast", 1, 1, 1, func(k *call) { k.countBetween(byName) }},
		{"zrange", -4, read, 1, 1, 1, func(k *call) { k.zrange(rangeForm{any: true}) }},
		{"zrevrange", -4, read, 1, 1, 1, func(k *call) { k.zrange(rangeForm{reverse: true}) }},
		{"zrangebyscore", -4, read, 1, 1, 1, func(k *call) { k.zrange(rangeForm{by: byScore}) }},
		{"zrevrangebyscore", -4, read, 1, 1, 1, func(k *call) { k.zrange(rangeForm{by: byScore, reverse: true}) }},
		{"zrangebylex", -4, read, 1, 1, 1, func(k *call) { k.zrange(rangeForm{by: byName}) }},
		{"zrevrangebylex", -4, read, 1, 1, 1, func(k *call) { k.zrange(rangeForm{by: byName, reverse: true}) }},
		{"zrangestore", -5, "write denyoom", 1, 2, 1, func(k *call) { k.zrange(rangeForm{any: true, store: true}) }},
		{"zremrangebyrank", 4, write, 1, 1, 1, func(k *call) { k.removeBetween(byRank) }},
		{"zremrangebyscore", 4, write, 1, 1, 1, func(k *call) { k.removeBetween(byScore) }},
		{"zremrangebylex", 4, write, 1, 1, 1, func(k *call) { k.removeBetween(byName) }},
		{"zpopmin", -2, "write fast", 1, 1, 1, func(k *call) { k.zpop(head) }},
		{"zpopmax", -2, "write fast", 1, 1, 1, func(k *call) { k.zpop(tail) }},
		{"zmpop", -4, "write movablekeys", 0, 0, 0, func(k *call) { k.popSeveral(collection.ZSet, k.end, (*call).zmpopFrom) }},
		{"bzpopmin", -3, "write noscript fast blocking", 1, -2, 1, func(k *call) { k.blockingZPop(head) }},
		{"bzpopmax", -3, "write noscript fast blocking", 1, -2, 1, func(k *call) { k.blockingZPop(tail) }},
		{"bzmpop", -5, "write blocking movablekeys", 0, 0, 0, func(k *call) { k.blockingPopSeveral(collection.ZSet, k.end, (*call).zmpopFrom) }},
		{"zunion", -3, "readonly movablekeys", 0, 0, 0, func(k *call) { k.combine(zunion, false) }},
		{"zinter", -3, "readonly movablekeys", 0, 0, 0, func(k *call) { k.combine(zinter, false) }},
		{"zdiff", -3, "readonly movablekeys", 0, 0, 0, func(k *call) { k.combine(zdiff, false) }},
		{"zunionstore", -4, "write denyoom movablekeys", 1, 1, 1, func(k *call) { k.combine(zunion, true) }},
		{"zinterstore", -4, "write denyoom movablekeys", 1, 1, 1, func(k *call) { k.combine(zinter, true) }},
		{"zdiffstore", -4, "write denyoom movablekeys", 1, 1, 1, func(k *call) { k.combine(zdiff, true) }},
		{"zintercard", -3, "readonly movablekeys", 0, 0, 0, zinterCard},
		{"zrandmember", -2, read, 1, 1, 1, zrandMember},
		{"zscan", -3, read, 1, 1, 1, func(k *call) { k.scanTable(collection.ZSet) }},
	}
}

// ranking is collection for sorted sets, to read and to change. A key that is not there has an empty one, and c is nil.
func (k *call) ranking(key []byte) (c *engine.Collection, z *collection.Ranking, ok bool) {
	c, ok = k.collection(key, collection.ZSet)
	if c == nil {
		return nil, &k.s.noRanking, ok
	}
	return c, c.Elements.(*collection.Ranking), ok
}

// putScore gives a member a score.
func (e *edit) putScore(member []byte, score float64) {
	value := collection.ScoreValue(score)
	e.k.value = append(e.k.value[:0], value[:]...)
	e.put(member, e.k.value)
}

// putScoreOf is putScore for the name of a member.
func (e *edit) putScoreOf(member string, score float64) {
	e.k.scratch = append(e.k.scratch[:0], member...)
	e.putScore(e.k.scratch, score)
}

// addition is what ZADD may be told.
type addition struct{ nx, xx, gt, lt, ch, incr bool }

// addition reads options, and returns the scores and members behind them. It answers if they are wrong.
func (k *call) addition(increment bool) (o addition, pairs [][]byte, ok bool) {
	o.incr = increment
	pairs = k.args[2:]
	for ; !increment && len(pairs) > 0; pairs = pairs[1:] {
		a, option := pairs[0], true
		switch {
		case is(a, "NX"):
			o.nx = true
		case is(a, "XX"):
			o.xx = true
		case is(a, "GT"):
			o.gt = true
		case is(a, "LT"):
			o.lt = true
		case is(a, "CH"):
			o.ch = true
		case is(a, "INCR"):
			o.incr = true
		default:
			option = false
		}
		if !option {
			break
		}
	}
	switch {
	case len(pairs) == 0 || len(pairs)%2 != 0:
		k.fail(errSyntax)
	case o.nx && o.xx:
		k.fail("ERR XX and NX options at the same time are not compatible")
	case o.gt && o.nx, o.lt && o.nx, o.gt && o.lt:
		k.fail("ERR GT, LT, and/or NX options at the same time are not compatible")
	case o.incr && len(pairs) > 2:
		k.fail("ERR INCR option supports a single increment-element pair")
	default:
		return o, pairs, true
	}
	return o, nil, false
}

// result is the score that a member gets. changed is false if it keeps the one that it has, done if the options do not allow anything.
func (o addition) result(z *collection.Ranking, member []byte, score float64) (_ float64, was, done, changed bool) {
	old, was := z.Score(member)
	switch {
	case !was:
		return score, false, !o.xx, !o.xx
	case o.nx:
		return old, true, false, false
	}
	if o.incr {
		score += old
	}
	if o.lt && score >= old || o.gt && score <= old {
		return old, true, false, false
	}
	return score, true, true, score != old
}

func (k *call) zadd(increment bool) {
	o, pairs, ok := k.addition(increment)
	if !ok {
		return
	}
	var r room
	for i := 0; i < len(pairs); i += 2 {
		if _, ok := k.score(pairs[i]); !ok {
			return
		}
		r.add(len(pairs[i+1]), collection.ScoreBytes)
	}
	key := k.args[1]
	c, z, ok := k.ranking(key)
	if !ok {
		return
	}
	if o.incr {
		k.increase(key, c, z, o, pairs)
		return
	}
	if c == nil && o.xx {
		k.w.Int(0)
		return
	}
	e, ok := k.edit(key, c, collection.ZSet, r)
	if !ok {
		return
	}
	added, updated := 0, 0
	z = e.c.Elements.(*collection.Ranking)
	for i := 0; i < len(pairs); i += 2 {
		by, _ := parseScore(pairs[i])
		score, was, _, changed := o.result(z, pairs[i+1], by)
		switch {
		case !changed:
			continue
		case was:
			updated++
		default:
			added++
		}
		e.putScore(pairs[i+1], score)
	}
	if !o.ch {
		updated = 0
	}
	if e.finish() {
		k.w.Int(int64(added + updated))
	}
}

// increase is ZINCRBY, and ZADD with INCR.
func (k *call) increase(key []byte, c *engine.Collection, z *collection.Ranking, o addition, pair [][]byte) {
	by, _ := parseScore(pair[0])
	score, _, done, changed := o.result(z, pair[1], by)
	switch {
	case math.IsNaN(score):
		k.fail("ERR resulting score is not a number (NaN)")
		return
	case !done:
		k.w.Null()
		return
	}
	if changed {
		e, ok := k.edit(key, c, collection.ZSet, room{})
		if !ok {
			return
		}
		if e.putScore(pair[1], score); !e.finish() {
			return
		}
	}
	k.w.Double(score)
}

func zscore(k *call) {
	if _, z, ok := k.ranking(k.args[1]); ok {
		k.scoreOf(z, k.args[2])
	}
}

func (k *call) scoreOf(z *collection.Ranking, member []byte) {
	if score, found := z.Score(member); found {
		k.w.Double(score)
	} else {
		k.w.Null()
	}
}

func zmscore(k *call) {
	_, z, ok := k.ranking(k.args[1])
	if !ok {
		return
	}
	k.w.Array(len(k.args) - 2)
	for _, member := range k.args[2:] {
		k.scoreOf(z, member)
	}
}

// rankOf counts from an end.
func (k *call) rankOf(from side) {
	_, z, ok := k.ranking(k.args[1])
	if !ok {
		return
	}
	rank, found := z.Rank(k.args[2])
	switch {
	case !found:
		k.w.Null()
	case from == head:
		k.w.Int(int64(rank))
	default:
		k.w.Int(int64(z.Len() - 1 - rank))
	}
}

// removeRanks takes out the members of a span of ranks. It answers if that fails.
func (k *call) removeRanks(key []byte, c *engine.Collection, s span) (ok bool) {
	z := c.Elements.(*collection.Ranking)
	if s == (span{0, z.Len()}) {
		_, ok = k.remove(key)
		return ok
	}
	var r room
	for i := s.low; i < s.high; i++ {
		member, _ := z.Ranked(i)
		r.add(len(member), 0)
	}
	if r.records == 0 {
		return true
	}
	e, ok := k.reduce(key, c, r)
	if !ok {
		return false
	}
	z = e.c.Elements.(*collection.Ranking)
	for i := s.high - 1; i >= s.low; i-- {
		member, _ := z.Ranked(i)
		k.scratch = append(k.scratch[:0], member...)
		e.remove(k.scratch)
	}
	return e.finish()
}

// takeRanked answers with count members from an end, one after the other, and takes them out. begin writes what comes before them; pairs says
// that each has an array of its own, with its score.
func (k *call) takeRanked(key []byte, c *engine.Collection, count int, from side, pairs bool, begin func(count int)) {
	z, start := c.Elements.(*collection.Ranking), len(k.w.Out)
	count = min(count, z.Len())
	s := from.span(z.Len(), count)
	begin(count)
	k.ranked(z, s, from == tail, true, pairs)
	end := len(k.w.Out)
	if !k.removeRanks(key, c, s) { // and the reason was answered
		k.w.Out = append(k.w.Out[:start], k.w.Out[end:]...)
	}
}

func (k *call) zpop(from side) {
	if len(k.args) > 3 {
		k.fail(errSyntax)
		return
	}
	count, many, ok := k.popCount()
	if !ok {
		return
	}
	c, _, ok := k.ranking(k.args[1])
	switch {
	case !ok:
	case c == nil, count == 0:
		k.w.Array(0)
	default:
		pairs := many && k.w.V3
		k.takeRanked(k.args[1], c, count, from, pairs, func(n int) {
			if !pairs {
				n *= 2
			}
			k.w.Array(n)
		})
	}
}

// end reads MIN or MAX, and answers if it is neither.
func (k *call) end(arg []byte) (s side, ok bool) {
	switch {
	case is(arg, "MIN"):
		return head, true
	case is(arg, "MAX"):
		return tail, true
	}
	k.fail(errSyntax)
	return head, false
}

// zmpopFrom is ZMPOP's reply.
func (k *call) zmpopFrom(key []byte, c *engine.Collection, m several) {
	k.takeRanked(key, c, m.count, m.from, true, func(n int) {
		k.w.Array(2)
		k.w.Bulk(key)
		k.w.Array(n)
	})
}

// blockingZPop is BZPOPMIN and BZPOPMAX.
func (k *call) blockingZPop(from side) {
	last := len(k.args) - 1
	until, ok := k.deadline(k.args[last])
	if !ok {
		return
	}
	k.popOrBlock(k.args[1:last], collection.ZSet, until, func(k *call, key []byte, c *engine.Collection) {
		k.takeRanked(key, c, 1, from, false, func(int) {
			k.w.Array(3)
			k.w.Bulk(key)
		})
	})
}

func zrandMember(k *call) {
	if len(k.args) == 2 {
		if _, z, ok := k.ranking(k.args[1]); ok {
			k.any(&z.Table)
		}
		return
	}
	n, ok := k.countOf(k.args[2])
	if !ok {
		return
	}
	scores := len(k.args) == 4 && is(k.args[3], "WITHSCORES")
	switch {
	case len(k.args) > 3 && !scores:
		k.fail(errSyntax)
		return
	case scores && (n > math.MaxInt64/2 || n < -math.MaxInt64/2):
		k.fail("ERR value is out of range")
		return
	}
	if _, z, ok := k.ranking(k.args[1]); ok {
		k.someOf(&z.Table, n, scores)
	}
}
