package server

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"usui/layer/kv/collection"
	"usui/layer/kv/resp"
)

// source is a sorted set, or a set whose members all have the score 1, that others are made of.
type source struct {
	*collection.Table
	ranking *collection.Ranking // nil for a set
	weight  float64
}

// scoreAt is the weighted score of a member by its number.
func (s *source) scoreAt(i int) float64 {
	if s.ranking == nil {
		return s.weight
	}
	return number(s.weight * s.ranking.ScoreAt(i))
}

// scoreOf is that of a member, if it is there.
func (s *source) scoreOf(member string) (score float64, found bool) {
	i, found := s.Place(member)
	if !found {
		return 0, false
	}
	return s.scoreAt(i), true
}

// number makes 0 of what is none: of infinity times 0, and of infinity and its opposite.
func number(f float64) float64 {
	if math.IsNaN(f) {
		return 0
	}
	return f
}

// aggregate makes one score of two.
type aggregate func(a, b float64) float64

func sum(a, b float64) float64 { return number(a + b) }

// combination makes a sorted set of others: it calls put for each member, until that returns false.
type combination struct {
	weighted bool // takes WEIGHTS and AGGREGATE
	each     func(sources []source, a aggregate, put func(member string, score float64) bool)
}

var (
	zunion = combination{true, unite}
	zinter = combination{true, intersect}
	zdiff  = combination{false, subtract}
)

// smallFirst is the order in which Redis looks at them, which tells in sums of scores.
func smallFirst(sources []source) {
	slices.SortStableFunc(sources, func(a, b source) int { return cmp.Compare(a.Len(), b.Len()) })
}

func unite(sources []source, a aggregate, put func(string, float64) bool) {
	smallFirst(sources)
	scores := map[string]float64{}
	for _, s := range sources {
		for i := range s.Len() {
			member, _ := s.At(i)
			score := s.scoreAt(i)
			if old, met := scores[member]; met {
				score = a(old, score)
			}
			scores[member] = score
		}
	}
	for member, score := range scores {
		if !put(member, score) {
			return
		}
	}
}

func intersect(sources []source, a aggregate, put func(string, float64) bool) {
	smallFirst(sources)
	for i := range sources[0].Len() {
		member, _ := sources[0].At(i)
		score, everywhere := sources[0].scoreAt(i), true
		for _, s := range sources[1:] {
			other, found := s.scoreOf(member)
			if everywhere = found; !found {
				break
			}
			score = a(score, other)
		}
		if everywhere && !put(member, score) {
			return
		}
	}
}

func subtract(sources []source, _ aggregate, put func(string, float64) bool) {
	for i := range sources[0].Len() {
		member, _ := sources[0].At(i)
		elsewhere := slices.ContainsFunc(sources[1:], func(s source) bool {
			_, found := s.scoreOf(member)
			return found
		})
		if !elsewhere && !put(member, sources[0].scoreAt(i)) {
			return
		}
	}
}

// sources reads a number of keys and these, and returns the arguments behind. It answers if they are wrong.
func (k *call) sources(args [][]byte) (all []source, rest [][]byte, ok bool) {
	n, ok := k.integer(args[0])
	switch {
	case !ok:
		return nil, nil, false
	case n < 1:
		k.fail(fmt.Sprintf("ERR at least 1 input key is needed for '%s' command", k.c.command))
		return nil, nil, false
	case n > int64(len(args)-1):
		k.fail(errSyntax)
		return nil, nil, false
	}
	for _, key := range args[1 : n+1] {
		e, was := k.find(key)
		s := source{Table: &k.s.nothing, weight: 1}
		switch kind := e.Kind(); {
		case !was:
		case kind == collection.Set:
			s.Table = e.Collection.Elements.(*collection.Table)
		case kind == collection.ZSet:
			s.ranking = e.Collection.Elements.(*collection.Ranking)
			s.Table = &s.ranking.Table
		default:
			k.fail(errWrongType)
			return nil, nil, false
		}
		all = append(all, s)
	}
	return all, args[n+1:], true
}

// combine is ZUNION and its like.
func (k *call) combine(c combination, store bool) {
	args := k.args[1:]
	if store {
		args = args[1:]
	}
	sources, rest, ok := k.sources(args)
	if !ok {
		return
	}
	scores, a, ok := k.combineOptions(c, sources, rest, store)
	if !ok {
		return
	}
	if store {
		e := k.replace(k.args[1], collection.ZSet)
		c.each(sources, a, func(member string, score float64) bool {
			e.putScoreOf(member, score)
			return e.err == nil
		})
		if n := e.c.Elements.Len(); e.finish() {
			k.w.Int(int64(n))
		}
		return
	}
	z := collection.New(collection.ZSet, k.s.limits).(*collection.Ranking)
	c.each(sources, a, func(member string, score float64) bool {
		value := collection.ScoreValue(score)
		z.Set([]byte(member), value[:], 1)
		return true
	})
	n := z.Len()
	if scores && !k.w.V3 {
		n *= 2
	}
	k.w.Array(n)
	k.ranked(z, span{0, z.Len()}, false, scores, scores && k.w.V3)
}

// combineOptions reads weights, into the sources, and what else there is, and answers if it is wrong.
func (k *call) combineOptions(c combination, sources []source, args [][]byte, store bool) (scores bool, a aggregate, ok bool) {
	a = sum
	for len(args) > 0 {
		switch {
		case is(args[0], "WEIGHTS") && c.weighted && len(args) > len(sources):
			for i := range sources {
				if sources[i].weight, ok = parseScore(args[i+1]); !ok {
					k.fail("ERR weight value is not a float")
					return false, nil, false
				}
			}
			args = args[len(sources)+1:]
		case is(args[0], "AGGREGATE") && c.weighted && len(args) > 1:
			switch {
			case is(args[1], "SUM"):
				a = sum
			case is(args[1], "MIN"):
				a = func(a, b float64) float64 { return min(a, b) }
			case is(args[1], "MAX"):
				a = func(a, b float64) float64 { return max(a, b) }
			default:
				k.fail(errSyntax)
				return false, nil, false
			}
			args = args[2:]
		case is(args[0], "WITHSCORES") && !store:
			scores, args = true, args[1:]
		default:
			k.fail(errSyntax)
			return false, nil, false
		}
	}
	return scores, a, true
}

func zinterCard(k *call) {
	sources, rest, ok := k.sources(k.args[1:])
	if !ok {
		return
	}
	limit := int64(0)
	for ; len(rest) > 0; rest = rest[2:] {
		if !is(rest[0], "LIMIT") || len(rest) < 2 {
			k.fail(errSyntax)
			return
		}
		if limit, ok = resp.ParseInt(rest[1]); !ok || limit < 0 {
			k.fail("ERR LIMIT can't be negative")
			return
		}
	}
	n := int64(0)
	intersect(sources, sum, func(string, float64) bool { n++; return n != limit })
	k.w.Int(n)
}
