package terminator

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"golang.org/x/arch/arm64/arm64asm"
)

// instructions are words as an assembler writes them, with their classes.
var instructions = []struct {
	word  uint32
	text  string
	class Set
}{
	{0xd65f03c0, "ret", Ret}, {0xd65f0020, "ret x1", Ret}, {0xd65f0bff, "retaa", Ret}, {0xd65f0fff, "retab", Ret},
	{0xd69f03e0, "eret", Ret}, {0xd69f0bff, "eretaa", Ret}, {0xd69f0fff, "eretab", Ret},
	{0x5500005f, "retaasppc .-8", Ret}, {0x5520001f, "retabsppc .", Ret}, {0xd65f0be1, "retaasppcr x1", Ret}, {0xd65f0fe1, "retabsppcr x1", Ret},
	{0xd61f0200, "br x16", Indirect}, {0xd61f0a1f, "braaz x16", Indirect}, {0xd61f0e1f, "brabz x16", Indirect},
	{0xd71f0a11, "braa x16, x17", Indirect}, {0xd71f0e11, "brab x16, x17", Indirect},
	{0xd63f0200, "blr x16", Indirect}, {0xd63f0a1f, "blraaz x16", Indirect}, {0xd63f0e1f, "blrabz x16", Indirect},
	{0xd73f0a11, "blraa x16, x17", Indirect}, {0xd73f0e11, "blrab x16, x17", Indirect},
	{0xd4000001, "svc #0", Syscall}, {0xd4001001, "svc #0x80", Syscall}, {0xd4000002, "hvc #0", Syscall}, {0xd4000003, "smc #0", Syscall},
	{0x14000001, "b .+4", Direct}, {0x97ffffff, "bl .-4", Direct}, {0x54000020, "b.eq .+4", Direct}, {0x54000030, "bc.eq .+4", Direct},
	{0xb4000020, "cbz x0, .+4", Direct}, {0x35000020, "cbnz w0, .+4", Direct}, {0x36000020, "tbz w0, #0, .+4", Direct},
	{0xb7f80020, "tbnz x0, #63, .+4", Direct}, {0x74010020, "cbgt w0, w1, .+4", Direct},
	{0xd4200000, "brk #0", 0}, {0xd4400000, "hlt #0", 0}, {0xd503201f, "nop", 0}, {0xd503233f, "paciasp", 0}, {0xd53b4200, "mrs x0, nzcv", 0},
	{0xd2800000, "mov x0, #0", 0}, {0xf9400000, "ldr x0, [x0]", 0}, {0x5c000040, "ldr d0, .+8", 0}, {0x1e604000, "fmov d0, d0", 0}, {0, "udf #0", 0},
}

func TestWordsOfARM64(t *testing.T) {
	used := map[string]bool{}
	for _, tt := range instructions {
		code := binary.LittleEndian.AppendUint32(nil, tt.word)
		want := "[]"
		if tt.class != 0 {
			want = fmt.Sprintf("[{0 4 %v}]", tt.class)
		}
		if got := fmt.Sprint(slices.Collect(All.Find(ARM64, code))); got != want {
			t.Errorf("%s (%#x): %s, want %s", tt.text, tt.word, got, want)
		}
		for _, r := range arm64 {
			if tt.word&r.mask == r.bits {
				used[r.name] = true
			}
		}
	}
	for _, r := range arm64 {
		if !used[r.name] {
			t.Errorf("no instruction of the table is a %s", r.name)
		}
	}
}

func TestWordsAreAligned(t *testing.T) {
	ret := []byte{0xc0, 0x03, 0x5f, 0xd6}
	for shift := range 8 {
		code := append(make([]byte, shift), ret...)
		if got, want := Ret.Clean(ARM64, code), shift%4 != 0; got != want || Ret.Strict(ARM64, code) != want {
			t.Errorf("ret at %d: clean %v, want %v", shift, got, want)
		}
	}
	if h, ok := Ret.Next(ARM64, append(ret, ret...), 1); !ok || h.Off != 4 {
		t.Errorf("behind offset 1: %v, %v, want the one at 4", h, ok)
	}
}

// TestWordsAreThoseOfArm64asm compares classes with what another decoder makes of random words, half of them near a rule. It knows
// neither pointer authentication nor what is newer.
func TestWordsAreThoseOfArm64asm(t *testing.T) {
	classes := map[arm64asm.Op]Set{
		arm64asm.RET: Ret, arm64asm.ERET: Ret, arm64asm.BR: Indirect, arm64asm.BLR: Indirect,
		arm64asm.SVC: Syscall, arm64asm.HVC: Syscall, arm64asm.SMC: Syscall,
		arm64asm.B: Direct, arm64asm.BL: Direct, arm64asm.CBZ: Direct, arm64asm.CBNZ: Direct, arm64asm.TBZ: Direct, arm64asm.TBNZ: Direct,
	}
	random, compared := rand.New(rand.NewPCG(1, 2)), map[Set]int{}
	for range 50000 {
		w := random.Uint32()
		if w&1 == 0 {
			r := arm64[random.IntN(len(arm64))]
			w = r.bits | random.Uint32()&^r.mask | 1<<random.IntN(32)
		}
		code := binary.LittleEndian.AppendUint32(nil, w)
		inst, err := arm64asm.Decode(code)
		if err != nil {
			continue
		}
		h, _ := All.Next(ARM64, code, 0)
		if want := classes[inst.Op]; h.Class != want {
			t.Fatalf("%#08x: class %v, want %v: %v", w, h.Class, want, inst)
		}
		compared[h.Class]++
	}
	if len(compared) != 5 {
		t.Errorf("compared %v, want some of each class and some of none", compared)
	}
}
