package terminator

// opcode is one rule for amd64: the bytes that make an instruction a terminator, each with the bits of it that count.
type opcode struct {
	class Set
	name  string
	bytes [2]byte
	masks [2]byte // the second one is 0 if there is one byte only
}

// opcodes are all rules. Those of two bytes begin with bytes that no rule of one byte has.
var opcodes = []opcode{
	{Ret, "ret", [2]byte{0xc3}, [2]byte{0xff}},
	{Ret, "ret imm16", [2]byte{0xc2}, [2]byte{0xff}},
	{Ret, "retf", [2]byte{0xcb}, [2]byte{0xff}},
	{Ret, "retf imm16", [2]byte{0xca}, [2]byte{0xff}},
	{Ret, "iret", [2]byte{0xcf}, [2]byte{0xff}},
	{Indirect, "call r/m", [2]byte{0xff, 2 << 3}, [2]byte{0xff, 7 << 3}},
	{Indirect, "call far m", [2]byte{0xff, 3 << 3}, [2]byte{0xff, 7 << 3}},
	{Indirect, "jmp r/m", [2]byte{0xff, 4 << 3}, [2]byte{0xff, 7 << 3}},
	{Indirect, "jmp far m", [2]byte{0xff, 5 << 3}, [2]byte{0xff, 7 << 3}},
	{Syscall, "syscall", [2]byte{0x0f, 0x05}, [2]byte{0xff, 0xff}},
	{Syscall, "sysret", [2]byte{0x0f, 0x07}, [2]byte{0xff, 0xff}},
	{Syscall, "sysenter", [2]byte{0x0f, 0x34}, [2]byte{0xff, 0xff}},
	{Syscall, "sysexit", [2]byte{0x0f, 0x35}, [2]byte{0xff, 0xff}},
	{Syscall, "int 80h", [2]byte{0xcd, 0x80}, [2]byte{0xff, 0xff}},
	{Direct, "call rel32", [2]byte{0xe8}, [2]byte{0xff}},
	{Direct, "jmp rel32", [2]byte{0xe9}, [2]byte{0xff}},
	{Direct, "jmp rel8", [2]byte{0xeb}, [2]byte{0xff}},
	{Direct, "jcc rel8", [2]byte{0x70}, [2]byte{0xf0}},
	{Direct, "jcc rel32", [2]byte{0x0f, 0x80}, [2]byte{0xff, 0xf0}},
	{Direct, "loop, jrcxz", [2]byte{0xe0}, [2]byte{0xfc}},
}

// bytewise is the rules compiled into tables.
type bytewise struct {
	single    [256]Set       // classes of the terminators that are this byte
	pair      [256]*[256]Set // classes of those that are this byte and another one; nil: there are none
	begins    [256]Set       // classes of which the byte is the first of two
	completes [256]Set       // classes of which the byte is the last of two
}

var amd64 = compile(opcodes)

func compile(rules []opcode) *bytewise {
	t := new(bytewise)
	for _, r := range rules {
		for first := range 256 {
			if byte(first)&r.masks[0] != r.bytes[0] {
				continue
			}
			if r.masks[1] == 0 {
				t.single[first] |= r.class
				continue
			}
			t.begins[first] |= r.class
			if t.pair[first] == nil {
				t.pair[first] = new([256]Set)
			}
			for second := range 256 {
				if byte(second)&r.masks[1] == r.bytes[1] {
					t.pair[first][second] |= r.class
					t.completes[second] |= r.class
				}
			}
		}
	}
	return t
}

// next finds the first terminator of s in code at or behind off.
func (t *bytewise) next(s Set, code []byte, off int) (Hit, bool) {
	for i := off; i < len(code); i++ {
		b := code[i]
		if c := t.single[b] & s; c != 0 {
			return Hit{i, 1, c}, true
		}
		if t.begins[b]&s == 0 || i+1 == len(code) {
			continue
		}
		if c := t.pair[b][code[i+1]] & s; c != 0 {
			return Hit{i, 2, c}, true
		}
	}
	return Hit{}, false
}
