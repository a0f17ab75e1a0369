package collection

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// check says what is wrong with a sequence whose elements are to be want.
func check(s *sequence[int], want []int) error {
	if s.Len() != len(want) {
		return fmt.Errorf("Len() = %d, want %d", s.Len(), len(want))
	}
	room := 0
	for c, p := range s.chunks {
		room += cap(p)
		if len(p) == 0 || len(p) > chunkLength || s.start(c) > len(want) || s.start(c) > 0 && want[s.start(c)] != p[0] {
			return fmt.Errorf("chunk %d of %d elements starts at %d", c, len(p), s.start(c))
		}
	}
	if room > 8*len(want)+loose {
		return fmt.Errorf("%d elements take room for %d", len(want), room)
	}
	for i := range want {
		if got := *s.At(i); got != want[i] {
			return fmt.Errorf("At(%d) = %d, want %d", i, got, want[i])
		}
	}
	for i := len(want) - 1; i >= 0; i-- {
		if got := *s.At(i); got != want[i] {
			return fmt.Errorf("At(%d) on the way back = %d, want %d", i, got, want[i])
		}
	}
	return nil
}

func TestASequenceIsAnArray(t *testing.T) {
	for seed := range uint64(6) {
		random := rand.New(rand.NewPCG(seed, 1))
		var s sequence[int]
		var want []int
		grow := true
		for n := range 30000 {
			switch {
			case len(want) == 0:
				grow = true
			case len(want) > 5000:
				grow = false
			}
			at := 0
			switch seed % 3 { // anywhere, at the ends, as a queue
			case 0:
				at = random.IntN(len(want) + 1)
			case 1:
				at = random.IntN(2) * len(want)
			case 2:
				if grow || random.IntN(2) == 0 {
					at = len(want)
				}
			}
			if at < len(want) && grow == (random.IntN(5) == 0) {
				s.Delete(at)
				want = slices.Delete(want, at, at+1)
			} else if grow || at < len(want) || random.IntN(2) == 0 {
				s.Insert(at, n)
				want = slices.Insert(want, at, n)
			}
			if len(want) > 0 {
				if i := random.IntN(len(want)); *s.At(i) != want[i] {
					t.Fatalf("seed %d: At(%d) = %d, want %d", seed, i, *s.At(i), want[i])
				}
			}
			if n%500 == 0 {
				if err := check(&s, want); err != nil {
					t.Fatalf("seed %d after %d changes: %v", seed, n, err)
				}
			}
		}
		for len(want) > 0 {
			i := random.IntN(len(want))
			s.Delete(i)
			want = slices.Delete(want, i, i+1)
			if len(want)%97 == 0 {
				if err := check(&s, want); err != nil {
					t.Fatalf("seed %d with %d left: %v", seed, len(want), err)
				}
			}
		}
	}
}

func TestASequenceIsSearched(t *testing.T) {
	var s sequence[int]
	for i := range 3000 {
		s.Insert(i, 2*i)
	}
	for i := range 3000 {
		for _, x := range []int{2 * i, 2*i + 1} {
			want := (x + 1) / 2
			if got := s.Search(func(e int) bool { return e < x }); got != want {
				t.Errorf("Search(less than %d) = %d, want %d", x, got, want)
			}
		}
	}
}

// insert puts an element with an address where the list shall have it, with new labels for others if that is necessary.
func insert(l *Series, i int, at uint64) (moved int) {
	label, ok := l.Between(i)
	if !ok {
		low, high, first, step := l.Spread(i)
		var addresses []uint64
		for range high - low {
			label, at := l.At(low)
			key := Label(label)
			addresses = append(addresses, at)
			l.Remove(key[:])
		}
		for j, at := range addresses {
			if low+j == i {
				first += step
			}
			key := Label(first)
			l.Set(key[:], nil, at)
			first += step
		}
		moved = high - low
		if label, ok = l.Between(i); !ok {
			panic("no room after Spread")
		}
	}
	key := Label(label)
	if l.Set(key[:], nil, at) != 0 {
		panic("the label was in use")
	}
	return moved
}

func TestAListHasRoomEverywhere(t *testing.T) {
	for name, place := range map[string]func(r *rand.Rand, n int) int{
		"at the start":       func(_ *rand.Rand, _ int) int { return 0 },
		"at the end":         func(_ *rand.Rand, n int) int { return n },
		"behind the first":   func(_ *rand.Rand, n int) int { return min(1, n) },
		"before the last":    func(_ *rand.Rand, n int) int { return max(0, n-1) },
		"in the middle":      func(_ *rand.Rand, n int) int { return n / 2 },
		"before the hundred": func(_ *rand.Rand, n int) int { return min(n, 100) },
		"anywhere":           func(r *rand.Rand, n int) int { return r.IntN(n + 1) },
	} {
		random := rand.New(rand.NewPCG(1, 1))
		l, moved := New(List, nil).(*Series), 0
		var want []uint64
		for n := range uint64(5000) {
			i := place(random, len(want))
			moved += insert(l, i, n+1)
			want = slices.Insert(want, i, n+1)
		}
		for i := range want {
			if _, at := l.At(i); at != want[i] {
				t.Fatalf("%s: element %d is at %d, want %d", name, i, at, want[i])
			}
		}
		if moved > 25000 {
			t.Errorf("%s: %d elements got other labels, want at most 5 for each that came", name, moved)
		}
	}
}

func TestAListHasRoomAtTheLastLabels(t *testing.T) {
	for _, label := range []uint64{0, 1, math.MaxUint64 - 1, math.MaxUint64} {
		l := New(List, nil).(*Series)
		key := Label(label)
		l.Set(key[:], nil, 1)
		insert(l, 0, 2)
		insert(l, 2, 3)
		insert(l, 1, 4)
		var got []uint64
		for i := range l.Len() {
			_, at := l.At(i)
			got = append(got, at)
		}
		if !slices.Equal(got, []uint64{2, 4, 1, 3}) {
			t.Errorf("around label %#x: addresses %v, want 2 4 1 3", label, got)
		}
	}
}

// scored is a member of a sorted set, for a simple model.
type scored struct {
	key   string
	score float64
}

func ranked(m map[string]float64) []scored {
	var all []scored
	for k, s := range m {
		all = append(all, scored{k, s})
	}
	slices.SortFunc(all, func(a, b scored) int {
		if a.score != b.score {
			if a.score < b.score {
				return -1
			}
			return 1
		}
		return strings.Compare(a.key, b.key)
	})
	return all
}

func checkRanking(z *Ranking, model map[string]float64) error {
	all := ranked(model)
	if z.Len() != len(all) {
		return fmt.Errorf("Len() = %d, want %d", z.Len(), len(all))
	}
	for i, w := range all {
		key, score := z.Ranked(i)
		rank, found := z.Rank([]byte(w.key))
		s, _ := z.Score([]byte(w.key))
		if key != w.key || score != w.score || rank != i || !found || s != w.score {
			return fmt.Errorf("Ranked(%d) = %q, %v and Rank(%q) = %d, %v with score %v; want %q with %v", i, key, score, w.key, rank, found, s, w.key, w.score)
		}
		low := slices.IndexFunc(all, func(o scored) bool { return o.score >= w.score })
		high := slices.IndexFunc(all, func(o scored) bool { return o.score > w.score })
		if high < 0 {
			high = len(all)
		}
		if a, b := z.Before(w.score, false), z.Before(w.score, true); a != low || b != high {
			return fmt.Errorf("Before(%v) = %d, and with it %d; want %d and %d", w.score, a, b, low, high)
		}
	}
	return nil
}

func TestARankingIsSorted(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	z, model := New(ZSet, DefaultLimits()).(*Ranking), map[string]float64{}
	scores := []float64{math.Inf(-1), -1.5, 0, 1, 2, 3, math.Inf(1)}
	for n := range 20000 {
		key := fmt.Sprint("m", random.IntN(1+n/10%700))
		if random.IntN(3) == 0 {
			at := z.Remove([]byte(key))
			if _, was := model[key]; was != (at != 0) {
				t.Fatalf("Remove(%q) = %d, want something: %v", key, at, was)
			}
			delete(model, key)
		} else {
			model[key] = scores[random.IntN(len(scores))]
			value := ScoreValue(model[key])
			z.Set([]byte(key), value[:], uint64(n)+1)
		}
		if n%200 == 0 {
			if err := checkRanking(z, model); err != nil {
				t.Fatalf("after %d changes: %v", n, err)
			}
		}
	}
	if err := checkRanking(z, model); err != nil {
		t.Error(err)
	}
}

func TestARankingOfOneScoreIsAlphabetical(t *testing.T) {
	z := New(ZSet, DefaultLimits()).(*Ranking)
	value := ScoreValue(0)
	for i := range 1000 {
		z.Set(fmt.Appendf(nil, "%04d", i*7%1000), value[:], 1)
	}
	for i := range 1000 {
		key := fmt.Sprintf("%04d", i)
		if a, b := z.BeforeKey(key, false), z.BeforeKey(key, true); a != i || b != i+1 {
			t.Errorf("BeforeKey(%s) = %d, and with it %d; want %d and %d", key, a, b, i, i+1)
		}
	}
}

// TestTheOrderOfRecordsDoesNotMatter gives elements as compaction may leave them in the log.
func TestTheOrderOfRecordsDoesNotMatter(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	values := map[string][]byte{}
	for i := range 3000 {
		v := ScoreValue(float64(random.IntN(100)))
		values[fmt.Sprintf("%08d", i)] = v[:]
	}
	for _, kind := range []Kind{Hash, Set, List, ZSet} {
		var first map[string]uint64
		var order string
		for range 3 {
			e, got := New(kind, DefaultLimits()), map[string]uint64{}
			for _, i := range random.Perm(len(values)) {
				key := fmt.Sprintf("%08d", i)
				e.Set([]byte(key), values[key], uint64(i)+1)
			}
			var keys strings.Builder
			e.Each(func(key string, at uint64) bool { got[key] = at; keys.WriteString(key); return true })
			if z, ok := e.(*Ranking); ok {
				keys.Reset()
				for i := range z.Len() {
					key, _ := z.Ranked(i)
					keys.WriteString(key)
				}
			}
			if first == nil {
				first, order = got, keys.String()
			}
			if !maps.Equal(got, first) || (kind == List || kind == ZSet) && keys.String() != order {
				t.Errorf("a %v depends on the order in which its elements come", kind)
			}
		}
	}
}

func TestEncodingsFollowTheLimits(t *testing.T) {
	long, score := strings.Repeat("x", 65), ScoreValue(1)
	for _, tt := range []struct {
		kind  Kind
		limit func(*Limits) *int
		key   string
		want  [2]string
	}{
		{Hash, func(l *Limits) *int { return &l.HashEntries }, "", [2]string{"listpack", "hashtable"}},
		{Hash, func(l *Limits) *int { return &l.HashValue }, long, [2]string{"listpack", "hashtable"}},
		{Set, func(l *Limits) *int { return &l.SetEntries }, "", [2]string{"intset", "hashtable"}},
		{ZSet, func(l *Limits) *int { return &l.ZSetEntries }, "", [2]string{"listpack", "skiplist"}},
		{ZSet, func(l *Limits) *int { return &l.ZSetValue }, long, [2]string{"listpack", "skiplist"}},
	} {
		limits := DefaultLimits()
		e := New(tt.kind, limits)
		n := *tt.limit(limits)
		if tt.key != "" {
			n = 3
		}
		for i := range n {
			e.Set(fmt.Append(nil, i+1000), score[:], 1)
		}
		if e.Encoding() != tt.want[0] {
			t.Errorf("a %v of %d elements is a %s, want a %s", tt.kind, n, e.Encoding(), tt.want[0])
		}
		if tt.key == "" {
			tt.key = "1"
		}
		e.Set([]byte(tt.key), score[:], 1)
		if e.Encoding() != tt.want[1] {
			t.Errorf("a %v with %q is a %s, want a %s", tt.kind, tt.key, e.Encoding(), tt.want[1])
		}
		if e.Remove([]byte(tt.key)); e.Encoding() != tt.want[1] {
			t.Errorf("a %v that shrank is a %s, want a %s still", tt.kind, e.Encoding(), tt.want[1])
		}
		*tt.limit(limits) = 1
		small := New(tt.kind, limits)
		small.Set([]byte("10"), score[:], 1)
		small.Set([]byte("11"), score[:], 1)
		if small.Encoding() != tt.want[1] {
			t.Errorf("with a limit of 1 a %v of 2 elements of 2 bytes is a %s, want a %s", tt.kind, small.Encoding(), tt.want[1])
		}
	}
}
