package terminator

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// sizes are the bytes of constants: those of immediates, displacements, and entries of a pool.
var sizes = []int{1, 2, 4, 8, 16}

// harmless are bytes that are in no terminator of any class.
const harmless = 0x00

// planted is one terminator somewhere in a constant.
type planted struct {
	rule opcode
	at   int
	code []byte
}

// plant puts every terminator that the rules know at every place of constants of all sizes.
func plant(rules []opcode) (all []planted) {
	for _, r := range rules {
		for _, terminator := range spell(r) {
			for _, size := range sizes {
				for at := 0; at+len(terminator) <= size; at++ {
					code := bytes.Repeat([]byte{harmless}, size)
					copy(code[at:], terminator)
					all = append(all, planted{r, at, code})
				}
			}
		}
	}
	return all
}

// spell gives all byte strings that a rule is for.
func spell(r opcode) (all [][]byte) {
	for first := range 256 {
		if byte(first)&r.masks[0] != r.bytes[0] {
			continue
		}
		if r.masks[1] == 0 {
			all = append(all, []byte{byte(first)})
			continue
		}
		for second := range 256 {
			if byte(second)&r.masks[1] == r.bytes[1] {
				all = append(all, []byte{byte(first), byte(second)})
			}
		}
	}
	return all
}

// missed counts the planted terminators that a table does not find, by their rules' names.
func missed(t *bytewise, all []planted) map[string]int {
	missing := map[string]int{}
	for _, p := range all {
		if h, ok := t.next(All, p.code, 0); !ok || h.Off != p.at || h.Class != p.rule.class {
			missing[p.rule.name]++
		}
	}
	return missing
}

func TestEveryPlantedTerminatorIsFound(t *testing.T) {
	all := plant(opcodes)
	if missing := missed(amd64, all); len(missing) != 0 {
		t.Errorf("of %d planted terminators these were not found: %v", len(all), missing)
	}
	for _, p := range all {
		if p.rule.class.Clean(AMD64, p.code) || p.rule.class.Strict(AMD64, p.code) {
			t.Errorf("% x is clean of %s", p.code, p.rule.name)
		}
		for h := range (All &^ p.rule.class).Find(AMD64, p.code) {
			if h.Off == p.at { // behind it, its second byte may be another one
				t.Errorf("% x is a %v, want only %s", p.code, h.Class, p.rule.name)
			}
		}
	}
}

// TestAHoleInTheRulesIsFound takes each rule out in turn: what was planted for it must then be missed, and nothing else.
func TestAHoleInTheRulesIsFound(t *testing.T) {
	all := plant(opcodes)
	for i, hole := range opcodes {
		missing := missed(compile(slices.Delete(slices.Clone(opcodes), i, i+1)), all)
		if len(missing) != 1 || missing[hole.name] == 0 {
			t.Errorf("without %s these were not found: %v, want those of %s", hole.name, missing, hole.name)
		}
	}
}

// TestRulesAreThoseOfTheManuals writes the definitions down a second time, as they are in the manuals' opcode maps.
func TestRulesAreThoseOfTheManuals(t *testing.T) {
	want := func(first, second byte) Set {
		reg := second >> 3 & 7
		switch {
		case first == 0xc2, first == 0xc3, first == 0xca, first == 0xcb, first == 0xcf:
			return Ret
		case first == 0xff && reg >= 2 && reg <= 5:
			return Indirect
		case first == 0x0f && (second == 0x05 || second == 0x07 || second == 0x34 || second == 0x35), first == 0xcd && second == 0x80:
			return Syscall
		case first >= 0x70 && first <= 0x7f, first >= 0xe0 && first <= 0xe3, first == 0xe8, first == 0xe9, first == 0xeb:
			return Direct
		case first == 0x0f && second >= 0x80 && second <= 0x8f:
			return Direct
		}
		return 0
	}
	for first := range 256 {
		for second := range 256 {
			code := []byte{byte(first), byte(second)}
			var got Set
			if h, ok := All.Next(AMD64, code, 0); ok && h.Off == 0 {
				got = h.Class
			}
			if got != want(code[0], code[1]) {
				t.Errorf("% x: class %v, want %v", code, got, want(code[0], code[1]))
			}
		}
	}
}

func TestFindGivesAllOffsets(t *testing.T) {
	code := []byte{0x48, 0xc7, 0xc1, 0xc3, 0xff, 0xd0, 0x0f, 0x05, 0xc3, 0xcd, 0x80, 0x41, 0xff}
	for _, tt := range []struct {
		set  Set
		want string
	}{
		{All, "[{3 1 ret} {4 2 indirect} {6 2 syscall} {8 1 ret} {9 2 syscall}]"},
		{Ret, "[{3 1 ret} {8 1 ret}]"},
		{Syscall, "[{6 2 syscall} {9 2 syscall}]"},
		{0, "[]"},
	} {
		if got := fmt.Sprint(slices.Collect(tt.set.Find(AMD64, code))); got != tt.want {
			t.Errorf("%v.Find(% x) = %s, want %s", tt.set, code, got, tt.want)
		}
	}
	for range All.Find(AMD64, code) {
		break // and no panic
	}
}

// TestStrictHoldsInAnyNeighbourhood tries all neighbours of values: what is strict is in no terminator, and what is not is
// in one, with some neighbour.
func TestStrictHoldsInAnyNeighbourhood(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	strict := 0
	const values = 500
	for range values {
		value := binary.LittleEndian.AppendUint32(nil, random.Uint32())
		touched := false
		for before := range 256 {
			touched = touched || touches(Light, slices.Concat([]byte{byte(before)}, value, []byte{harmless}))
			touched = touched || touches(Light, slices.Concat([]byte{harmless}, value, []byte{byte(before)}))
		}
		if got := Light.Strict(AMD64, value); got == touched {
			t.Errorf("Strict(% x) = %v, yet with neighbours it touches a terminator: %v", value, got, touched)
		}
		if Light.Strict(AMD64, value) {
			strict++
		}
	}
	if strict < values*40/100 || strict > values*48/100 {
		t.Errorf("%d of %d random values are strict, want about 44 %%", strict, values)
	}
}

// touches says that a terminator has a byte in code other than the first and the last one.
func touches(s Set, code []byte) bool {
	for h := range s.Find(AMD64, code) {
		if h.Off+h.Len > 1 && h.Off < len(code)-1 {
			return true
		}
	}
	return false
}

func TestStrictIsNotAskedOfKeyAndValueAtOnce(t *testing.T) {
	for k := range 256 {
		if Light.Strict(AMD64, []byte{byte(k)}) && Light.Strict(AMD64, []byte{byte(k) ^ 0x10}) {
			t.Errorf("key %#x and value %#x are both strict; the comment says that there are none", k, k^0x10)
		}
	}
}

func TestNamesOfSets(t *testing.T) {
	for s := Set(1); s <= All; s++ {
		if got, err := ParseSet(s.String()); err != nil || got != s {
			t.Errorf("ParseSet(%q) = %v, %v, want %v", s.String(), got, err, s)
		}
	}
	if got, err := ParseSet("light,direct"); err != nil || got != All {
		t.Errorf("ParseSet(light,direct) = %v, %v, want all", got, err)
	}
	for _, bad := range []string{"", "ret,", "jump", "Ret"} {
		if got, err := ParseSet(bad); err == nil {
			t.Errorf("ParseSet(%q) = %v, want an error", bad, got)
		}
	}
	for _, a := range []Arch{AMD64, ARM64} {
		if got, err := ParseArch(a.String()); err != nil || got != a {
			t.Errorf("ParseArch(%q) = %v, %v, want %v", a.String(), got, err, a)
		}
	}
	if _, err := ParseArch("riscv64"); err == nil {
		t.Error("ParseArch(riscv64) succeeded")
	}
}

func FuzzFind(f *testing.F) {
	f.Add([]byte{0x48, 0xff, 0xd0, 0xc3}, uint8(All))
	f.Add([]byte{0xc0, 0x03, 0x5f, 0xd6, 0xff}, uint8(Ret))
	f.Fuzz(func(t *testing.T, code []byte, set uint8) {
		s := Set(set) & All
		for _, a := range []Arch{AMD64, ARM64} {
			last := -1
			for h := range s.Find(a, code) {
				if h.Off <= last || h.Off+h.Len > len(code) || h.Class&s == 0 {
					t.Fatalf("%v %v.Find(% x) gives %v behind %d", a, s, code, h, last)
				}
				if s.Clean(a, code[h.Off:h.Off+h.Len]) {
					t.Fatalf("%v: % x is clean of %v", a, code[h.Off:h.Off+h.Len], s)
				}
				last = h.Off
			}
			if s.Clean(a, code) != (last < 0) {
				t.Fatalf("%v %v.Clean(% x) = %v, yet the last one is at %d", a, s, code, s.Clean(a, code), last)
			}
		}
	})
}

func BenchmarkFind(b *testing.B) {
	code := make([]byte, 1<<20)
	random := rand.New(rand.NewPCG(1, 2))
	for i := range code {
		code[i] = byte(random.Uint32())
	}
	b.SetBytes(int64(len(code)))
	for b.Loop() {
		for range Light.Find(AMD64, code) {
		}
	}
}
