package scan

import (
	"usui/layer/blind/terminator"
)

// Function is where one function of the program stands in the code.
type Function struct {
	Name      string // may be empty
	Off, Size int
}

// sweep cuts code into pieces, in order and without a gap, and remembers what instructions told about bytes that come later.
type sweep struct {
	arch      terminator.Arch
	code      []byte
	functions []Function // sorted, apart

	piece     piece  // the last one that next cut
	pos       int    // where the next piece begins
	function  int    // the function that pos is in, -1 between them
	following int    // the first function that ends behind pos
	origin    int    // where this function, or the gap between two, begins
	end       int    // where it ends
	marks     []mark // what is known of each byte from origin to end
	marked    bool   // there are marks
	reached   reach
}

// mark says that an instruction refers to a byte as the first of some data.
type mark uint8

const (
	none    mark = iota
	address      // it takes its address: a jump table, a table of constants, or code
	operand      // it loads 8 bytes or fewer from there; on arm64 the byte is part of what is loaded
	vector       // it loads up to 16 bytes
)

// reach is how an execution would come to where the sweep is.
type reach uint8

const (
	falling   reach = iota // from the instruction before
	jumping                // not from there: it is a jump, or data
	switching              // likewise, and it is a jump to an address that was computed
)

// next cuts the next piece; false at the end of the code.
func (s *sweep) next() bool {
	if s.pos == len(s.code) {
		return false
	}
	if s.pos == s.end {
		s.enter()
	}
	if s.arch == terminator.ARM64 {
		s.word()
	} else {
		s.instruction()
	}
	s.pos = s.piece.end
	return true
}

// cut makes the piece from pos to end one of bytes that are no instruction of amd64.
func (s *sweep) cut(f Field, end int) {
	s.piece = piece{start: s.pos, end: end, field: f}
}

// enter begins the function, or the gap between two, that pos is at.
func (s *sweep) enter() {
	if s.marked {
		clear(s.marks[:s.end-s.origin])
		s.marked = false
	}
	for s.following < len(s.functions) && s.functions[s.following].Off+s.functions[s.following].Size <= s.pos {
		s.following++
	}
	s.origin, s.function, s.end, s.reached = s.pos, -1, len(s.code), falling
	if s.following < len(s.functions) {
		f := s.functions[s.following]
		s.end = f.Off
		if f.Off == s.pos {
			s.function, s.end = s.following, f.Off+f.Size
		}
	}
	if s.arch == terminator.ARM64 {
		s.literals()
	}
}

// set marks the byte at an offset in the code, if it lies in this function.
func (s *sweep) set(off int, m mark) {
	if off < s.origin || off >= s.end {
		return
	}
	if missing := s.end - s.origin - len(s.marks); missing > 0 {
		s.marks = append(s.marks, make([]mark, missing)...)
	}
	s.marked = true
	s.marks[off-s.origin] = max(s.marks[off-s.origin], m)
}

// at is the mark of a byte of this function.
func (s *sweep) at(off int) mark {
	if !s.marked {
		return none
	}
	return s.marks[off-s.origin]
}

// upTo is the offset of the first byte behind pos that has at least that mark, or limit.
func (s *sweep) upTo(limit int, least mark) int {
	limit = min(limit, s.end)
	if s.marked {
		for off := s.pos + 1; off < limit; off++ {
			if s.marks[off-s.origin] >= least {
				return off
			}
		}
	}
	return limit
}
