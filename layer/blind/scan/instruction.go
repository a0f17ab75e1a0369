package scan

import (
	"encoding/binary"

	"usui/layer/blind/x86"
)

// entrySize is the length of an entry of a jump table, which counts from the table's beginning: the form that wazero writes.
const entrySize = 8

// instruction cuts the next piece of amd64 code.
func (s *sweep) instruction() {
	if (s.marked || s.reached != falling) && s.data() {
		s.reached = jumping
		return
	}
	s.reached = falling
	p := &s.piece
	if err := p.inst.Decode(s.code[s.pos:s.end]); err != nil {
		s.cut(Unknown, s.pos+1)
		return
	}
	end := s.pos + p.inst.Len()
	if known := s.upTo(end, operand); known < end { // it would reach into data: the sweep is out of step
		s.cut(Unknown, known)
		return
	}
	p.start, p.end, p.field, p.decoded = s.pos, end, Operation, true
	s.learn(&p.inst, end)
}

// data cuts a piece where there is known to be no code.
func (s *sweep) data() bool {
	switch m := s.at(s.pos); {
	case m == vector:
		s.cut(Data, s.upTo(s.pos+16, address))
	case m == operand:
		s.cut(Data, s.upTo(s.pos+8, address))
	case m == address && s.reached == switching && s.entries() > 0:
		s.cut(Relative, s.pos+entrySize*s.entries())
	case m == address && s.reached != falling && s.function >= 0: // a table of the engine's, which lie behind all code
		s.cut(Data, s.upTo(s.end, address))
	case s.reached != falling && s.padded():
		s.cut(Data, s.end)
	default:
		return false
	}
	return true
}

// entries counts the entries of the jump table that begins here: each leads into this function.
func (s *sweep) entries() (n int) {
	for off := s.pos; off+entrySize <= s.end && (off == s.pos || s.at(off) == none); off += entrySize {
		target := int64(binary.LittleEndian.Uint64(s.code[off:]))
		if target < int64(s.origin-s.pos) || target >= int64(s.end-s.pos) {
			break
		}
		n++
	}
	return n
}

// padded says that only zeros follow, up to the next multiple of 16 at which a function begins.
func (s *sweep) padded() bool {
	if s.end-s.pos >= 16 {
		return false
	}
	for _, b := range s.code[s.pos:s.end] {
		if b != 0 {
			return false
		}
	}
	return true
}

// learn notes what an instruction that ends at an offset says about the code around it.
func (s *sweep) learn(in *x86.Inst, end int) {
	if in.RIPRelative() {
		start, _ := in.Range(x86.Disp)
		target := end + int(int32(binary.LittleEndian.Uint32(s.code[s.pos+start:])))
		if target >= end {
			s.set(target, use(in))
		}
	}
	if in.Vector() {
		return
	}
	switch {
	case in.Map == x86.OneByte && in.Op == 0xff:
		start, _ := in.Range(x86.ModRM)
		if reg := s.code[s.pos+start] >> 3 & 7; reg == 4 || reg == 5 { // JMP
			s.reached = switching
		}
	case in.Map == x86.OneByte && stops(in.Op), in.Map == x86.Map0F && in.Op == 0x0b: // UD2
		s.reached = jumping
	}
}

// use says how an instruction uses its memory operand.
func use(in *x86.Inst) mark {
	switch {
	case in.Map == x86.OneByte && in.Op == 0x8d && !in.Vector(): // LEA
		return address
	case in.Map == x86.OneByte:
		return operand
	}
	return vector
}

// stops says that execution does not go on behind an instruction of the one-byte map: RET, RETF, IRET, JMP, HLT, INT3.
func stops(op byte) bool {
	switch op {
	case 0xc2, 0xc3, 0xca, 0xcb, 0xcf, 0xe9, 0xeb, 0xf4, 0xcc:
		return true
	}
	return false
}
