package blind

import "usui/layer/blind/wasm"

// dirtyShuffle reports whether the indices of a shuffle hold a terminator. Engines make of them one table for each operand, in which an index
// counts from that operand's first lane, so both are looked at.
func (w *rewriter) dirtyShuffle(lanes [16]byte) bool {
	second := lanes
	for i := range second {
		second[i] ^= 16
	}
	return !w.set().Clean(w.arch, lanes[:]) || !w.set().Clean(w.arch, second[:])
}

// appendLookUp appends what a shuffle does, with its indices as a blinded vector: a look-up yields 0 for a lane beyond the
// sixteenth, so the lanes of one operand, and with bit 4 turned those of the other, can be or-ed.
func (f *function) appendLookUp(c constant) error {
	first, second, lanes := f.scratch(wasm.V128, 0), f.scratch(wasm.V128, 1), f.scratch(wasm.V128, 2)
	f.index(wasm.OpLocalSet, second)
	f.index(wasm.OpLocalSet, first)
	if err := f.blinded(c); err != nil {
		return err
	}
	f.index(wasm.OpLocalSet, lanes)
	f.index(wasm.OpLocalGet, first)
	f.index(wasm.OpLocalGet, lanes)
	f.op(wasm.OpI8x16Swizzle)
	f.index(wasm.OpLocalGet, second)
	f.index(wasm.OpLocalGet, lanes)
	f.out = wasm.AppendI32(f.out, 16)
	f.op(wasm.OpI8x16Splat)
	f.op(wasm.OpV128Xor)
	f.op(wasm.OpI8x16Swizzle)
	f.op(wasm.OpV128Or)
	return nil
}
