package wasm

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// MemArg is the immediate of a memory access.
type MemArg struct {
	Align  uint32 // logarithm of the promised alignment
	Memory uint32
	Offset uint64
}

// memoryBit in an alignment says that the index of a memory follows (multi-memory proposal).
const memoryBit = 1 << 6

// Instr is one instruction. Which of the values are set depends on its opcode.
type Instr struct {
	Op    Op
	Bytes []byte // all of it: a part of the module, not to be changed
	Imm   int    // where in Bytes the immediates begin

	Value  uint64   // bits of an i32, i64, f32 or f64 constant
	Vector [16]byte // v128.const, i8x16.shuffle
	Index  uint32   // the only or first index; the number of labels of br_table without the default
	Second uint32   // the other index
	Mem    MemArg
	Lane   byte
}

// HasLane reports whether the instruction names one lane of a vector.
func (in *Instr) HasLane() bool { return shapeOf(in.Op) == memLane || shapeOf(in.Op) == lane }

// Scanner walks an expression: a function's body behind its locals, or a constant one.
//
//	for s := wasm.NewScanner(code); s.Next(); {
//		in := s.Instr()
//	}
//	err := s.Err()
type Scanner struct {
	r     reader
	in    Instr
	depth int // of open blocks, the expression's own included
}

// NewScanner returns a scanner before the first instruction of code.
func NewScanner(code []byte) *Scanner { return &Scanner{r: reader{bytes: code}, depth: 1} }

// Instr returns the instruction that Next went to. It is overwritten by the next one.
func (s *Scanner) Instr() *Instr { return &s.in }

// Depth is the number of blocks that are open behind the instruction; 0 behind the end of the expression.
func (s *Scanner) Depth() int { return s.depth }

// Pos is where the next instruction begins.
func (s *Scanner) Pos() int { return s.r.pos }

// Err returns what was wrong, or nil at the end of the expression.
func (s *Scanner) Err() error { return s.r.err }

// Next goes to the next instruction. It returns false behind the end that closes the expression, or if there is none.
func (s *Scanner) Next() bool {
	if s.depth == 0 || s.r.err != nil {
		return false
	}
	r, in := &s.r, &s.in
	start := r.pos
	in.Op = s.opcode()
	what := shapeOf(in.Op)
	if r.err == nil && what == unknown {
		r.fail(refusal(byte(in.Op>>8), uint32(in.Op&0xff)))
	}
	in.Imm = r.pos - start
	s.immediates(what)
	switch in.Op {
	case OpBlock, OpLoop, OpIf, OpTryTable:
		if s.depth++; s.depth > MaxDepth && r.err == nil {
			r.fail(fmt.Errorf("blocks nested more than %d deep", MaxDepth))
		}
	case OpEnd:
		s.depth--
	}
	if r.err != nil {
		s.r.err = fmt.Errorf("instruction at %#x: %w", start, r.err)
		return false
	}
	in.Bytes = r.bytes[start:r.pos]
	return true
}

// Peek returns the opcode behind the current instruction, or false if there is none that is known.
func (s *Scanner) Peek() (Op, bool) {
	ahead := Scanner{r: s.r}
	op := ahead.opcode()
	return op, ahead.r.err == nil && s.depth > 0
}

// opcode reads an opcode. Engines differ in how many bytes they take for the number behind 0xfd and 0xfe, but not for the shortest form.
func (s *Scanner) opcode() Op {
	r := &s.r
	b := r.byte()
	if b < 0xfb || b == 0xff {
		return Op(b)
	}
	at := r.pos
	n := r.u32()
	if r.err != nil {
		return 0
	}
	if n > 0xff || b == 0xfb {
		r.fail(refusal(b, n))
	} else if b != 0xfc && r.pos-at != len(AppendU32(nil, n)) {
		r.fail(fmt.Errorf("opcode %#x %#x is not in its shortest form", b, n))
	}
	return Op(b)<<8 | Op(n)
}

func (s *Scanner) immediates(what shape) {
	r, in := &s.r, &s.in
	switch what {
	case blockType:
		r.blockType()
	case tryTable:
		r.blockType()
		r.catches()
	case index:
		in.Index = r.u32()
	case indices:
		in.Index = r.u32()
		in.Second = r.u32()
	case labels:
		if in.Index = r.count(1); in.Index > MaxLabels {
			r.fail(fmt.Errorf("br_table of %d labels, more than %d", in.Index, MaxLabels))
		}
		for range uint64(in.Index) + 1 {
			r.u32()
		}
	case selected:
		r.selectType()
	case heapType:
		r.typeNumber()
	case memArg:
		r.memArg(&in.Mem)
	case memLane:
		r.memArg(&in.Mem)
		in.Lane = r.byte()
	case lane:
		in.Lane = r.byte()
	case zero:
		if r.byte() != 0 {
			r.fail(errors.New("reserved byte is not 0"))
		}
	default:
		s.constant(what)
	}
}

func (s *Scanner) constant(what shape) {
	r, in := &s.r, &s.in
	switch what {
	case i32:
		in.Value = uint64(uint32(r.signed(32)))
	case i64:
		in.Value = uint64(r.signed(64))
	case bytes4:
		if b := r.take(4); b != nil {
			in.Value = uint64(binary.LittleEndian.Uint32(b))
		}
	case bytes8:
		if b := r.take(8); b != nil {
			in.Value = binary.LittleEndian.Uint64(b)
		}
	case bytes16:
		copy(in.Vector[:], r.take(16))
	}
}

func (r *reader) memArg(m *MemArg) {
	*m = MemArg{Align: r.u32()}
	if m.Align&memoryBit != 0 {
		m.Align &^= memoryBit
		m.Memory = r.u32()
	}
	m.Offset = r.u64()
}

// blockType reads the type of a block: empty, a value type or the index of a function type. A value type is one, too, of one byte
// or of a prefix and what it refers to.
func (r *reader) blockType() {
	if n := r.typeNumber(); n == refNull || n == ref {
		r.typeNumber()
	}
}

// typeNumber reads a number that is an index or, below zero, the code of a type. A code takes one byte. Engines differ in what they
// make of longer forms: wazero compares the number in one place and the byte in another.
func (r *reader) typeNumber() int64 {
	at := r.pos
	n := r.signed(33)
	if n < 0 && r.pos-at > 1 && r.err == nil {
		r.fail(fmt.Errorf("type %d at %#x is not in its shortest form", n, at))
	}
	return n
}

// selectType reads the type of a select, a vector of one. wazero 1.12 takes all for one byte when it compiles, and panics.
func (r *reader) selectType() {
	if n := r.byte(); n != 1 && r.err == nil {
		r.fail(fmt.Errorf("select of %#x types, which must be one", n))
	}
	if n := r.typeNumber(); r.err == nil && (n >= 0 || n == refNull || n == ref) {
		r.fail(errors.New("select of a reference to a type of its own is of the typed-function-references proposal, and not supported"))
	}
}

// catches reads the clauses of try_table.
func (r *reader) catches() {
	for range r.count(2) {
		switch kind := r.byte(); kind {
		case 0, 1: // catch, catch_ref: tag and label
			r.u32()
			r.u32()
		case 2, 3: // catch_all, catch_all_ref
			r.u32()
		default:
			r.fail(fmt.Errorf("catch clause %#x is unknown", kind))
		}
	}
}
