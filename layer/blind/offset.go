package blind

import (
	"math"

	"usui/layer/blind/wasm"
)

// split is a static offset in two parts, offset = rest + added, of which the second is added to the address when the program runs.
type split struct {
	rest  uint64
	added uint32
	blind bool // the second is blinded like a constant
}

// The parts that are tried divide the offset by multiples of the golden ratio, which fill the range evenly. One in seven fits.
const (
	maxSplits = 200
	golden    = 0x9e3779b1 // 1<<32 / 1.618
)

// dirtyOffset reports whether an access leaves a terminator in code: its offset, which becomes a displacement, or its end, which
// is what an engine compares with the memory's size.
func (w *rewriter) dirtyOffset(offset uint64, size uint32) bool {
	return !w.cleanNumber(offset) || !w.cleanNumber(offset+uint64(size))
}

func (w *rewriter) cleanNumber(v uint64) bool { return w.set().Clean(w.arch, bytesOf(v, 8)) }

// splitOffset finds parts that are clean, and begin and complete no terminator with what stands beside them. rest is chosen such that an
// address that saturates is outside of every memory: rest + size is at least 2.
func (w *rewriter) splitOffset(offset uint64, size uint32) split {
	least := uint64(0)
	if size == 1 {
		least = 1
	}
	fits := func(s split) bool {
		return s.added > 0 && s.rest >= least && w.strictNumber(uint64(s.added), 4) && w.strictNumber(s.rest, 4) &&
			w.strictNumber(s.rest+uint64(size), 4)
	}
	for i := uint64(1); i <= maxSplits; i++ {
		added := (i * golden & math.MaxUint32) * offset >> 32
		if s := (split{rest: offset - added, added: uint32(added)}); fits(s) {
			return s
		}
	}
	return split{rest: least, added: uint32(offset - least), blind: true}
}

// strictNumber is cleanNumber for a value that we choose: it also fits beside anything.
func (w *rewriter) strictNumber(v uint64, n int) bool {
	if v > math.MaxUint32 {
		n = 8
	}
	return w.set().Strict(w.arch, bytesOf(v, n))
}

// appendAccess appends a memory access whose offset is not to stand in code. The operands above the address wait in locals.
//
// An access beyond 4 GiB must trap as before, so the sum of address and part saturates instead of wrapping: a wrapped sum is less than the
// address, and 0 - 1 are all ones.
func (f *function) appendAccess(in *wasm.Instr, access wasm.Access) error {
	s := f.w.splitOffset(in.Mem.Offset, access.Size)
	for i := len(access.Above) - 1; i >= 0; i-- {
		f.index(wasm.OpLocalSet, f.scratch(access.Above[i], i))
	}
	address, sum := f.scratch(wasm.I32, 2), f.scratch(wasm.I32, 3)
	f.index(wasm.OpLocalTee, address)
	if s.blind {
		if err := f.blinded(constant{wasm.I32, [2]uint64{uint64(s.added)}}); err != nil {
			return err
		}
	} else {
		f.out = wasm.AppendI32(f.out, s.added)
	}
	f.op(wasm.OpI32Add)
	f.index(wasm.OpLocalTee, sum)
	f.out = wasm.AppendI32(f.out, 0)
	f.index(wasm.OpLocalGet, sum)
	f.index(wasm.OpLocalGet, address)
	f.op(wasm.OpI32LtU)
	f.op(wasm.OpI32Sub)
	f.op(wasm.OpI32Or)
	for i, t := range access.Above {
		f.index(wasm.OpLocalGet, f.scratch(t, i))
	}
	m := in.Mem
	m.Offset = s.rest
	f.out = wasm.AppendMem(f.out, in.Op, m)
	if in.HasLane() {
		f.out = append(f.out, in.Lane)
	}
	return nil
}
