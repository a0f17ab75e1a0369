package server

import "usui/layer/kv/collection"

// rangeBy is by what the ends of a range are told.
type rangeBy int

const (
	byRank rangeBy = iota
	byScore
	byName
)

// rangeForm is a form of ZRANGE.
type rangeForm struct {
	by      rangeBy
	reverse bool
	any     bool // the arguments may choose the two
	store   bool // into a key, which is the first argument
}

// scoreLimit is an end of a range of scores; open says that the score itself is not part of it.
type scoreLimit struct {
	score float64
	open  bool
}

// nameLimit is an end of a range of members. Without a name it is before all or behind all.
type nameLimit struct {
	name        string
	open        bool
	first, last bool
}

func limitName(p []byte) (l nameLimit, ok bool) {
	switch {
	case string(p) == "-":
		return nameLimit{first: true}, true
	case string(p) == "+":
		return nameLimit{last: true}, true
	case len(p) > 0 && (p[0] == '(' || p[0] == '['):
		return nameLimit{name: string(p[1:]), open: p[0] == '('}, true
	}
	return l, false
}

// before is how many members are before the limit, which is the lower or the upper end of a range.
func (l nameLimit) before(z *collection.Ranking, upper bool) int {
	switch {
	case l.first:
		return 0
	case l.last:
		return z.Len()
	}
	return z.BeforeKey(l.name, l.open != upper)
}

// limits are the two ends of a range.
type limits struct {
	by            rangeBy
	first, last   int64
	low, high     scoreLimit
	least, latest nameLimit
}

// limits reads two ends, the lower one first, and answers if they are none.
func (k *call) limits(by rangeBy, a, b []byte) (l limits, ok bool) {
	l.by = by
	ok2 := true
	switch by {
	case byRank:
		l.first, l.last, ok = k.bounds(a, b)
		return l, ok
	case byScore:
		l.low, ok = limitScore(a)
		l.high, ok2 = limitScore(b)
		if ok = ok && ok2; !ok {
			k.fail("ERR min or max is not a float")
		}
	default:
		l.least, ok = limitName(a)
		l.latest, ok2 = limitName(b)
		if ok = ok && ok2; !ok {
			k.fail("ERR min or max not valid string range item")
		}
	}
	return l, ok
}

// span is the ranks of a range, which count from the other end if reverse is true and they are told by ranks.
func (l limits) span(z *collection.Ranking, reverse bool) span {
	var s span
	switch n := z.Len(); {
	case l.by == byScore:
		s = span{z.Before(l.low.score, l.low.open), z.Before(l.high.score, !l.high.open)}
	case l.by == byName:
		s = span{l.least.before(z, false), l.latest.before(z, true)}
	default:
		if s = interval(l.first, l.last, n); reverse {
			s = span{n - s.high, n - s.low}
		}
	}
	if s.low >= s.high {
		return span{}
	}
	return s
}

// part leaves limit of the span, or all if that is negative, from offset on.
func (s span) part(offset, limit int64, reverse bool) span {
	n := int64(s.high - s.low)
	if offset < 0 || offset >= n {
		return span{}
	}
	if n -= offset; limit >= 0 {
		n = min(n, limit)
	}
	if reverse {
		return span{s.high - int(offset+n), s.high - int(offset)}
	}
	return span{s.low + int(offset), s.low + int(offset+n)}
}

// ranked writes the members of a span, with their scores if that is wanted, in arrays of two if pairs is true.
func (k *call) ranked(z *collection.Ranking, s span, reverse, scores, pairs bool) {
	for i := s.low; i < s.high && !k.full(); i++ {
		rank := i
		if reverse {
			rank = s.high - 1 - (i - s.low)
		}
		member, score := z.Ranked(rank)
		if pairs {
			k.w.Array(2)
		}
		k.w.Text(member)
		if scores {
			k.w.Double(score)
		}
	}
}

// rangeOptions are what ZRANGE may end with.
type rangeOptions struct {
	rangeForm
	scores        bool
	offset, limit int64
}

// rangeOptions reads them, and answers if they are wrong.
func (k *call) rangeOptions(f rangeForm, args [][]byte) (o rangeOptions, ok bool) {
	o = rangeOptions{rangeForm: f, limit: -1}
	chosen := !f.any
	for i := 0; i < len(args); i++ {
		switch a := args[i]; {
		case is(a, "WITHSCORES") && !f.store:
			o.scores = true
		case is(a, "LIMIT") && len(args)-i > 2:
			if o.offset, o.limit, ok = k.bounds(args[i+1], args[i+2]); !ok {
				return o, false
			}
			i += 2
		case is(a, "REV") && f.any && !o.reverse:
			o.reverse = true
		case is(a, "BYSCORE") && !chosen:
			o.by, chosen = byScore, true
		case is(a, "BYLEX") && !chosen:
			o.by, chosen = byName, true
		default:
			k.fail(errSyntax)
			return o, false
		}
	}
	switch {
	case o.limit != -1 && o.by == byRank:
		k.fail("ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX")
	case o.scores && o.by == byName:
		k.fail("ERR syntax error, WITHSCORES not supported in combination with BYLEX")
	default:
		return o, true
	}
	return o, false
}

func (k *call) zrange(f rangeForm) {
	args := k.args[1:]
	if f.store {
		args = args[1:]
	}
	o, ok := k.rangeOptions(f, args[3:])
	if !ok {
		return
	}
	a, b := args[1], args[2]
	if o.reverse && o.by != byRank {
		a, b = b, a
	}
	l, ok := k.limits(o.by, a, b)
	if !ok {
		return
	}
	_, z, ok := k.ranking(args[0])
	if !ok {
		return
	}
	s := l.span(z, o.reverse)
	if o.by != byRank {
		s = s.part(o.offset, o.limit, o.reverse)
	}
	switch n := s.high - s.low; {
	case f.store:
		k.storeRange(z, s)
	case o.scores && !k.w.V3:
		k.w.Array(2 * n)
		k.ranked(z, s, o.reverse, true, false)
	default:
		k.w.Array(n)
		k.ranked(z, s, o.reverse, o.scores, o.scores)
	}
}

func (k *call) storeRange(z *collection.Ranking, s span) {
	e := k.replace(k.args[1], collection.ZSet)
	for i := s.low; i < s.high; i++ {
		e.putScoreOf(z.Ranked(i))
	}
	if e.finish() {
		k.w.Int(int64(s.high - s.low))
	}
}

// countBetween is ZCOUNT and ZLEXCOUNT.
func (k *call) countBetween(by rangeBy) {
	l, ok := k.limits(by, k.args[2], k.args[3])
	if !ok {
		return
	}
	if _, z, ok := k.ranking(k.args[1]); ok {
		s := l.span(z, false)
		k.w.Int(int64(s.high - s.low))
	}
}

// removeBetween is ZREMRANGEBYRANK and its like.
func (k *call) removeBetween(by rangeBy) {
	l, ok := k.limits(by, k.args[2], k.args[3])
	if !ok {
		return
	}
	c, z, ok := k.ranking(k.args[1])
	if !ok {
		return
	}
	s := l.span(z, false)
	if c == nil || s.low == s.high || k.removeRanks(k.args[1], c, s) {
		k.w.Int(int64(s.high - s.low))
	}
}
