package wasm

import "encoding/binary"

// AppendU32 appends n as unsigned LEB128.
func AppendU32(b []byte, n uint32) []byte { return binary.AppendUvarint(b, uint64(n)) }

// AppendSigned appends n as signed LEB128, as in the immediates of i32.const and i64.const.
func AppendSigned(b []byte, n int64) []byte {
	for {
		low := byte(n & 0x7f)
		n >>= 7
		if n == 0 && low&0x40 == 0 || n == -1 && low&0x40 != 0 {
			return append(b, low)
		}
		b = append(b, low|0x80)
	}
}

// AppendOp appends an opcode without immediates.
func AppendOp(b []byte, op Op) []byte {
	if op < 0x100 {
		return append(b, byte(op))
	}
	return AppendU32(append(b, byte(op>>8)), uint32(op&0xff))
}

// AppendIndex appends an instruction whose immediate is one index, as global.get.
func AppendIndex(b []byte, op Op, index uint32) []byte { return AppendU32(AppendOp(b, op), index) }

// AppendI32 appends i32.const.
func AppendI32(b []byte, v uint32) []byte {
	return AppendSigned(append(b, byte(OpI32Const)), int64(int32(v)))
}

// AppendI64 appends i64.const.
func AppendI64(b []byte, v uint64) []byte {
	return AppendSigned(append(b, byte(OpI64Const)), int64(v))
}

// AppendV128 appends v128.const, or another instruction with sixteen bytes.
func AppendV128(b []byte, op Op, v [16]byte) []byte { return append(AppendOp(b, op), v[:]...) }

// AppendMem appends a load, a store or an atomic access, without a lane.
func AppendMem(b []byte, op Op, m MemArg) []byte {
	b = AppendOp(b, op)
	if m.Memory != 0 {
		b = AppendU32(AppendU32(b, m.Align|memoryBit), m.Memory)
	} else {
		b = AppendU32(b, m.Align)
	}
	return binary.AppendUvarint(b, m.Offset)
}

// paddedSize is the length of a number that appendPadded appends and setPadded overwrites.
const paddedSize = 5

// setPadded writes n at the front of b in a form whose length does not depend on n.
func setPadded(b []byte, n uint32) {
	for i := range paddedSize - 1 {
		b[i] = byte(n>>(7*i)) | 0x80
	}
	b[paddedSize-1] = byte(n >> 28)
}
