package server

// lcsOptions are what LCS may end with.
type lcsOptions struct {
	length, index, lengths bool
	least                  int64 // matches that are shorter are left out
}

func (k *call) lcsOptions() (o lcsOptions, ok bool) {
	for i := 3; i < len(k.args); i++ {
		switch a := k.args[i]; {
		case is(a, "IDX"):
			o.index = true
		case is(a, "LEN"):
			o.length = true
		case is(a, "WITHMATCHLEN"):
			o.lengths = true
		case is(a, "MINMATCHLEN") && i+1 < len(k.args):
			i++
			if o.least, ok = k.integer(k.args[i]); !ok {
				return o, false
			}
		default:
			k.fail(errSyntax)
			return o, false
		}
	}
	if o.length && o.index {
		k.fail("ERR If you want both the length and indexes, please just use IDX.")
		return o, false
	}
	return o, true
}

// stretch is a run of bytes that two values share, from a and from b on.
type stretch struct{ a, b, length int }

// longest finds the longest common subsequence of two values: the subsequence, and its stretches from the last to the first. Of several, it is
// the one that Redis finds.
func longest(a, b []byte) (common []byte, matches []stretch) {
	width := len(b) + 1
	lengths := make([]uint32, (len(a)+1)*width) // of the longest one of the first i bytes of a and the first j of b
	for i := range a {
		for j := range b {
			at := (i+1)*width + j + 1
			if a[i] == b[j] {
				lengths[at] = lengths[at-width-1] + 1
			} else {
				lengths[at] = max(lengths[at-width], lengths[at-1])
			}
		}
	}
	common = make([]byte, lengths[len(lengths)-1])
	left, joined := len(common), false
	for i, j := len(a), len(b); i > 0 && j > 0; {
		switch at := i*width + j; {
		case a[i-1] == b[j-1]:
			i, j, left = i-1, j-1, left-1
			common[left] = a[i]
			if !joined {
				matches = append(matches, stretch{})
			}
			m := &matches[len(matches)-1]
			m.a, m.b, m.length, joined = i, j, m.length+1, true
		case lengths[at-width] > lengths[at-1]:
			i, joined = i-1, false
		default:
			j, joined = j-1, false
		}
	}
	return common, matches
}

// lcs answers with the longest common subsequence of two values. It takes time and memory by the product of their lengths, so that is bounded as
// Redis bounds it: by the longest argument.
func lcs(k *call) {
	a, _ := k.find(k.args[1])
	b, _ := k.find(k.args[2])
	if a.Collection != nil || b.Collection != nil {
		k.fail("ERR The specified keys must contain string values")
		return
	}
	o, ok := k.lcsOptions()
	if !ok {
		return
	}
	if (len(a.Value)+1)*(len(b.Value)+1) > k.s.maxBulk()/4 {
		k.fail("ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len")
		return
	}
	common, matches := longest(a.Value, b.Value)
	switch {
	case o.length:
		k.w.Int(int64(len(common)))
		return
	case !o.index:
		k.w.Bulk(common)
		return
	}
	kept := matches[:0]
	for _, m := range matches {
		if int64(m.length) >= o.least {
			kept = append(kept, m)
		}
	}
	k.w.Map(2)
	k.w.Text("matches")
	k.w.Array(len(kept))
	for _, m := range kept {
		if o.lengths {
			k.w.Array(3)
		} else {
			k.w.Array(2)
		}
		for _, start := range []int{m.a, m.b} {
			k.w.Array(2)
			k.w.Int(int64(start))
			k.w.Int(int64(start + m.length - 1))
		}
		if o.lengths {
			k.w.Int(int64(m.length))
		}
	}
	k.w.Text("len")
	k.w.Int(int64(len(common)))
}
