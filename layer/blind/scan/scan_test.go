package scan

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"usui/layer/blind/terminator"
)

// light are the byte strings of every terminator of the set Light, those of ff with one ModRM byte for each of its four operations
// and each form of operand.
var light = func() (all [][]byte) {
	for _, b := range []byte{0xc3, 0xc2, 0xcb, 0xca, 0xcf} {
		all = append(all, []byte{b})
	}
	for _, mod := range []byte{0x00, 0x40, 0x80, 0xc0} {
		for reg := byte(2); reg <= 5; reg++ {
			all = append(all, []byte{0xff, mod | reg<<3 | 1})
		}
	}
	for _, b := range []byte{0x05, 0x07, 0x34, 0x35} {
		all = append(all, []byte{0x0f, b})
	}
	return append(all, []byte{0xcd, 0x80})
}()

// host is an instruction with room for a constant: what stands before it, its size, and what it is for.
type host struct {
	name   string
	before []byte
	size   int
	after  []byte
	field  Field
}

// hosts are one of each class of constants. The bytes around the constant hold and complete no terminator.
var hosts = []host{
	{"imm8", []byte{0x48, 0x83, 0xc0}, 1, nil, Imm},
	{"imm16", []byte{0x66, 0xb8}, 2, nil, Imm},
	{"imm32", []byte{0xb8}, 4, nil, Imm},
	{"imm32 of a bounds check", []byte{0x48, 0x81, 0xc6}, 4, nil, Imm},
	{"imm64", []byte{0x48, 0xb8}, 8, nil, Imm},
	{"shift count", []byte{0x48, 0xc1, 0xe6}, 1, nil, Imm},
	{"imm32 behind a displacement", []byte{0xc7, 0x80, 0, 0, 0, 0}, 4, nil, Imm},
	{"disp8", []byte{0x88, 0x45}, 1, nil, Disp},
	{"disp32", []byte{0x48, 0x8b, 0x84, 0x08}, 4, nil, Disp},
	{"disp32 before an immediate", []byte{0xc7, 0x80}, 4, []byte{0, 0, 0, 0}, Disp},
	{"disp32 in the frame", []byte{0x48, 0x89, 0x84, 0x24}, 4, nil, Frame},
	{"disp32 of vectors", []byte{0xc5, 0xf8, 0x58, 0x80}, 4, nil, Disp},
	{"target of a call", []byte{0xe8}, 4, nil, Relative},
	{"target of a branch", []byte{0x0f, 0x84}, 4, nil, Relative},
	{"address of data", []byte{0x48, 0x8b, 0x05}, 4, nil, Relative},
	{"pool", []byte{0xf3, 0x0f, 0x6f, 0x05, 1, 0, 0, 0, 0xf4}, 16, nil, Data}, // movdqu of what follows hlt
}

// nop stands between what is planted: it neither begins nor completes a terminator of Light.
const nop = 0x90

// plant puts each terminator at each byte of each host.
func plant(check func(h host, t []byte, code []byte, at int)) {
	for _, h := range hosts {
		for _, t := range light {
			for at := 0; at+len(t) <= h.size; at++ {
				constant := make([]byte, h.size)
				copy(constant[at:], t)
				code := slices.Concat([]byte{nop}, h.before, constant, h.after, []byte{nop, nop})
				check(h, t, code, 1+len(h.before)+at)
			}
		}
	}
}

// scanned scans one function that is all of the code.
func scanned(t testing.TB, arch terminator.Arch, code []byte, o Options) Report {
	t.Helper()
	r, err := Code(arch, code, []Function{{"f", 0, len(code)}}, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestEveryPlantedTerminatorIsFoundInItsField(t *testing.T) {
	planted := 0
	plant(func(h host, bytes, code []byte, at int) {
		planted++
		r := scanned(t, terminator.AMD64, code, Options{All: true})
		if len(r.Offenders) != 1 || r.Intended != (Tally{}) {
			t.Errorf("%s, % x: %d offenders, want one", h.name, code, len(r.Offenders))
			return
		}
		o := r.Offenders[0]
		if o.Off != at || o.Where != (Where{h.field, h.field}) || o.Function != 0 || o.Name != "f" || len(o.Parts) != 1 {
			t.Errorf("%s, % x: %+v, want one at %d in %v", h.name, code, o, at, h.field)
			return
		}
		from := 1 + len(h.before)
		if p := o.Parts[0]; p.Off != from || string(p.Value) != string(code[from:from+h.size]) {
			t.Errorf("%s, % x: the field is % x at %d, want % x at %d", h.name, code, []byte(p.Value), p.Off, code[from:from+h.size], from)
		}
		if want := h.field.Chosen(); (r.Chosen() != Tally{}) != want {
			t.Errorf("%s, % x: chosen %v, want %v", h.name, code, r.Chosen(), want)
		}
	})
	if planted < 1000 {
		t.Errorf("planted %d terminators, want more", planted)
	}
}

// TestAHoleInTheScanIsFound takes one terminator after the other away from what the scan looks for: the check above must then miss
// what was planted of it, and only that.
func TestAHoleInTheScanIsFound(t *testing.T) {
	for _, hole := range light {
		missed := map[string]bool{}
		plant(func(_ host, planted, code []byte, _ int) {
			r, err := newReport(terminator.AMD64, Options{})
			if err != nil {
				t.Fatal(err)
			}
			find := func(s terminator.Set, code []byte, off int) (terminator.Hit, bool) {
				h, ok := s.Next(terminator.AMD64, code, off)
				for ok && bytes.Equal(code[h.Off:h.Off+h.Len], hole) {
					h, ok = s.Next(terminator.AMD64, code, h.Off+1)
				}
				return h, ok
			}
			tally := tallier{Report: &r, segment: segment{code: code}, all: true}
			tally.run(terminator.AMD64, find, terminator.Light)
			if len(r.Offenders) == 0 {
				missed[string(planted)] = true
			}
		})
		if len(missed) != 1 || !missed[string(hole)] {
			t.Errorf("without % x the scan misses %d terminators, want that one", hole, len(missed))
		}
	}
}

func TestTerminatorsThatCross(t *testing.T) {
	for _, tt := range []struct {
		name string
		code []byte
		want string
	}{
		{"immediate, then push", []byte{0xb8, 0, 0, 0, 0xff, 0x50}, "ret 0/0 indirect imm+operation [imm 000000ff operation 50]"},
		{"immediate, then REX and a jump", []byte{0xb8, 0, 0, 0, 0x0f, 0x05, 0, 0, 0, 0}, "ret 0/0 syscall imm+operation [imm 0000000f operation 05]"},
		{"ModRM and immediate", []byte{0x81, 0xff, 0x10, 0, 0, 0}, "ret 0/0 indirect operation+imm [operation ff imm 10000000]"},
		{"displacement and immediate", []byte{0xc7, 0x80, 0, 0, 0, 0xff, 0x10, 0, 0, 0}, "ret 0/0 indirect disp+imm [disp 000000ff imm 10000000]"},
		{"target, then push", []byte{0xe8, 0xfb, 0xff, 0xff, 0xff, 0x53}, "ret 0/0"}, // not chosen
		{"register", []byte{0x48, 0x89, 0xc3}, "ret 0/1"},
		{"opcode of VEX", []byte{0xc5, 0xf1, 0xc2, 0xc1, 0x00}, "ret 0/1"},
		{"second opcode byte", []byte{0x0f, 0xc3, 0x01}, "ret 0/1"},
		{"return", []byte{0xc3}, "ret 1/0"},
		{"bounded return", []byte{0xf2, 0xc3}, "ret 1/0"},
		{"call of r12", []byte{0x41, 0xff, 0xd4}, "ret 0/0"},
		{"unknown", []byte{0x06, 0xc4, 0xff, 0x10}, "ret 0/0"},
	} {
		r := scanned(t, terminator.AMD64, append(slices.Clone(tt.code), nop), Options{})
		got := fmt.Sprintf("ret %d/%d", r.Intended.Of(terminator.Ret), r.sum(func(Where) bool { return true }).Of(terminator.Ret))
		for _, o := range r.Offenders {
			var parts []string
			for _, p := range o.Parts {
				parts = append(parts, fmt.Sprintf("%v %x", p.Field, []byte(p.Value)))
			}
			got += fmt.Sprintf(" %v %v %v", o.Class, o.Where, parts)
		}
		if got != tt.want {
			t.Errorf("%s, % x: %s, want %s", tt.name, tt.code, got, tt.want)
		}
	}
}

func join(pieces ...[]byte) []byte { return slices.Concat(pieces...) }

func TestTablesAreTold(t *testing.T) {
	lea, jump := []byte{0x4c, 0x8d, 0x1d, 7, 0, 0, 0}, []byte{0x4d, 0x03, 0x1c, 0xdb, 0x41, 0xff, 0xe3} // as wazero writes br_table
	entry := func(n uint64) []byte { return binary.LittleEndian.AppendUint64(nil, n) }
	back := entry(uint64(1<<64 - 0x3d)) // leads to the beginning of the function, if it is the one before the last below
	for _, tt := range []struct {
		name string
		code []byte
		want string // fields of all ret-like bytes
	}{
		{"jump table", join(lea, jump, entry(0x10), entry(0xc3), []byte{nop, 0xc3}, make([]byte, 200)), "relative"},
		{"entry that leads out of the function ends it", join(lea, jump, entry(0x10), []byte{0xb8, 0xc3, 0, 0, 0, 0xc3, nop, nop}, make([]byte, 30)), "imm"},
		{"entry that leads back", join(bytes.Repeat([]byte{nop}, 0x2f), lea, jump, back, []byte{0xb8, 0xc3, 0, 0, 0}), "relative imm"},
		{"table of the engine behind the code", join(lea, []byte{nop, nop, nop, nop, nop, nop, 0xf4}, []byte{0xb8, 0xc3, 0, 0, 0}), "data"},
		{"address of code that is reached", join(lea, bytes.Repeat([]byte{nop}, 7), []byte{0xb8, 0xc3, 0, 0, 0}), "imm"},
		{"pool that ends where another begins", join([]byte{0xf3, 0x0f, 0x6f, 0x05, 9, 0, 0, 0, 0xf3, 0x0f, 0x6f, 0x0d, 5, 0, 0, 0, 0xf4}, make([]byte, 3), []byte{0xc3}, make([]byte, 13)), "data"},
		{"pointer that a jump loads", join([]byte{0xff, 0x25, 0, 0, 0, 0}, entry(0xc300), []byte{0xb8, 0xc3, 0, 0, 0}), "data imm"},
		{"instruction that reaches into data", join([]byte{0x8b, 0x05, 2, 0, 0, 0, 0x48, 0xb8}, []byte{0, 0xc3, 0, 0, 0, 0, 0, 0}), "data"},
		{"padding", join([]byte{0xf4}, make([]byte, 15)), ""},
	} {
		r := scanned(t, terminator.AMD64, tt.code, Options{Classes: terminator.Ret, All: true})
		var got []string
		for _, o := range r.Offenders {
			got = append(got, o.Where.String())
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%s: %v, want %s", tt.name, got, tt.want)
		}
	}
	// Where no function is known, what an address is taken of may be anything.
	code := join(lea, []byte{nop, nop, nop, nop, nop, nop, 0xf4}, []byte{0xb8, 0xc3, 0, 0, 0})
	if r, err := Code(terminator.AMD64, code, nil, Options{}); err != nil || r.In(Imm).Of(terminator.Ret) != 1 {
		t.Errorf("in raw code: %v, %v, want an immediate", r.Unintended, err)
	}
}

func TestFunctionsBeginInStep(t *testing.T) {
	first := []byte{0x48, 0xb8}                          // an instruction that is cut off by the next function
	second := []byte{0xb8, 0xc3, 0, 0, 0, 0xc3}          //
	gap, third := []byte{0xcc, 0xcc}, []byte{0x3c, 0xc3} // behind a gap
	code := join(first, second, gap, third)
	functions := []Function{{"a", 0, 2}, {"b", 2, 6}, {"c", 10, 2}}
	r, err := Code(terminator.AMD64, code, functions, Options{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, o := range r.Offenders {
		got = append(got, fmt.Sprintf("%s %d %v", o.Name, o.Off, o.Where))
	}
	if want := "b 3 imm, c 11 imm"; strings.Join(got, ", ") != want || r.Size.Unknown != 1+1 || r.Intended.Of(terminator.Ret) != 1 {
		t.Errorf("%v, %+v, %v; want %s, 2 unknown bytes and one return", got, r.Size, r.Intended, want)
	}
	for _, bad := range [][]Function{{{"", 0, 13}}, {{"", 0, 5}, {"", 4, 1}}, {{"", 5, 1}, {"", 0, 1}}, {{"", -1, 1}}, {{"", 0, -1}}, {{"", 1 << 62, 1 << 62}}} {
		if _, err := Code(terminator.AMD64, code, bad, Options{}); err == nil {
			t.Errorf("functions %v of %d bytes are taken", bad, len(code))
		}
	}
}

func TestWordsOfARM64(t *testing.T) {
	words := func(ws ...uint32) (code []byte) {
		for _, w := range ws {
			code = binary.LittleEndian.AppendUint32(code, w)
		}
		return code
	}
	const ret, b, float32, float64, vector128 = 0xd65f03c0, 0x14000000, 0x1c000040, 0x5c000040, 0x9c000040 // loads of what is 8 bytes ahead
	for _, tt := range []struct {
		name string
		code []byte
		want string
	}{
		{"f32.const", words(float32, b+2, ret, ret), "1 [0 data c0035fd6]"},
		{"f64.const", words(float64, b+3, 0, ret, ret), "1 [0 data 00000000c0035fd6]"},
		{"v128.const", words(vector128, b+5, 0, 0, ret, 0, ret), "1 [0 data 0000000000000000c0035fd600000000]"},
		{"two floats", words(0x1c000060, 0x1c000060, b+3, ret, ret, ret), "1 [0 data c0035fd6 0 data c0035fd6]"},
		{"pool before the code", words(ret, ret, 0x1cffffc0, ret), "2 [0 data c0035fd6]"},
		{"no load", words(0xd2800000, ret), "1 []"},
		{"prefetch", words(0xd8000020, ret), "1 []"},
	} {
		r := scanned(t, terminator.ARM64, tt.code, Options{})
		var parts []string
		for _, o := range r.Offenders {
			parts = append(parts, fmt.Sprintf("%d %v %x", o.Function, o.Where, []byte(o.Parts[0].Value)))
		}
		if got := fmt.Sprintf("%d %v", r.Intended.Of(terminator.Ret), parts); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

// total is all terminators of a report.
func total(r *Report) (n int) {
	for _, t := range []Tally{r.Intended, r.sum(func(Where) bool { return true })} {
		n += t.Of(terminator.All)
	}
	return n
}

// FuzzCode wants every terminator to be counted once, whatever the code and its functions are.
func FuzzCode(f *testing.F) {
	f.Add([]byte{0x4c, 0x8d, 0x1d, 7, 0, 0, 0, 0x4d, 0x03, 0x1c, 0xc3, 0x41, 0xff, 0xe3, 0x10, 0, 0, 0, 0, 0, 0, 0, 0xc3}, uint16(0), uint16(20), false)
	f.Add([]byte{0xf3, 0x0f, 0x6f, 0x05, 1, 0, 0, 0, 0xf4, 0xc3, 0xff, 0x10}, uint16(1), uint16(9), false)
	f.Add([]byte{0x40, 0, 0, 0x1c, 2, 0, 0, 0x14, 0xc0, 0x03, 0x5f, 0xd6}, uint16(0), uint16(12), true)
	f.Fuzz(func(t *testing.T, code []byte, start, size uint16, arm bool) {
		arch := terminator.AMD64
		if arm {
			arch = terminator.ARM64
		}
		from := min(int(start), len(code))
		functions := []Function{{"f", from, min(int(size), len(code)-from)}}
		for _, definitions := range []Definitions{Own, ROPgadget} {
			o := Options{Classes: terminator.All, Definitions: definitions, All: true}
			r, err := Code(arch, code, functions, o)
			if err != nil {
				if arm && definitions == ROPgadget {
					continue
				}
				t.Fatal(err)
			}
			want := 0
			for range terminator.All.Find(arch, code) {
				want++
			}
			if got := total(&r); got != want && definitions == Own {
				t.Fatalf("%v % x: counted %d terminators, want %d", arch, code, got, want)
			}
			for _, o := range r.Offenders {
				for _, p := range o.Parts {
					if p.Off < 0 || len(p.Value) == 0 || p.Off+len(p.Value) > len(code) || !bytes.Equal(p.Value, code[p.Off:p.Off+len(p.Value)]) {
						t.Fatalf("%v % x: %+v", arch, code, o)
					}
				}
			}
		}
	})
}

func TestScanAllocatesNothingForAnInstruction(t *testing.T) {
	code := bytes.Repeat([]byte{0x48, 0x8b, 0x84, 0x08, 0, 0, 0, 0, 0x48, 0x89, 0xc3, 0xc3}, 10000)
	functions := []Function{{"f", 0, len(code)}}
	if n := testing.AllocsPerRun(5, func() {
		if _, err := Code(terminator.AMD64, code, functions, Options{}); err != nil {
			t.Error(err)
		}
	}); n > 10 {
		t.Errorf("%v allocations", n)
	}
}

// TestListIsBounded: what is beyond the bound is counted, and what is the engine's own does not count against it.
func TestListIsBounded(t *testing.T) {
	const more = 5
	code := bytes.Repeat([]byte{0xb8, 0xc3, 0, 0, 0}, maxOffenders+more) // mov eax, 0xc3
	r, err := Code(terminator.AMD64, code, nil, Options{})
	if err != nil || len(r.Offenders) != maxOffenders || r.Unlisted != more || r.Own != 0 {
		t.Errorf("Code: %d listed, %d not, %d own, %v", len(r.Offenders), r.Unlisted, r.Own, err)
	}
	first := func(o Offender) bool { return o.Off < 5*more }
	r, err = Code(terminator.AMD64, code, nil, Options{Own: first})
	if err != nil || len(r.Offenders) != maxOffenders || r.Unlisted != 0 || r.Own != more {
		t.Errorf("Code with %d of the engine's own: %d listed, %d not, %d own, %v", more, len(r.Offenders), r.Unlisted, r.Own, err)
	}
}
