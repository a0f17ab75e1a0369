package wasm

import (
	"bytes"
	"math"
	"strings"
	"testing"
)

func TestNumbers(t *testing.T) {
	for _, v := range []int64{0, 1, -1, 63, 64, -64, -65, 127, 128, 0xc3, math.MaxInt32, math.MinInt32, math.MaxInt64, math.MinInt64} {
		r := &reader{bytes: AppendSigned(nil, v)}
		if got := r.signed(64); got != v || r.err != nil || r.left() != 0 {
			t.Errorf("signed(AppendSigned(%d)) = %d, %v, %d bytes left", v, got, r.err, r.left())
		}
		u := uint32(v)
		r = &reader{bytes: AppendU32(nil, u)}
		if got := r.u32(); got != u || r.err != nil || r.left() != 0 {
			t.Errorf("u32(AppendU32(%d)) = %d, %v, %d bytes left", u, got, r.err, r.left())
		}
		padded := make([]byte, paddedSize)
		setPadded(padded, u)
		r = &reader{bytes: padded}
		if got := r.u32(); got != u || r.err != nil || r.left() != 0 {
			t.Errorf("u32(setPadded(%d)) = %d, %v, %d bytes left", u, got, r.err, r.left())
		}
	}
}

func TestNumbersThatDoNotFit(t *testing.T) {
	tests := []struct {
		name string
		read func(r *reader)
		in   string
		ok   bool
	}{
		{"u32, largest", func(r *reader) { r.u32() }, "\xff\xff\xff\xff\x0f", true},
		{"u32, bit 32", func(r *reader) { r.u32() }, "\xff\xff\xff\xff\x1f", false},
		{"u32, six bytes", func(r *reader) { r.u32() }, "\x80\x80\x80\x80\x80\x00", false},
		{"u32, cut", func(r *reader) { r.u32() }, "\x80", false},
		{"i32, -1 in five bytes", func(r *reader) { r.signed(32) }, "\xff\xff\xff\xff\x7f", true},
		{"i32, wrong sign", func(r *reader) { r.signed(32) }, "\xff\xff\xff\xff\x0f", false},
		{"i32, 0 in five bytes", func(r *reader) { r.signed(32) }, "\x80\x80\x80\x80\x00", true},
		{"i32, bit 32", func(r *reader) { r.signed(32) }, "\x80\x80\x80\x80\x10", false},
		{"i33, 1<<32-1", func(r *reader) { r.signed(33) }, "\xff\xff\xff\xff\x0f", true},
		{"i64, smallest", func(r *reader) { r.signed(64) }, "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x7f", true},
		{"i64, wrong sign", func(r *reader) { r.signed(64) }, "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", false},
		{"i64, eleven bytes", func(r *reader) { r.signed(64) }, "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00", false},
	}
	for _, tt := range tests {
		r := &reader{bytes: []byte(tt.in)}
		if tt.read(r); (r.err == nil) != tt.ok {
			t.Errorf("%s: error %v, want ok %v", tt.name, r.err, tt.ok)
		}
	}
}

func TestScannerReadsImmediates(t *testing.T) {
	var code []byte
	code = AppendI32(code, 0xc3)
	code = AppendI64(code, 1<<63)
	code = AppendMem(code, OpI32Load, MemArg{2, 0, 0xc30f})
	code = AppendMem(code, OpI32Load, MemArg{2, 7, 1})
	code = append(AppendMem(code, OpV128Load8Lane, MemArg{0, 0, 5}), 3)
	code = AppendV128(code, OpV128Const, [16]byte{0xc3, 15: 1})
	code = append(AppendU32(AppendOp(code, OpBrTable), 2), 0, 1, 0)
	code = append(AppendOp(code, OpTryTable), 0x40, 2, 0, 1, 0, 2, 0)
	code = append(code, byte(OpEnd), byte(OpEnd))
	s := NewScanner(code)
	next := func() Instr {
		t.Helper()
		if !s.Next() {
			t.Fatalf("no instruction at %d: %v", s.Pos(), s.Err())
		}
		return *s.Instr()
	}
	if in := next(); in.Op != OpI32Const || in.Value != 0xc3 || in.Imm != 1 {
		t.Errorf("i32.const: %+v", in)
	}
	if in := next(); in.Op != OpI64Const || in.Value != 1<<63 {
		t.Errorf("i64.const: %+v", in)
	}
	if in := next(); in.Mem != (MemArg{2, 0, 0xc30f}) {
		t.Errorf("i32.load: %+v", in)
	}
	if in := next(); in.Mem != (MemArg{2, 7, 1}) {
		t.Errorf("i32.load of memory 7: %+v", in)
	}
	if in := next(); in.Op != OpV128Load8Lane || in.Mem.Offset != 5 || in.Lane != 3 {
		t.Errorf("v128.load8_lane: %+v", in)
	}
	if in := next(); in.Vector != [16]byte{0xc3, 15: 1} || in.Imm != 2 {
		t.Errorf("v128.const: %+v", in)
	}
	if in := next(); in.Op != OpBrTable || in.Index != 2 {
		t.Errorf("br_table: %+v", in)
	}
	if in := next(); in.Op != OpTryTable || s.Depth() != 2 {
		t.Errorf("try_table: %+v, depth %d", in, s.Depth())
	}
	next()
	next()
	if s.Next() || s.Err() != nil || s.Depth() != 0 || s.Pos() != len(code) {
		t.Errorf("behind the end: error %v, depth %d, at %d of %d", s.Err(), s.Depth(), s.Pos(), len(code))
	}
}

func TestScannerRefusesByName(t *testing.T) {
	tests := []struct{ code, want string }{
		{"\x06\x40", "first exception-handling draft"},
		{"\xfb\x00", "garbage-collection"},
		{"\xfd\x80\x02", "relaxed-SIMD"},
		{"\xfc\x13", "wide-arithmetic"},
		{"\xfe\x50", "shared-everything-threads"},
		{"\xfd\x9a\x01", "opcode 0xfd 0x9a is unknown"},
		{"\xfd\x81\x00", "not in its shortest form"},
		{"\xfe\x80\x00", "not in its shortest form"},
		{"\x27", "opcode 0x27 is unknown"},
		{"\x1f\x40\x01\x04\x00", "catch clause 0x4"},
		{"\x0e\xff\xff\xff\xff\x0f", "4294967295 elements in 0 bytes"},
		{"\x41", "instruction at 0x0: unexpected end"},
		{"\xfe\x03\x01", "reserved byte"},
		{"\x02\xe3\x7f\x70", "type -29 at 0x1 is not in its shortest form"},
		{"\x1f\xff\xff\x7f\x00", "type -1 at 0x1 is not in its shortest form"},
		{"\x03\x63\xf0\x7f", "type -16 at 0x2 is not in its shortest form"},
		{"\xd0\xf0\xff\xff\xff\x7f", "type -16 at 0x1 is not in its shortest form"},
		{"\x1c\x01\x63\x00", "select of a reference to a type of its own is of the typed-function-references proposal"},
		{"\x1c\x01\x64\x70", "select of a reference"},
		{"\x1c\x01\xff\x7f", "not in its shortest form"},
		{"\x1c\x02\x7f\x7f", "select of 0x2 types"},
		{"\x1c\x81\x00\x7f", "select of 0x81 types"},
		{"\x0e\xf1\xff\x03" + strings.Repeat("\x00", 65_522), "br_table of 65521 labels, more than 65520"},
	}
	for _, tt := range tests {
		s := NewScanner([]byte(tt.code))
		if s.Next() || s.Err() == nil || !strings.Contains(s.Err().Error(), tt.want) {
			t.Errorf("Scanner of %x: error %v, want %q in it", tt.code, s.Err(), tt.want)
		}
	}
}

func TestScannerBoundsNesting(t *testing.T) {
	for n, ok := range map[int]bool{MaxDepth - 1: true, MaxDepth: false} { // the function itself is one more
		code := bytes.Repeat([]byte{byte(OpBlock), 0x40}, n)
		s := NewScanner(append(code, bytes.Repeat([]byte{byte(OpEnd)}, n+1)...))
		for s.Next() {
			continue
		}
		if (s.Err() == nil) != ok {
			t.Errorf("%d blocks: %v, want ok %v", n, s.Err(), ok)
		}
	}
}

func TestAccess(t *testing.T) {
	tests := []struct {
		op    Op
		size  uint32
		above string
	}{
		{0x28, 4, ""}, {0x2b, 8, ""}, {0x2d, 1, ""}, {0x35, 4, ""}, {0x38, 4, "\x7d"}, {0x3a, 1, "\x7f"}, {0x3e, 4, "\x7e"},
		{0xfd00, 16, ""}, {0xfd06, 8, ""}, {0xfd07, 1, ""}, {0xfd0a, 8, ""}, {0xfd0b, 16, "\x7b"}, {0xfd54, 1, "\x7b"}, {0xfd57, 8, "\x7b"},
		{0xfd59, 2, "\x7b"}, {0xfd5c, 4, ""}, {0xfd5d, 8, ""},
		{0xfe00, 4, "\x7f"}, {0xfe01, 4, "\x7f\x7e"}, {0xfe02, 8, "\x7e\x7e"}, {0xfe10, 4, ""}, {0xfe16, 4, ""}, {0xfe17, 4, "\x7f"},
		{0xfe1d, 4, "\x7e"}, {0xfe1e, 4, "\x7f"}, {0xfe24, 4, "\x7e"}, {0xfe25, 4, "\x7f"}, {0xfe47, 4, "\x7e"}, {0xfe48, 4, "\x7f\x7f"},
		{0xfe4a, 1, "\x7f\x7f"}, {0xfe4e, 4, "\x7e\x7e"},
	}
	for _, tt := range tests {
		a, ok := tt.op.Access()
		above := ""
		for _, v := range a.Above {
			above += string([]byte{byte(v)})
		}
		if !ok || a.Size != tt.size || above != tt.above {
			t.Errorf("Op(%#x).Access() = %d bytes, above %x, %v, want %d, %x", uint16(tt.op), a.Size, above, ok, tt.size, tt.above)
		}
	}
	for _, op := range []Op{OpCall, OpI32Const, OpMemoryCopy, OpAtomicFence, OpI8x16Shuffle} {
		if _, ok := op.Access(); ok {
			t.Errorf("Op(%#x).Access() is one, want none", uint16(op))
		}
	}
}

// module assembles one from sections.
func module(sections ...string) []byte {
	b := append([]byte(nil), preamble...)
	for _, s := range sections {
		b = append(b, s[0])
		b = AppendU32(b, uint32(len(s)-1))
		b = append(b, s[1:]...)
	}
	return b
}

const (
	oneType = "\x01\x01\x60\x01\x7f\x00" // (func (param i32))
	oneFunc = "\x03\x01\x00"
	oneBody = "\x0a\x01\x04\x01\x02\x7e\x0b" // two locals of 64 bits
)

func TestParse(t *testing.T) {
	m, err := Parse(module(oneType, "\x02\x02\x01a\x01f\x00\x00\x01a\x01g\x03\x7f\x00", oneFunc, "\x06\x01\x7f\x01\x41\x00\x0b", oneBody))
	if err != nil {
		t.Fatal(err)
	}
	if m.ImportedFunctions != 1 || m.ImportedGlobals != 1 || m.Globals != 2 || len(m.Functions) != 1 {
		t.Fatalf("Parse: %+v", m)
	}
	if f := m.Functions[0]; f.Params != 1 || f.Locals != 2 || !bytes.Equal(f.Code, []byte{0x0b}) || len(f.Decl) != 3 {
		t.Errorf("Parse: function %+v", f)
	}
}

func TestParseRefuses(t *testing.T) {
	tests := []struct {
		name string
		in   []byte
		want string
	}{
		{"nothing", nil, "does not begin"},
		{"component", []byte("\x00asm\x0d\x00\x01\x00"), "component"},
		{"cut section", append(module(), 1, 5), "unexpected end"},
		{"overlong type of a parameter", module("\x01\x01\x60\x01\xff\x7f\x00"), "not in its shortest form"},
		{"overlong type of a local", module(oneType, oneFunc, "\x0a\x01\x06\x01\x02\xe3\x7f\x70\x0b"), "not in its shortest form"},
		{"overlong heap type of a global", module("\x06\x01\x63\xf0\x7f\x00\xd0\x70\x0b"), "not in its shortest form"},
		{"cut size", append(module(), 1), "unexpected end"},
		{"no body", module(oneType, oneFunc), "1 functions are declared and 0 have a body"},
		{"no declaration", module(oneType, oneBody), "more bodies"},
		{"type out of range", module(oneType, "\x03\x01\x01", oneBody), "type 1 of 1"},
		{"structure type", module("\x01\x01\x5f\x00\x00"), "garbage-collection"},
		{"memory64 import", module("\x02\x01\x01a\x01m\x02\x04\x00"), "memory64"},
		{"4 thousand million locals", module(oneType, oneFunc, "\x0a\x01\x08\x01\xff\xff\xff\xff\x0f\x7e\x0b"), "more than 50000 locals"},
		{"locals in many runs", module(oneType, oneFunc, "\x0a\x01\x0c\x02\xd0\x86\x03\x7e\xff\xff\xff\xff\x0f\x7e\x0b"), "more than 50000 locals"},
		{"42,000 parameters", module("\x01\x01\x60\x90\xc8\x02" + strings.Repeat("\x7e", 42_000) + "\x00"), "a type of 42000 parameters, more than 1000"},
		{"1001 results, in a group", module("\x01\x01\x4e\x01\x60\x00\xe9\x07" + strings.Repeat("\x7b", 1001)), "a type of 1001 results, more than 1000"},
		{"bytes left", module(oneType + "\x00"), "1 bytes behind"},
		{"unknown section", module("\x0e"), "unknown kind of section"},
		{"vector without elements", module("\x01\xff\xff\xff\xff\x0f"), "elements in 0 bytes"},
	}
	for _, tt := range tests {
		if _, err := Parse(tt.in); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: Parse: error %v, want %q in it", tt.name, err, tt.want)
		}
	}
}

func TestRewriter(t *testing.T) {
	tests := []struct {
		name, global string // the section of globals before and after
		wantGlobal   string
	}{
		{"there is none", "", "\x06\x01\x7e\x01\x42\x2a\x0b"},
		{"there is one", "\x06\x01\x7f\x00\x41\x07\x0b", "\x06\x02\x7f\x00\x41\x07\x0b\x7e\x01\x42\x2a\x0b"},
	}
	for _, tt := range tests {
		in, want := []string{oneType, oneFunc}, []string{oneType, oneFunc, tt.wantGlobal}
		if tt.global != "" {
			in = append(in, tt.global)
		}
		in = append(in, "\x07\x01\x01f\x00\x00", "\x00\x0b.debug_infox", oneBody)
		want = append(want, "\x07\x01\x01f\x00\x00", "\x0a\x01\x89\x80\x80\x80\x00\x02\x02\x7e\x01\x7f\x20\x03\x1a\x0b")
		m, err := Parse(module(in...))
		if err != nil {
			t.Fatal(err)
		}
		w := NewRewriter(m)
		got, err := w.Write(func(int) (Body, error) {
			w.AddGlobal(42)
			return Body{Locals: []ValType{I32}, Code: []byte("\x20\x03\x1a\x0b")}, nil
		})
		if err != nil || !bytes.Equal(got, module(want...)) {
			t.Errorf("%s: Write = %x, %v, want %x", tt.name, got, err, module(want...))
		}
	}
}

func TestRewriterCopies(t *testing.T) {
	in := module(oneType, oneFunc, oneBody, "\x0b\x00")
	m, err := Parse(in)
	if err != nil {
		t.Fatal(err)
	}
	got, err := NewRewriter(m).Write(func(int) (Body, error) { return Body{}, nil })
	if err != nil {
		t.Fatal(err)
	}
	again, err := Parse(got)
	if err != nil {
		t.Fatal(err)
	}
	if f := again.Functions[0]; !bytes.Equal(f.Code, m.Functions[0].Code) || !bytes.Equal(f.Decl, m.Functions[0].Decl) {
		t.Errorf("Write changed an untouched function: %+v", f)
	}
}

// FuzzParse holds that hostile bytes are an error and no panic, that what is read lies in them, and that rewriting without a change
// makes a module that reads the same.
func FuzzParse(f *testing.F) {
	f.Add(module(oneType, oneFunc, "\x06\x01\x7f\x00\x41\x07\x0b", oneBody))
	f.Add(module(oneType, "\x02\x02\x01a\x01f\x00\x00\x01a\x01g\x03\x7f\x00", oneFunc, oneBody, "\x0b\x00"))
	f.Add(module(oneType, oneFunc, "\x0a\x01\x0a\x00\x02\x40\x41\x00\x0e\x01\x00\x00\x0b\x0b"))
	f.Fuzz(func(t *testing.T, in []byte) {
		m, err := Parse(in)
		if err != nil {
			return
		}
		size, w := 0, NewRewriter(m)
		for i := range m.Functions {
			s := NewScanner(m.Functions[i].Code)
			for s.Next() {
				size += len(s.Instr().Bytes)
				if access, ok := s.Instr().Op.Access(); ok && access.Size == 0 {
					t.Errorf("Op(%#x).Access(): no size", uint16(s.Instr().Op))
				}
			}
		}
		if size > len(in) {
			t.Errorf("%d bytes of instructions in %d of module", size, len(in))
		}
		out, err := w.Write(func(int) (Body, error) { return Body{}, nil })
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse(out)
		if err != nil || again.Globals != m.Globals || len(again.Functions) != len(m.Functions) {
			t.Errorf("Parse(Write(Parse(%x))): %v", in, err)
		}
	})
}

// TestEveryOpcodeHasOneShape walks all opcodes: what is known is read with as many bytes as its shape says, and what is not is refused.
func TestEveryOpcodeHasOneShape(t *testing.T) {
	known := map[int]int{}
	for _, prefix := range []int{0, 0xfc, 0xfd, 0xfe} {
		for n := range 256 {
			if prefix == 0 && n >= 0xfb && n != 0xff {
				continue
			}
			op := Op(prefix<<8 | n)
			code := append(AppendOp(nil, op), make([]byte, 40)...)
			if op == OpSelectT {
				code = append(AppendOp(nil, op), 1, byte(I32))
			}
			s := NewScanner(code)
			if s.Next() {
				known[prefix]++
			} else if s.Err() == nil {
				t.Errorf("Op(%#x) is neither read nor refused", uint16(op))
			}
		}
	}
	// 0x00-0x05, 0x08, 0x0a-0x15, 0x1a-0x1c, 0x1f-0x26, 0x28-0xc4, 0xd0-0xd2, 0xd4-0xd6
	if want := 6 + 1 + 12 + 3 + 8 + 157 + 6; known[0] != want {
		t.Errorf("%d opcodes without a prefix, want %d", known[0], want)
	}
	if known[0xfc] != 18 || known[0xfd] != 236 || known[0xfe] != 67 {
		t.Errorf("opcodes behind prefixes: %v, want 18, 236 and 67", known)
	}
}
