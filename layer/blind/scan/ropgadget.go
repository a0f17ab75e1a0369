package scan

import (
	"fmt"

	"usui/layer/blind/terminator"
)

// Definitions says what counts as a terminator.
type Definitions uint8

// The definitions.
const (
	Own       Definitions = iota // those of package terminator
	ROPgadget                    // those of ROPgadget 7, for amd64
)

// String is the name of it in reports and on the command line.
func (d Definitions) String() string {
	if d == ROPgadget {
		return "ropgadget"
	}
	return "own"
}

// ParseDefinitions reads what String writes.
func ParseDefinitions(text string) (Definitions, error) {
	switch text {
	case "own":
		return Own, nil
	case "ropgadget":
		return ROPgadget, nil
	}
	return 0, fmt.Errorf("definitions %q: want own or ropgadget", text)
}

// pattern is one search of ROPgadget: for each byte the ranges that it may be in, as pairs of bounds. ROPgadget searches each
// pattern on its own, and goes on behind what it found, so an operand may hide another match of the same pattern.
type pattern struct {
	class  terminator.Set
	opcode int // how many prefixes stand before the opcode
	ranges []string
	free   int // where the search goes on
}

const anyByte = "\x00\xff"

// patterns are ROPgadget's searches, but for three kinds. A system call and a return is found by that for a system call; those of
// terminators with an f2 before them find what it then drops for its name, "bnd jmp"; and those of jumps through [rsp] find
// nothing, because their SIB byte 24 stands in a regular expression, where it is the anchor $.
func patterns() []pattern {
	jumps := [][]string{
		{"\xff\xff", "\xd0\xd7\xe0\xe7"},
		{"\xff\xff", "\x10\x13\x16\x17\x20\x23\x26\x27"},
		{"\xff\xff", "\x50\x53\x55\x57\x60\x63\x65\x67", anyByte},
		{"\xff\xff", "\x90\x93\x95\x97\xa0\xa3\xa5\xa7", anyByte, anyByte, anyByte, anyByte},
	}
	all := []pattern{
		{class: terminator.Ret, ranges: []string{"\xc3\xc3"}},
		{class: terminator.Ret, ranges: []string{"\xc2\xc2", anyByte, anyByte}},
		{class: terminator.Ret, ranges: []string{"\xcb\xcb"}},
		{class: terminator.Ret, ranges: []string{"\xca\xca", anyByte, anyByte}},
		{class: terminator.Direct, ranges: []string{"\xeb\xeb", anyByte}},
		{class: terminator.Direct, ranges: []string{"\xe9\xe9", anyByte, anyByte, anyByte, anyByte}},
		{class: terminator.Syscall, ranges: []string{"\xcd\xcd", "\x80\x80"}},
		{class: terminator.Syscall, ranges: []string{"\x0f\x0f", "\x05\x05\x34\x34"}},
		{class: terminator.Indirect, opcode: 1, ranges: []string{"\x65\x65", "\xff\xff", "\x15\x15", "\x10\x10", "\x00\x00", "\x00\x00", "\x00\x00"}},
	}
	for _, ranges := range jumps {
		all = append(all,
			pattern{class: terminator.Indirect, ranges: ranges},
			pattern{class: terminator.Indirect, opcode: 1, ranges: append([]string{"\x41\x41"}, ranges...)})
	}
	return all
}

// searches is ROPgadget's way through one piece of code, which it must take from the beginning to the end.
type searches struct {
	patterns []pattern
	first    [256][]int // which patterns begin with a byte
	due      int        // where the opcode is of a match that began at a prefix
}

func newSearches() *searches {
	s := &searches{patterns: patterns(), due: -1}
	for i, p := range s.patterns {
		s.first[p.ranges[0][0]] = append(s.first[p.ranges[0][0]], i)
	}
	return s
}

// next finds the first terminator of the set at or behind off, which is not before what the last call returned.
func (s *searches) next(set terminator.Set, code []byte, off int) (terminator.Hit, bool) {
	for ; off < len(code); off++ {
		var class terminator.Set
		if s.due == off {
			class = terminator.Indirect
		}
		for _, i := range s.first[code[off]] {
			p := &s.patterns[i]
			switch {
			case !p.match(code, off):
			case p.opcode > 0:
				s.due = off + p.opcode
			default:
				class = p.class
			}
		}
		if class&set != 0 {
			return terminator.Hit{Off: off, Len: shown(code[off]), Class: class}, true
		}
	}
	return terminator.Hit{}, false
}

// shown is how many bytes make a terminator one, by its first.
func shown(opcode byte) int {
	switch opcode {
	case 0xff, 0x0f, 0xcd:
		return 2
	}
	return 1
}

// match looks for the pattern at an offset and, if it is there, goes on behind it.
func (p *pattern) match(code []byte, off int) bool {
	if off < p.free || len(code)-off < len(p.ranges) {
		return false
	}
	for i, ranges := range p.ranges {
		if !within(code[off+i], ranges) {
			return false
		}
	}
	p.free = off + len(p.ranges)
	return true
}

func within(b byte, ranges string) bool {
	for i := 0; i < len(ranges); i += 2 {
		if ranges[i] <= b && b <= ranges[i+1] {
			return true
		}
	}
	return false
}
