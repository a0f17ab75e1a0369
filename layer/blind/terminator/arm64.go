package terminator

import "encoding/binary"

// word is one rule for arm64: the bits that make an instruction a terminator, and which bits count.
type word struct {
	class      Set
	name       string
	bits, mask uint32
}

type wordwise []word

// arm64 is all rules. The forms that authenticate the target are those of FEAT_PAuth and FEAT_PAuth_LR, the compare-and-branch
// ones of FEAT_CMPBR.
var arm64 = wordwise{
	{Ret, "ret", 0xd65f0000, 0xfffffc1f},
	{Ret, "retaa", 0xd65f0bff, 0xffffffff},
	{Ret, "retab", 0xd65f0fff, 0xffffffff},
	{Ret, "retaasppcr", 0xd65f0be0, 0xffffffe0},
	{Ret, "retabsppcr", 0xd65f0fe0, 0xffffffe0},
	{Ret, "retaasppc", 0x5500001f, 0xffe0001f},
	{Ret, "retabsppc", 0x5520001f, 0xffe0001f},
	{Ret, "eret", 0xd69f03e0, 0xffffffff},
	{Ret, "eretaa", 0xd69f0bff, 0xffffffff},
	{Ret, "eretab", 0xd69f0fff, 0xffffffff},
	{Indirect, "br", 0xd61f0000, 0xfffffc1f},
	{Indirect, "braaz", 0xd61f081f, 0xfffffc1f},
	{Indirect, "brabz", 0xd61f0c1f, 0xfffffc1f},
	{Indirect, "braa", 0xd71f0800, 0xfffffc00},
	{Indirect, "brab", 0xd71f0c00, 0xfffffc00},
	{Indirect, "blr", 0xd63f0000, 0xfffffc1f},
	{Indirect, "blraaz", 0xd63f081f, 0xfffffc1f},
	{Indirect, "blrabz", 0xd63f0c1f, 0xfffffc1f},
	{Indirect, "blraa", 0xd73f0800, 0xfffffc00},
	{Indirect, "blrab", 0xd73f0c00, 0xfffffc00},
	{Syscall, "svc", 0xd4000001, 0xffe0001f},
	{Syscall, "hvc", 0xd4000002, 0xffe0001f},
	{Syscall, "smc", 0xd4000003, 0xffe0001f},
	{Direct, "b", 0x14000000, 0xfc000000},
	{Direct, "bl", 0x94000000, 0xfc000000},
	{Direct, "b.cond, bc.cond", 0x54000000, 0xff000000},
	{Direct, "cbz, cbnz", 0x34000000, 0x7e000000},
	{Direct, "tbz, tbnz", 0x36000000, 0x7e000000},
	{Direct, "cb", 0x74000000, 0x7e000000},
}

// next finds the first terminator of s in code at or behind off.
func (rules wordwise) next(s Set, code []byte, off int) (Hit, bool) {
	for i := (off + 3) &^ 3; i+4 <= len(code); i += 4 {
		if c := rules.class(binary.LittleEndian.Uint32(code[i:])) & s; c != 0 {
			return Hit{i, 4, c}, true
		}
	}
	return Hit{}, false
}

// class is the class of an instruction, 0 if it is no terminator.
func (rules wordwise) class(w uint32) Set {
	if w>>26&7 != 5 { // the group that has all of them; most words are of others
		return 0
	}
	for _, r := range rules {
		if w&r.mask == r.bits {
			return r.class
		}
	}
	return 0
}
