package blind

import (
	"fmt"

	"usui/layer/blind/wasm"
)

// largeFrame is the size of a stack frame from which the second byte of an offset in it can be c2 or c3. Lower bytes cannot: slots
// begin at multiples of four.
const largeFrame = 0xc200

// action is what becomes of one instruction.
type action uint8

const (
	keep      action = iota
	mask             // a constant count of a shift: only the bits that matter
	blind            // a constant: xored
	splitAway        // a memory access: a part of its offset added at run time
	lookUp           // a shuffle: a table look-up with a blinded vector
	pad              // br_table: more labels, that are the default
)

// plan is what a first walk over a function finds out.
type plan struct {
	touched bool
	loops   []loop // in the order in which they begin
}

// plan walks over the function.
func (f *function) plan() (p plan, err error) {
	var loops loops
	numbers := f.tryNumbers()
	s := wasm.NewScanner(f.fn.Code)
	for s.Next() {
		in := s.Instr()
		loops.follow(in, s)
		do, c, err := f.decide(in, s)
		if err != nil {
			return plan{}, err
		}
		added, err := numbers.number(f.w, in)
		if err != nil {
			return plan{}, err
		}
		f.seen.count(in)
		p.touched = p.touched || do != keep || added > 0
		if do == blind && f.w.o.Policy.byBytes() {
			loops.use(c)
		}
	}
	p.loops = loops.all
	f.tries, f.w.open = numbers.next-f.firstTry, numbers.open
	if s.Err() != nil {
		return plan{}, s.Err()
	}
	if s.Pos() != len(f.fn.Code) {
		return plan{}, fmt.Errorf("%d bytes behind its end", len(f.fn.Code)-s.Pos())
	}
	return p, nil
}

// decide says what becomes of the instruction that s is at, and which constant it stands for.
func (f *function) decide(in *wasm.Instr, s *wasm.Scanner) (action, constant, error) {
	if c, ok := constantOf(in); ok {
		do, c := f.decideConstant(c, s)
		return do, c, nil
	}
	if !f.w.o.Policy.byBytes() || !f.w.integers() {
		return keep, constant{}, nil
	}
	switch in.Op {
	case wasm.OpI8x16Shuffle:
		if c := vector(in.Vector); f.w.dirtyShuffle(in.Vector) || f.forced(c) {
			return lookUp, c, nil
		}
		return keep, constant{}, nil
	case wasm.OpBrTable:
		if !f.w.cleanCount(in.Index) {
			return pad, constant{}, nil
		}
		return keep, constant{}, nil
	}
	if access, ok := in.Op.Access(); ok {
		if in.Mem.Offset > 1 && (f.w.dirtyOffset(in.Mem.Offset, access.Size) || f.forcedNumber(in.Mem.Offset) ||
			f.forcedNumber(in.Mem.Offset+uint64(access.Size))) {
			return splitAway, constant{}, nil
		}
		return keep, constant{}, nil
	}
	return keep, constant{}, f.w.checkIndices(in)
}

// decideConstant is decide for a constant. A count of a shift loses its high bits first, which is free and may be enough.
func (f *function) decideConstant(c constant, s *wasm.Scanner) (action, constant) {
	if !f.wanted(c) {
		return keep, c
	}
	if c.typ != wasm.I32 && c.typ != wasm.I64 {
		return blind, c
	}
	next, ok := s.Peek()
	if !ok {
		return blind, c
	}
	if bits, ok := next.ShiftMask(); ok && c.bits[0] != c.bits[0]&bits {
		c.bits[0] &= bits
		if !f.wanted(c) {
			return mask, c
		}
	}
	return blind, c
}

func (f *function) wanted(c constant) bool {
	var buf [16]byte
	return c.literal(f.w.arch) && f.w.o.Policy.wants(f.w.arch, c.appendBytes(buf[:0])) || f.forced(c)
}

// forced reports whether a scan found what the constant became.
func (f *function) forced(c constant) bool {
	if f.found == nil || c.bits == [2]uint64{} {
		return false
	}
	var buf [16]byte
	return f.found.matches(c.appendBytes(buf[:0]))
}

func (f *function) forcedNumber(v uint64) bool {
	return f.forced(constant{wasm.I64, [2]uint64{v}})
}

// integers reports whether numbers of instructions stand in code as bytes of their own.
func (w *rewriter) integers() bool { return constant{typ: wasm.I32}.literal(w.arch) }

// checkIndices refuses indices that engines put into code and that no padding of ours moves.
func (w *rewriter) checkIndices(in *wasm.Instr) error {
	var what string
	switch in.Op {
	case wasm.OpRefFunc:
		what = "ref.func"
	case wasm.OpMemoryInit, wasm.OpDataDrop:
		what = "data segment"
	case wasm.OpTableInit, wasm.OpElemDrop, wasm.OpTableCopy:
		what = "element segment or table"
	case wasm.OpTableGet, wasm.OpTableSet, wasm.OpTableGrow, wasm.OpTableSize, wasm.OpTableFill:
		what = "table"
	case wasm.OpThrow:
		what = "tag"
	default:
		return nil
	}
	for _, i := range []uint32{in.Index, in.Second} {
		if !w.strictSet().Clean(w.arch, bytesOf(uint64(i), 4)) {
			return fmt.Errorf("%s %d: code would hold this index, whose bytes are a control-flow instruction; give it another number", what, i)
		}
	}
	return nil
}
