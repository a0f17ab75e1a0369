package server

import (
	"math"

	"usui/layer/kv/resp"
)

// search is what LPOS looks for.
type search struct {
	rank     int64 // the first match to tell, from 1; negative from the end
	count    int   // of matches to tell
	many     bool
	elements int // to look at
}

func (k *call) search() (s search, ok bool) {
	s = search{rank: 1, count: 1, elements: math.MaxInt}
	for i := 3; i < len(k.args); i += 2 {
		if i+1 == len(k.args) {
			k.fail(errSyntax)
			return s, false
		}
		n, ok := int64(0), true
		switch a, value := k.args[i], k.args[i+1]; {
		case is(a, "RANK"):
			if n, ok = k.integer(value); ok && n == 0 {
				k.fail("ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use negative to start from the end of the list")
				ok = false
			}
			s.rank = n
		case is(a, "COUNT"):
			if n, ok = resp.ParseInt(value); !ok || n < 0 {
				k.fail("ERR COUNT can't be negative")
				ok = false
			}
			if s.count, s.many = int(n), true; n == 0 {
				s.count = math.MaxInt
			}
		case is(a, "MAXLEN"):
			if n, ok = resp.ParseInt(value); !ok || n < 0 {
				k.fail("ERR MAXLEN can't be negative")
				ok = false
			}
			if s.elements = int(n); n == 0 {
				s.elements = math.MaxInt
			}
		default:
			k.fail(errSyntax)
			return s, false
		}
		if !ok {
			return s, false
		}
	}
	return s, true
}

func lpos(k *call) {
	s, ok := k.search()
	if !ok {
		return
	}
	_, l, ok := k.list(k.args[1])
	if !ok {
		return
	}
	var found []int
	back, skip := s.rank < 0, s.rank-1
	if back {
		skip = max(-s.rank, 1) - 1 // the least number has no opposite
	}
	for i := 0; i < min(s.elements, l.Len()) && len(found) < s.count; i++ {
		place := i
		if back {
			place = l.Len() - 1 - i
		}
		if !k.matches(l, place, k.args[2]) {
			continue
		}
		if skip == 0 {
			found = append(found, place)
		} else {
			skip--
		}
	}
	switch {
	case s.many:
		k.w.Array(len(found))
		for _, i := range found {
			k.w.Int(int64(i))
		}
	case len(found) == 0:
		k.w.Null()
	default:
		k.w.Int(int64(found[0]))
	}
}
