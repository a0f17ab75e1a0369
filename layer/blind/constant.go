package blind

import (
	"encoding/binary"

	"usui/layer/blind/terminator"
	"usui/layer/blind/wasm"
)

// constant is a number or vector that a program names.
type constant struct {
	typ  wasm.ValType
	bits [2]uint64 // the second half is that of a vector
}

// constantOf returns the constant that in pushes; false if it is no such instruction.
func constantOf(in *wasm.Instr) (constant, bool) {
	switch in.Op {
	case wasm.OpI32Const:
		return constant{wasm.I32, [2]uint64{in.Value}}, true
	case wasm.OpI64Const:
		return constant{wasm.I64, [2]uint64{in.Value}}, true
	case wasm.OpF32Const:
		return constant{wasm.F32, [2]uint64{in.Value}}, true
	case wasm.OpF64Const:
		return constant{wasm.F64, [2]uint64{in.Value}}, true
	case wasm.OpV128Const:
		return vector(in.Vector), true
	}
	return constant{}, false
}

func vector(v [16]byte) constant {
	return constant{wasm.V128, [2]uint64{binary.LittleEndian.Uint64(v[:8]), binary.LittleEndian.Uint64(v[8:])}}
}

// appendBytes appends the constant as code holds it.
func (c constant) appendBytes(b []byte) []byte {
	switch c.typ {
	case wasm.I32, wasm.F32:
		return binary.LittleEndian.AppendUint32(b, uint32(c.bits[0]))
	case wasm.V128:
		b = binary.LittleEndian.AppendUint64(b, c.bits[0])
		return binary.LittleEndian.AppendUint64(b, c.bits[1])
	}
	return binary.LittleEndian.AppendUint64(b, c.bits[0])
}

// appendPlain appends an instruction that names a whole number.
func (c constant) appendPlain(b []byte) []byte {
	if c.typ == wasm.I32 {
		return wasm.AppendI32(b, uint32(c.bits[0]))
	}
	return wasm.AppendI64(b, c.bits[0])
}

// literal reports whether an engine may put the constant's bytes into code as they are. Code for arm64 has integers in pieces of 16 bits, within
// words of fixed opcodes; other constants are data between the instructions.
func (c constant) literal(arch terminator.Arch) bool {
	return arch != terminator.ARM64 || c.typ != wasm.I32 && c.typ != wasm.I64
}

// append appends instructions that push the constant without naming it. A floating-point number is never one before it is whole: its bits are
// those of the original, whatever kind of NaN it is.
func (c constant) append(b []byte, k *keys) ([]byte, error) {
	if c.typ == wasm.V128 {
		return c.appendVector(b, k)
	}
	t, size := wasm.I64, 8
	if c.typ == wasm.I32 || c.typ == wasm.F32 {
		t, size = wasm.I32, 4
	}
	secret, err := k.forValue(c.bits[0], size)
	if err != nil {
		return nil, err
	}
	if t == wasm.I32 {
		b = wasm.AppendI32(b, uint32(c.bits[0]^secret.value))
		b = wasm.AppendOp(appendKey(b, secret, t), wasm.OpI32Xor)
	} else {
		b = wasm.AppendI64(b, c.bits[0]^secret.value)
		b = wasm.AppendOp(appendKey(b, secret, t), wasm.OpI64Xor)
	}
	switch c.typ {
	case wasm.F32:
		b = wasm.AppendOp(b, wasm.OpF32ReinterpretI32)
	case wasm.F64:
		b = wasm.AppendOp(b, wasm.OpF64ReinterpretI64)
	}
	return b, nil
}

// appendVector is append for a vector: each half has a key of its own, so that finding one is no harder than for a number.
func (c constant) appendVector(b []byte, k *keys) ([]byte, error) {
	var half [2]key
	var blinded [16]byte
	for i := range half {
		var err error
		if half[i], err = k.forValue(c.bits[i], 8); err != nil {
			return nil, err
		}
		binary.LittleEndian.PutUint64(blinded[8*i:], c.bits[i]^half[i].value)
	}
	b = wasm.AppendV128(b, wasm.OpV128Const, blinded)
	b = wasm.AppendOp(appendKey(b, half[0], wasm.I64), wasm.OpI64x2Splat)
	if half[1] != half[0] {
		b = append(wasm.AppendOp(appendKey(b, half[1], wasm.I64), wasm.OpI64x2ReplaceLane), 1)
	}
	return wasm.AppendOp(b, wasm.OpV128Xor), nil
}
