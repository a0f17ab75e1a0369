package wasm

import "fmt"

// Op is the opcode of an instruction; behind a prefix, prefix<<8 plus the number.
type Op uint16

// Opcodes that a rewriter looks for or writes; chapter 5.4 of the specification.
const (
	OpUnreachable       Op = 0x00
	OpNop               Op = 0x01
	OpBlock             Op = 0x02
	OpLoop              Op = 0x03
	OpIf                Op = 0x04
	OpElse              Op = 0x05
	OpThrow             Op = 0x08
	OpThrowRef          Op = 0x0a
	OpEnd               Op = 0x0b
	OpBr                Op = 0x0c
	OpBrIf              Op = 0x0d
	OpBrTable           Op = 0x0e
	OpReturn            Op = 0x0f
	OpCall              Op = 0x10
	OpCallIndirect      Op = 0x11
	OpReturnCall        Op = 0x12
	OpReturnCallInd     Op = 0x13
	OpCallRef           Op = 0x14
	OpReturnCallRef     Op = 0x15
	OpDrop              Op = 0x1a
	OpSelect            Op = 0x1b
	OpSelectT           Op = 0x1c
	OpTryTable          Op = 0x1f
	OpLocalGet          Op = 0x20
	OpLocalSet          Op = 0x21
	OpLocalTee          Op = 0x22
	OpGlobalGet         Op = 0x23
	OpGlobalSet         Op = 0x24
	OpTableGet          Op = 0x25
	OpTableSet          Op = 0x26
	OpI32Load           Op = 0x28
	OpI64Store32        Op = 0x3e
	OpMemorySize        Op = 0x3f
	OpMemoryGrow        Op = 0x40
	OpI32Const          Op = 0x41
	OpI64Const          Op = 0x42
	OpF32Const          Op = 0x43
	OpF64Const          Op = 0x44
	OpI32LtU            Op = 0x49
	OpI32Add            Op = 0x6a
	OpI32Sub            Op = 0x6b
	OpI32Or             Op = 0x72
	OpI32Xor            Op = 0x73
	OpI32Shl            Op = 0x74
	OpI32Rotr           Op = 0x78
	OpI64Add            Op = 0x7c
	OpI64Xor            Op = 0x85
	OpI64Shl            Op = 0x86
	OpI64Rotr           Op = 0x8a
	OpI32WrapI64        Op = 0xa7
	OpF32ReinterpretI32 Op = 0xbe
	OpF64ReinterpretI64 Op = 0xbf
	OpRefNull           Op = 0xd0
	OpRefFunc           Op = 0xd2
	OpBrOnNull          Op = 0xd5
	OpBrOnNonNull       Op = 0xd6

	OpMemoryInit Op = 0xfc08
	OpDataDrop   Op = 0xfc09
	OpMemoryCopy Op = 0xfc0a
	OpMemoryFill Op = 0xfc0b
	OpTableInit  Op = 0xfc0c
	OpElemDrop   Op = 0xfc0d
	OpTableCopy  Op = 0xfc0e
	OpTableGrow  Op = 0xfc0f
	OpTableSize  Op = 0xfc10
	OpTableFill  Op = 0xfc11

	OpV128Load         Op = 0xfd00
	OpV128Store        Op = 0xfd0b
	OpV128Const        Op = 0xfd0c
	OpI8x16Shuffle     Op = 0xfd0d
	OpI8x16Swizzle     Op = 0xfd0e
	OpI8x16Splat       Op = 0xfd0f
	OpI64x2ReplaceLane Op = 0xfd1e
	OpI64x2Splat       Op = 0xfd12
	OpV128Or           Op = 0xfd50
	OpV128Xor          Op = 0xfd51
	OpV128Load8Lane    Op = 0xfd54
	OpV128Store64Lane  Op = 0xfd5b

	OpAtomicNotify Op = 0xfe00
	OpAtomicFence  Op = 0xfe03
)

// Leaves reports whether nothing behind op is reached, up to the end of the block or its else.
func (op Op) Leaves() bool {
	switch op {
	case OpUnreachable, OpThrow, OpThrowRef, OpBr, OpBrTable, OpReturn, OpReturnCall, OpReturnCallInd, OpReturnCallRef:
		return true
	}
	return false
}

// shape is what follows an opcode.
type shape uint8

const (
	unknown shape = iota
	nothing
	blockType // type of a block, s33
	tryTable  // type of a block, then catch clauses
	index     // one index
	indices   // two
	labels    // vector of labels and the default
	selected  // vector of one value type
	heapType
	memArg
	memLane // memarg, then a lane
	lane
	zero // one byte 0
	i32
	i64
	bytes4
	bytes8
	bytes16
)

// shapes are those of the opcodes without a prefix.
var shapes = func() (s [256]shape) {
	fill := func(from, to int, what shape) {
		for op := from; op <= to; op++ {
			s[op] = what
		}
	}
	fill(0x00, 0x01, nothing)   // unreachable, nop
	fill(0x02, 0x04, blockType) // block, loop, if
	fill(0x05, 0x05, nothing)   // else
	fill(0x08, 0x08, index)     // throw
	fill(0x0a, 0x0b, nothing)   // throw_ref, end
	fill(0x0c, 0x0d, index)     // br, br_if
	fill(0x0e, 0x0e, labels)    // br_table
	fill(0x0f, 0x0f, nothing)   // return
	fill(0x10, 0x10, index)     // call
	fill(0x11, 0x11, indices)   // call_indirect
	fill(0x12, 0x12, index)     // return_call
	fill(0x13, 0x13, indices)   // return_call_indirect
	fill(0x14, 0x15, index)     // call_ref, return_call_ref
	fill(0x1a, 0x1b, nothing)   // drop, select
	fill(0x1c, 0x1c, selected)  // select t
	fill(0x1f, 0x1f, tryTable)
	fill(0x20, 0x26, index)  // local.get to table.set
	fill(0x28, 0x3e, memArg) // loads and stores
	fill(0x3f, 0x40, index)  // memory.size, memory.grow
	s[0x41], s[0x42] = i32, i64
	s[0x43], s[0x44] = bytes4, bytes8
	fill(0x45, 0xc4, nothing) // comparisons, arithmetic, conversions
	fill(0xd0, 0xd0, heapType)
	fill(0xd1, 0xd1, nothing) // ref.is_null
	fill(0xd2, 0xd2, index)   // ref.func
	fill(0xd4, 0xd4, nothing) // ref.as_non_null
	fill(0xd5, 0xd6, index)   // br_on_null, br_on_non_null
	return s
}()

// shapeOf returns what follows op, or unknown.
func shapeOf(op Op) shape {
	n := op & 0xff
	switch op >> 8 {
	case 0:
		return shapes[n]
	case 0xfc:
		return shapeOfBulk(n)
	case 0xfd:
		return shapeOfVector(n)
	case 0xfe:
		switch {
		case n == 0x03:
			return zero
		case n <= 0x02 || 0x10 <= n && n <= 0x4e:
			return memArg
		}
	}
	return unknown
}

func shapeOfBulk(n Op) shape {
	switch {
	case n <= 0x07: // saturating truncation
		return nothing
	case n == 0x08, n == 0x0a, n == 0x0c, n == 0x0e: // memory.init, memory.copy, table.init, table.copy
		return indices
	case n <= 0x11:
		return index
	}
	return unknown
}

func shapeOfVector(n Op) shape {
	switch {
	case n <= 0x0b || n == 0x5c || n == 0x5d:
		return memArg
	case n <= 0x0d: // v128.const, i8x16.shuffle
		return bytes16
	case 0x15 <= n && n <= 0x22: // extract_lane, replace_lane
		return lane
	case 0x54 <= n && n <= 0x5b:
		return memLane
	case n == 0x9a, n == 0xa2, n == 0xa5, n == 0xa6, n == 0xaf, n == 0xb0, n == 0xb2, n == 0xb3, n == 0xb4, n == 0xbb,
		n == 0xc2, n == 0xc5, n == 0xc6, n == 0xcf, n == 0xd0, n == 0xd2, n == 0xd3, n == 0xd4, n == 0xe2, n == 0xee:
		return unknown // holes of the opcode table
	}
	return nothing
}

// refusal names what an opcode without a shape belongs to.
func refusal(prefix byte, n uint32) error {
	what := "unknown"
	switch {
	case prefix == 0 && (n == 0x06 || n == 0x07 || n == 0x09 || n == 0x18 || n == 0x19):
		what = "of the first exception-handling draft"
	case prefix == 0 && n == 0xd3, prefix == 0xfb:
		what = "of the garbage-collection proposal"
	case prefix == 0xfd && n >= 0x100 && n <= 0x12f:
		what = "of the relaxed-SIMD proposal"
	case prefix == 0xfc && n >= 0x13 && n <= 0x16:
		what = "of the wide-arithmetic proposal"
	case prefix == 0xfe && n >= 0x4f:
		what = "of the shared-everything-threads proposal"
	}
	if prefix == 0 {
		return fmt.Errorf("opcode %#x is %s, which is not supported", n, what)
	}
	return fmt.Errorf("opcode %#x %#x is %s, which is not supported", prefix, n, what)
}
