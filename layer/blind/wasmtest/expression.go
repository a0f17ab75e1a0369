package wasmtest

import "usui/layer/blind/wasm"

// Instructions by the type that they return: loads, and those of one and two operands of that type.
var (
	loads = map[wasm.ValType][]wasm.Op{
		wasm.I32: {0x28, 0x2c, 0x2d, 0x2e, 0x2f}, wasm.I64: {0x29, 0x30, 0x31, 0x32, 0x33, 0x34, 0x35},
		wasm.F32: {0x2a}, wasm.F64: {0x2b},
		wasm.V128: {0xfd00, 0xfd01, 0xfd03, 0xfd05, 0xfd07, 0xfd08, 0xfd09, 0xfd0a, 0xfd5c, 0xfd5d},
	}
	stores = map[wasm.ValType][]wasm.Op{
		wasm.I32: {0x36, 0x3a, 0x3b}, wasm.I64: {0x37, 0x3c, 0x3d, 0x3e}, wasm.F32: {0x38}, wasm.F64: {0x39}, wasm.V128: {0xfd0b},
	}
	unary = map[wasm.ValType][]wasm.Op{
		wasm.I32: {0x45, 0x67, 0x68, 0x69, 0xc0, 0xc1}, wasm.I64: {0x79, 0x7a, 0x7b, 0xc2, 0xc3, 0xc4},
		wasm.F32: {0x8b, 0x8c, 0x91}, wasm.F64: {0x99, 0x9a, 0x9f}, wasm.V128: {0xfd4d, 0xfd60, 0xfd61, 0xfda1},
	}
	binaries = map[wasm.ValType][]wasm.Op{ // shifts are as frequent as the rest
		wasm.I32: {0x6a, 0x6b, 0x6c, 0x6d, 0x70, 0x71, 0x72, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78, 0x46, 0x48, 0x4f},
		wasm.I64: {0x7c, 0x7d, 0x7e, 0x80, 0x81, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a},
		wasm.F32: {0x92, 0x93, 0x94, 0x96, 0x98}, wasm.F64: {0xa0, 0xa1, 0xa2, 0xa5, 0xa6},
		wasm.V128: {wasm.OpV128Xor, wasm.OpV128Or, wasm.OpI8x16Swizzle, 0xfd6e, 0xfdae, 0xfdce},
	}
)

// expression pushes a value of that type.
func (g *generator) expression(t wasm.ValType, depth int) {
	if depth == 0 {
		if g.r.IntN(2) == 0 {
			g.constant(t)
		} else {
			g.index(wasm.OpLocalGet, g.local(t))
		}
		return
	}
	switch g.r.IntN(9) {
	case 0:
		g.constant(t)
	case 1, 2:
		g.address()
		g.b = wasm.AppendMem(g.b, pick(g, loads[t]), g.memArg())
	case 3:
		g.expression(t, depth-1)
		g.op(unary[t]...)
	case 4:
		g.special(t, depth-1)
	case 5:
		g.expression(t, depth-1)
		g.expression(t, depth-1)
		g.expression(wasm.I32, depth-1)
		g.b = append(g.b, 0x1c, 1, byte(t)) // select t
	case 6:
		g.expression(t, depth-1)
		g.index(wasm.OpLocalTee, firstLocal+typeIndex(t))
	default:
		g.expression(t, depth-1)
		g.expression(t, depth-1)
		g.op(binaries[t]...)
	}
}

func pick(g *generator, ops []wasm.Op) wasm.Op { return ops[g.r.IntN(len(ops))] }

func typeIndex(t wasm.ValType) int {
	for i, other := range valTypes {
		if other == t {
			return i
		}
	}
	panic("BUG: not a type of the generator")
}

// special pushes something that only this type has: a conversion, a shuffle, a shift by a constant.
func (g *generator) special(t wasm.ValType, depth int) {
	switch t {
	case wasm.I32:
		if g.r.IntN(2) == 0 {
			g.expression(wasm.F32, depth)
			g.op(0xbc) // i32.reinterpret_f32
			return
		}
		g.expression(wasm.V128, depth)
		g.b = append(wasm.AppendOp(g.b, 0xfd1b), byte(g.r.IntN(4))) // i32x4.extract_lane
	case wasm.I64:
		g.expression(wasm.F64, depth)
		g.op(0xbd) // i64.reinterpret_f64
	case wasm.F32:
		g.expression(wasm.I32, depth)
		g.op(wasm.OpF32ReinterpretI32, 0xb2)
	case wasm.F64:
		g.expression(wasm.I64, depth)
		g.op(wasm.OpF64ReinterpretI64, 0xb9)
	case wasm.V128:
		g.vector(depth)
	}
}

func (g *generator) vector(depth int) {
	switch g.r.IntN(4) {
	case 0:
		g.expression(wasm.V128, depth)
		g.expression(wasm.V128, depth)
		var lanes [16]byte
		for i := range lanes {
			lanes[i] = byte(g.r.IntN(32))
			if g.r.IntN(2) == 0 {
				lanes[i] = []byte{0x0f, 0x05, 0x07, 0x1f, 0x15, 0x17}[g.r.IntN(6)]
			}
		}
		g.b = wasm.AppendV128(g.b, wasm.OpI8x16Shuffle, lanes)
	case 1:
		g.expression(wasm.V128, depth)
		g.constant(wasm.I32)
		g.op(0xfd6b, 0xfd8c, 0xfdab, 0xfdcd) // shifts of each lane size
	case 2:
		g.expression(wasm.I64, depth)
		g.op(wasm.OpI64x2Splat)
	case 3: // v128.load8_lane and v128.load64_lane
		g.address()
		g.expression(wasm.V128, depth)
		op, lanes := wasm.OpV128Load8Lane, 16
		if g.r.IntN(2) == 0 {
			op, lanes = wasm.OpV128Load8Lane+3, 2
		}
		g.b = append(wasm.AppendMem(g.b, op, g.memArg()), byte(g.r.IntN(lanes)))
	}
}

// statement leaves the stack as it was.
func (g *generator) statement(depth int) {
	t := valTypes[g.r.IntN(len(valTypes))]
	switch n := g.r.IntN(6); {
	case n == 0 && depth > 0:
		g.jumpTable(depth)
	case n == 1 && depth > 0 && g.loops < maxLoops:
		g.loop(depth)
	case n == 2 && depth > 0:
		g.expression(wasm.I32, 1)
		g.b = append(g.b, byte(wasm.OpIf), 0x40)
		g.statement(depth - 1)
		g.op(wasm.OpElse)
		g.statement(depth - 1)
		g.op(wasm.OpEnd)
	case n <= 3:
		g.address()
		g.expression(t, 1)
		g.b = wasm.AppendMem(g.b, pick(g, stores[t]), g.memArg())
	default:
		g.expression(t, 2)
		g.index(wasm.OpLocalSet, firstLocal+typeIndex(t))
	}
}

// loop runs a few times: its counter is its own.
func (g *generator) loop(depth int) {
	counter := firstCounter + g.loops
	g.b = wasm.AppendI32(g.b, uint32(1+g.r.IntN(4)))
	g.index(wasm.OpLocalSet, counter)
	g.loops++
	g.b = append(g.b, byte(wasm.OpLoop), 0x40)
	for range 1 + g.r.IntN(3) {
		g.statement(depth - 1)
	}
	g.index(wasm.OpLocalGet, counter)
	g.b = wasm.AppendI32(g.b, 1)
	g.op(wasm.OpI32Sub)
	g.index(wasm.OpLocalTee, counter)
	g.index(wasm.OpBrIf, 0)
	g.op(wasm.OpEnd)
	g.loops--
}

// jumpTable chooses between two statements, by a table that is as long as its count makes it interesting.
func (g *generator) jumpTable(depth int) {
	g.b = append(g.b, byte(wasm.OpBlock), 0x40, byte(wasm.OpBlock), 0x40)
	g.expression(wasm.I32, 1)
	g.b = wasm.AppendI32(g.b, 0xff)
	g.b = wasm.AppendOp(g.b, 0x71)
	n := []int{1, 2, 3, 0xc0, 0xc1, 0xc2, 0xc3, 0xcb, 0xcf}[g.r.IntN(9)]
	g.index(wasm.OpBrTable, n)
	for range n + 1 {
		g.b = append(g.b, byte(g.r.IntN(2)))
	}
	g.op(wasm.OpEnd)
	g.statement(depth - 1)
	g.op(wasm.OpEnd)
	g.statement(depth - 1)
}
