package wasm

// ValType is a value type of one byte.
type ValType byte

// The number and vector types.
const (
	I32  ValType = 0x7f
	I64  ValType = 0x7e
	F32  ValType = 0x7d
	F64  ValType = 0x7c
	V128 ValType = 0x7b
)

// Codes of value types that a heap type follows: the bytes 0x63 and 0x64, as signed numbers of seven bits.
const (
	refNull = -29
	ref     = -28
)

// Access is what an instruction with a memarg does.
type Access struct {
	Size  uint32    // bytes in memory
	Above []ValType // operands above the address on the stack, the top one last
}

var (
	oneI32, oneI64 = []ValType{I32}, []ValType{I64}
	twoI32, twoI64 = []ValType{I32, I32}, []ValType{I64, I64}
	oneV128        = []ValType{V128}
)

// plainAccesses are those of i32.load to i64.store32.
var plainAccesses = [OpI64Store32 - OpI32Load + 1]Access{
	{4, nil}, {8, nil}, {4, nil}, {8, nil}, // i32.load, i64.load, f32.load, f64.load
	{1, nil}, {1, nil}, {2, nil}, {2, nil}, // i32.load8_s to i32.load16_u
	{1, nil}, {1, nil}, {2, nil}, {2, nil}, {4, nil}, {4, nil}, // i64.load8_s to i64.load32_u
	{4, oneI32}, {8, oneI64}, {4, []ValType{F32}}, {8, []ValType{F64}}, // stores
	{1, oneI32}, {2, oneI32}, {1, oneI64}, {2, oneI64}, {4, oneI64},
}

// Access returns what op does with memory; false for one without a memarg.
func (op Op) Access() (Access, bool) {
	switch what := shapeOf(op); {
	case what != memArg && what != memLane:
		return Access{}, false
	case op <= OpI64Store32:
		return plainAccesses[op-OpI32Load], true
	case op>>8 == 0xfd:
		return vectorAccess(op), true
	}
	return atomicAccess(op & 0xff), true
}

func vectorAccess(op Op) Access {
	switch {
	case op == OpV128Load:
		return Access{16, nil}
	case op == OpV128Store:
		return Access{16, oneV128}
	case op <= 0xfd06: // load8x8_s to load32x2_u
		return Access{8, nil}
	case op <= 0xfd0a: // load8_splat to load64_splat
		return Access{1 << (op - 0xfd07), nil}
	case op <= OpV128Store64Lane:
		return Access{1 << ((op - OpV128Load8Lane) & 3), oneV128}
	}
	return Access{4 << (op - 0xfd5c), nil} // load32_zero, load64_zero
}

// atomicAccess returns that of the opcode 0xfe n; the table is that of the threads proposal.
func atomicAccess(n Op) Access {
	group := [7]Access{{4, oneI32}, {8, oneI64}, {1, oneI32}, {2, oneI32}, {1, oneI64}, {2, oneI64}, {4, oneI64}}
	switch {
	case n == 0x00: // memory.atomic.notify
		return Access{4, oneI32}
	case n == 0x01: // memory.atomic.wait32
		return Access{4, []ValType{I32, I64}}
	case n == 0x02: // memory.atomic.wait64
		return Access{8, twoI64}
	case n <= 0x16: // loads
		return Access{group[n-0x10].Size, nil}
	case n <= 0x1d: // stores
		return group[n-0x17]
	case n <= 0x47: // read, modify, write
		return group[(n-0x1e)%7]
	}
	a := group[n-0x48] // compare and exchange
	a.Above = twoI64
	if group[n-0x48].Above[0] == I32 {
		a.Above = twoI32
	}
	return a
}

// ShiftMask returns the bits of a constant count that op looks at; false if op is no shift or rotation.
func (op Op) ShiftMask() (uint64, bool) {
	switch {
	case OpI32Shl <= op && op <= OpI32Rotr:
		return 31, true
	case OpI64Shl <= op && op <= OpI64Rotr:
		return 63, true
	case 0xfd6b <= op && op <= 0xfd6d: // i8x16.shl, shr_s, shr_u
		return 7, true
	case 0xfd8b <= op && op <= 0xfd8d:
		return 15, true
	case 0xfdab <= op && op <= 0xfdad:
		return 31, true
	case 0xfdcb <= op && op <= 0xfdcd:
		return 63, true
	}
	return 0, false
}
