package wasmtest

import (
	"encoding/binary"
	"math/rand/v2"

	"usui/layer/blind/wasm"
)

// RandomType is the type of all functions of a random module.
var RandomType = Type{
	Params:  []wasm.ValType{wasm.I32, wasm.I64, wasm.F32, wasm.F64},
	Results: []wasm.ValType{wasm.I32, wasm.I64, wasm.F32, wasm.F64},
}

// Locals of a random function behind its parameters: one of each type to write to, and counters of nested loops.
var randomLocals = []wasm.ValType{wasm.I32, wasm.I64, wasm.F32, wasm.F64, wasm.V128, wasm.I32, wasm.I32}

const (
	firstLocal   = 4
	firstCounter = firstLocal + 5
	maxLoops     = 2
)

// Random returns a module of n functions, made by the seed.
func Random(seed uint64, n int) []byte {
	m := Module{Pages: 1, Data: make([]byte, 512)}
	r := rand.New(rand.NewPCG(seed, 1))
	for i := range m.Data {
		m.Data[i] = byte(r.Uint32())
	}
	for i := range n {
		g := generator{r: r}
		for range 1 + r.IntN(3) {
			g.statement(2)
		}
		for _, t := range RandomType.Results {
			g.expression(t, 1)
		}
		m.Funcs = append(m.Funcs, Func{Name: Name(i), Type: RandomType, Locals: randomLocals, Code: g.b})
	}
	return m.Bytes()
}

// generator writes one function.
type generator struct {
	r     *rand.Rand
	b     []byte
	loops int // that are open
}

func (g *generator) op(ops ...wasm.Op) { g.b = wasm.AppendOp(g.b, ops[g.r.IntN(len(ops))]) }

func (g *generator) index(op wasm.Op, i int) { g.b = wasm.AppendIndex(g.b, op, uint32(i)) }

// dirty are bytes that make, begin or end terminators, and some that do not.
var dirty = []byte{0xc3, 0xc2, 0xcb, 0xca, 0xcf, 0xff, 0x0f, 0x05, 0x07, 0x34, 0x35, 0xcd, 0x80, 0x10, 0x1f, 0x25, 0, 0, 0, 1, 0x7f}

// bits returns 64 bits of which many bytes are dirty, and of which the upper ones may be a sign.
func (g *generator) bits() uint64 {
	var b [8]byte
	for i := range b {
		b[i] = dirty[g.r.IntN(len(dirty))]
	}
	v := binary.LittleEndian.Uint64(b[:])
	switch g.r.IntN(4) {
	case 0:
		return v & 0xff
	case 1:
		return v & 0xffff
	case 2:
		return uint64(int64(v) >> 32)
	}
	return v
}

var valTypes = []wasm.ValType{wasm.I32, wasm.I64, wasm.F32, wasm.F64, wasm.V128}

// local returns a local of the type: mostly one that is written to.
func (g *generator) local(t wasm.ValType) int {
	for i, other := range valTypes {
		if other == t {
			if t != wasm.V128 && g.r.IntN(3) == 0 {
				return i
			}
			return firstLocal + i
		}
	}
	panic("BUG: no local of that type")
}

func (g *generator) constant(t wasm.ValType) {
	v := g.bits()
	switch t {
	case wasm.I32:
		g.b = wasm.AppendI32(g.b, uint32(v))
	case wasm.I64:
		g.b = wasm.AppendI64(g.b, v)
	case wasm.F32:
		g.b = binary.LittleEndian.AppendUint32(append(g.b, byte(wasm.OpF32Const)), uint32(v))
	case wasm.F64:
		g.b = binary.LittleEndian.AppendUint64(append(g.b, byte(wasm.OpF64Const)), v)
	case wasm.V128:
		var b [16]byte
		binary.LittleEndian.PutUint64(b[:8], v)
		binary.LittleEndian.PutUint64(b[8:], g.bits())
		g.b = wasm.AppendV128(g.b, wasm.OpV128Const, b)
	}
}

// memArg is aligned to nothing; its offset reaches beyond the memory now and then.
func (g *generator) memArg() wasm.MemArg {
	offset := g.bits() & 0xffff_ffff
	if g.r.IntN(4) > 0 {
		offset &= 0xffff
	}
	return wasm.MemArg{Offset: offset}
}

// address pushes one: small, any, or near 4 GiB.
func (g *generator) address() {
	switch g.r.IntN(8) {
	case 0:
		g.expression(wasm.I32, 1)
	case 1:
		g.b = wasm.AppendI32(g.b, -uint32(g.r.IntN(0x10000)))
	default:
		g.expression(wasm.I32, 1)
		g.b = wasm.AppendI32(g.b, 0x1fff)
		g.b = wasm.AppendOp(g.b, 0x71) // i32.and
	}
}
