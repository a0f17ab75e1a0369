package blind

import (
	"bytes"

	"usui/layer/blind/scan"
)

// maxFields bounds what is kept of a function. One with more in it is treated whole, so that time does not grow with the square of what is found.
const maxFields = 64

// findings are what scans found in the code of one function: fields that hold a terminator.
type findings struct {
	fields     [][]byte // treated
	fresh      [][]byte // found by the last scan
	everything bool     // a field came again, so no constant that we know explains it, or there are many: treat all there are
}

// add takes what a scan found that is not the engine's own, and reports whether the function should be written again for it.
func (f *findings) add(o scan.Offender) (news bool) {
	for _, part := range o.Parts {
		switch {
		case !part.Field.Chosen(), f.everything, has(f.fresh, part.Value):
		case has(f.fields, part.Value), len(f.fields)+len(f.fresh) == maxFields:
			f.everything, news = true, true
		default:
			f.fresh, news = append(f.fresh, bytes.Clone(part.Value)), true
		}
	}
	return news
}

// settle ends a scan: what was found is treated from now on.
func (f *findings) settle() {
	f.fields = append(f.fields, f.fresh...)
	f.fresh = nil
}

func has(fields [][]byte, field []byte) bool {
	for _, other := range fields {
		if bytes.Equal(field, other) {
			return true
		}
	}
	return false
}

// matches reports whether a constant of those bytes may be what stands in one of the fields.
func (f *findings) matches(constant []byte) bool {
	if f.everything {
		return true
	}
	for _, field := range f.fields {
		if len(field) > 8 && bytes.Contains(field, constant) || extends(field, constant) || extends(constant, field) {
			return true
		}
	}
	return false
}

// extends reports whether a is b, or b with nothing but zeros or ones in front.
func extends(a, b []byte) bool {
	if len(a) < len(b) || !bytes.Equal(a[:len(b)], b) {
		return false
	}
	for _, high := range a[len(b):] {
		if high != a[len(a)-1] || high != 0 && high != 0xff {
			return false
		}
	}
	return true
}

// Immediates that wazero's compiler has on its own account. The first ones hold a terminator.
var (
	ownNumbers = [][]byte{
		{0xff, 0x1f, 0, 0},             // 8191: memory.fill and memory.copy work in chunks
		{0, 0, 0, 0xcf},                // -2³¹ as f32: the smallest number that i32.trunc_f32_s converts
		{0, 0, 0, 0, 0, 0, 0xe0, 0xc3}, // -2⁶³ as f64: likewise for i64.trunc_f64_s
	}
	minusOne = []byte{0xff, 0xff, 0xff, 0xff} // begins one: division compares with it, conversion saturates with it
)

// enginesOwn reports whether a terminator is in such a number. A constant of the program is not mistaken for one: it is
// blinded if it holds a terminator, and once a scan found the function to have a field like it. f may be nil: nothing was found yet.
func (f *findings) enginesOwn(o scan.Offender) bool {
	for _, part := range o.Parts {
		switch {
		case part.Field != scan.Imm:
			if part.Field.Chosen() {
				return false
			}
		case has(ownNumbers, part.Value) && !o.Where.Crossing():
		case bytes.Equal(part.Value, minusOne) && f != nil && (f.everything || has(f.fields, minusOne)):
		default:
			return false
		}
	}
	return true
}
