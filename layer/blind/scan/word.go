package scan

import "encoding/binary"

// wordSize is the length of an instruction of arm64.
const wordSize = 4

// word cuts the next piece of arm64 code.
func (s *sweep) word() {
	end := s.pos + wordSize
	switch {
	case end > s.end, s.pos%wordSize != 0:
		s.cut(Unknown, min(end, s.end))
	case s.at(s.pos) == none:
		s.cut(Operation, end)
	default:
		for end < s.end && s.at(end) == operand { // up to where the next one begins
			end = min(end+wordSize, s.end)
		}
		s.cut(Data, end)
	}
}

// literals marks what the instructions of a function load relative to the program counter (Arm ARM C4.1, "Load register
// (literal)"): the first word of each with vector, the others with operand.
func (s *sweep) literals() {
	for off := s.pos; off+wordSize <= s.end; off += wordSize {
		w := binary.LittleEndian.Uint32(s.code[off:])
		size := literal(w)
		if size == 0 {
			continue
		}
		target := off + int(int32(w<<8)>>13)*wordSize
		s.set(target, vector)
		for at := target + wordSize; at < target+size; at += wordSize {
			s.set(at, operand)
		}
	}
}

// literal is how many bytes an instruction loads from an address relative to its own; 0: it is another one.
func literal(w uint32) int {
	if w&0x3b000000 != 0x18000000 {
		return 0
	}
	size := [2][4]int{{4, 8, 4, 0}, {4, 8, 16, 0}} // LDR W, X, LDRSW, PRFM; LDR S, D, Q
	return size[w>>26&1][w>>30]
}
