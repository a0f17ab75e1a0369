package blind

import (
	"bytes"
	"slices"
	"testing"

	"usui/layer/blind/wasm"
)

// TestLoopsThatKeepConstants checks which loop computes a constant before it begins: the outermost one that is small and neither calls nor
// dispatches.
func TestLoopsThatKeepConstants(t *testing.T) {
	const (
		begin = "\x03\x40" // loop
		end   = "\x0b"
		use   = "\x41\xc3\x01\x1a" // i32.const 0xc3, drop
		other = "\x41\xc2\x01\x1a"
		call  = "\x10\x00"
		table = "\x41\x00\x0e\x00\x00" // i32.const 0, br_table 0
	)
	large := string(bytes.Repeat([]byte{byte(wasm.OpNop)}, smallLoop))
	for _, test := range []struct {
		name, code string
		want       []int // constants of each loop, in the order in which they begin
	}{
		{"no loop", use, nil},
		{"one", begin + use + use + other + end, []int{2}},
		{"after a loop", begin + end + use, []int{0}},
		{"in another", begin + use + begin + use + other + end + end, []int{2, 0}},
		{"two in another", begin + begin + use + end + begin + other + end + end, []int{2, 0, 0}},
		{"three deep", begin + begin + begin + use + end + end + end, []int{1, 0, 0}},
		{"beside a call", begin + use + call + end, []int{0}},
		{"behind a call in a loop", begin + begin + call + end + begin + use + end + end, []int{0, 0, 1}},
		{"around a call in a loop", begin + use + begin + call + end + end, []int{0, 0}},
		{"in one that calls", begin + call + begin + use + end + end, []int{0, 1}},
		{"in one that dispatches", begin + begin + use + end + table + end, []int{0, 1}},
		{"in a large one", begin + use + begin + other + end + large + end, []int{0, 1}},
		{"two loops", begin + use + end + begin + use + end, []int{1, 1}},
	} {
		l, err := loopsOf([]byte(test.code + end))
		if err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		var got []int
		for _, loop := range l.all {
			got = append(got, len(loop.constants))
		}
		if !slices.Equal(got, test.want) || len(l.open) != 0 {
			t.Errorf("%s: loops keep %v constants, want %v; open %d", test.name, got, test.want, len(l.open))
		}
	}
}

// TestLoopsKeepFewConstants holds the bound for one loop, those of loops in it included.
func TestLoopsKeepFewConstants(t *testing.T) {
	code := []byte("\x03\x40\x03\x40")
	for i := range 2 * maxHoisted {
		code = append(wasm.AppendI32(code, uint32(1000+i)), byte(wasm.OpDrop))
		if i == maxHoisted/2 {
			code = append(code, byte(wasm.OpEnd))
		}
	}
	l, err := loopsOf(append(code, byte(wasm.OpEnd), byte(wasm.OpEnd)))
	if err != nil {
		t.Fatal(err)
	}
	if got := len(l.all[0].constants); got != maxHoisted || len(l.all[1].constants) != 0 {
		t.Errorf("the outer loop keeps %d constants, the inner one %d, want %d and 0", got, len(l.all[1].constants), maxHoisted)
	}
}

// loopsOf returns the loops of a function that blinds every constant but 0.
func loopsOf(code []byte) (l loops, err error) {
	s := wasm.NewScanner(code)
	for s.Next() {
		l.follow(s.Instr(), s)
		if c, ok := constantOf(s.Instr()); ok && c.bits[0] != 0 {
			l.use(c)
		}
	}
	return l, s.Err()
}

// TestLoopsShareLocals has more loops than a function may have locals, with as many constants as each may keep.
func TestLoopsShareLocals(t *testing.T) {
	var code []byte
	for range 6250 {
		code = append(code, byte(wasm.OpLoop), 0x40)
		for i := range maxHoisted {
			code = wasm.AppendI32(wasm.AppendIndex(code, wasm.OpLocalGet, 0), uint32(0xc3+i<<8))
			code = wasm.AppendIndex(wasm.AppendOp(code, wasm.OpI32Add), wasm.OpLocalSet, 0)
		}
		code = append(code, byte(wasm.OpEnd))
	}
	_, report, err := Rewrite(t.Context(), one(0, []wasm.ValType{wasm.I32}, code), Options{})
	if err != nil || report.Hoisted != maxLoops*maxHoisted || report.Blinded != 6250*maxHoisted {
		t.Errorf("Rewrite: %v, %d constants blinded and %d of them kept; want %d and %d", err, report.Blinded, report.Hoisted, 6250*maxHoisted, maxLoops*maxHoisted)
	}
}
