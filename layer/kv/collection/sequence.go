package collection

import (
	"slices"
	"sort"
)

// sequence is an array that may be changed anywhere: chunks of it, and a Fenwick tree (Software: Practice and Experience 24/3, 1994) of
// their lengths. Finding a place takes time in proportion to the logarithm of the length, a change that and the length of a chunk.
type sequence[E any] struct {
	chunks [][]E // none is empty
	counts []int // the tree, from 1 on; nil while there is one chunk
	length int

	near, nearStart int // the chunk where the last At was, and how many elements are before it
}

const (
	chunkLength = 512
	loose       = 64 // a chunk with room for that many is not worth tidying
)

// Len is how many elements there are.
func (s *sequence[E]) Len() int { return s.length }

// locate returns the chunk of the i-th element and its place there; what is behind the last element is behind the end of the last chunk.
func (s *sequence[E]) locate(i int) (chunk, offset int) {
	if i >= s.length {
		last := len(s.chunks) - 1
		return last, len(s.chunks[last])
	}
	if s.counts == nil {
		return 0, i
	}
	step := 1
	for 2*step < len(s.counts) {
		step *= 2
	}
	for ; step > 0; step /= 2 {
		if next := chunk + step; next < len(s.counts) && s.counts[next] <= i {
			chunk = next
			i -= s.counts[next]
		}
	}
	return chunk, i
}

// start is how many elements are before a chunk.
func (s *sequence[E]) start(chunk int) (n int) {
	if s.counts == nil {
		return 0
	}
	for ; chunk > 0; chunk -= chunk & -chunk {
		n += s.counts[chunk]
	}
	return n
}

// count takes note of a chunk's change of length.
func (s *sequence[E]) count(chunk, change int) {
	s.length += change
	s.near, s.nearStart = 0, 0
	for i := chunk + 1; i < len(s.counts); i += i & -i {
		s.counts[i] += change
	}
}

// recount makes the tree anew, after chunks came or went.
func (s *sequence[E]) recount() {
	s.near, s.nearStart = 0, 0
	if len(s.chunks) < 2 {
		s.counts = nil
		return
	}
	s.counts = append(s.counts[:0], make([]int, len(s.chunks)+1)...)
	for i := 1; i < len(s.counts); i++ {
		s.counts[i] += len(s.chunks[i-1])
		if parent := i + i&-i; parent < len(s.counts) {
			s.counts[parent] += s.counts[i]
		}
	}
}

// At returns a pointer to the i-th element, valid until the next change. Going through neighbours takes one step for each.
func (s *sequence[E]) At(i int) *E {
	switch offset := i - s.nearStart; {
	case offset < 0 && s.near > 0 && offset >= -len(s.chunks[s.near-1]):
		s.near--
		s.nearStart -= len(s.chunks[s.near])
	case offset == len(s.chunks[s.near]) && s.near+1 < len(s.chunks):
		s.nearStart += len(s.chunks[s.near])
		s.near++
	case offset < 0 || offset > len(s.chunks[s.near]):
		s.near, offset = s.locate(i)
		s.nearStart = i - offset
	}
	return &s.chunks[s.near][i-s.nearStart]
}

// Search returns how many elements are at the start for which before is true; for all others it is false.
func (s *sequence[E]) Search(before func(e E) bool) int {
	chunk := sort.Search(len(s.chunks), func(c int) bool { return !before(s.chunks[c][0]) }) - 1
	if chunk < 0 {
		return 0
	}
	p := s.chunks[chunk]
	return s.start(chunk) + sort.Search(len(p), func(i int) bool { return !before(p[i]) })
}

// Insert makes e the i-th element.
func (s *sequence[E]) Insert(i int, e E) {
	if s.length == 0 {
		s.chunks = append(s.chunks, nil)
	}
	c, at := s.locate(i)
	if at == 0 && c > 0 && len(s.chunks[c-1]) < chunkLength {
		c, at = c-1, len(s.chunks[c-1])
	}
	if len(s.chunks[c]) == chunkLength {
		c, at = s.part(c, at)
	}
	s.chunks[c] = slices.Insert(s.chunks[c], at, e)
	s.count(c, 1)
}

// part makes room in a full chunk and returns where the place is then. At an end of it a chunk is added, so that what grows there is full.
func (s *sequence[E]) part(c, at int) (chunk, offset int) {
	old := s.chunks[c]
	half := chunkLength / 2
	switch at {
	case 0:
		s.chunks = slices.Insert(s.chunks, c, []E{})
		chunk, offset = c, 0
	case chunkLength:
		s.chunks = slices.Insert(s.chunks, c+1, []E{})
		chunk, offset = c+1, 0
	default:
		s.chunks = slices.Insert(s.chunks, c+1, slices.Clone(old[half:]))
		clear(old[half:])
		s.chunks[c] = old[:half]
		if chunk, offset = c, at; at > half {
			chunk, offset = c+1, at-half
		}
	}
	s.recount()
	return chunk, offset
}

// Delete takes the i-th element out.
func (s *sequence[E]) Delete(i int) {
	c, at := s.locate(i)
	p := s.chunks[c]
	if at == 0 && len(p) > loose {
		var none E
		p[0] = none
		s.chunks[c] = p[1:]
	} else {
		s.chunks[c] = slices.Delete(p, at, at+1)
	}
	s.count(c, -1)
	s.tidy(c)
}

// tidy takes care that memory follows the length of what is left in a chunk.
func (s *sequence[E]) tidy(c int) {
	n := len(s.chunks[c])
	if n < chunkLength/4 {
		switch {
		case n == 0:
			s.join(c, c)
			return
		case c > 0 && n+len(s.chunks[c-1]) <= chunkLength/2:
			s.join(c-1, c)
			return
		case c+1 < len(s.chunks) && n+len(s.chunks[c+1]) <= chunkLength/2:
			s.join(c, c+1)
			return
		}
	}
	if room := cap(s.chunks[c]); room > loose && n < room/4 {
		s.chunks[c] = append(make([]E, 0, 2*n), s.chunks[c]...)
	}
}

// join appends chunk b to its neighbour a, or drops it if it is that.
func (s *sequence[E]) join(a, b int) {
	if a != b {
		s.chunks[a] = append(s.chunks[a], s.chunks[b]...)
	}
	s.chunks = slices.Delete(s.chunks, b, b+1)
	if len(s.chunks) < cap(s.chunks)/4 {
		s.chunks = slices.Clone(s.chunks)
	}
	s.recount()
}
