package x86

import "errors"

// The errors of [Inst.Decode].
var (
	ErrTruncated = errors.New("the instruction is longer than the code")
	ErrUnknown   = errors.New("unknown instruction")
)

// maxLen is the length above which a processor refuses an instruction (SDM volume 2, 2.3.11).
const maxLen = 15

// decoder is at one place in an instruction.
type decoder struct {
	*Inst // written in place: to copy it right behind writes of single bytes stalls a processor
	code  []byte
	pos   int

	rex              byte // 0: none
	size16, address4 bool // prefixes 66 and 67
	repne            bool // prefix f2
	other            bool // prefix f0, f2 or f3
}

// Decode reads the instruction at the beginning of code. If it returns an error, the Inst is empty.
func (in *Inst) Decode(code []byte) error {
	*in = Inst{}
	d := decoder{Inst: in, code: code}
	if len(code) > maxLen {
		d.code = code[:maxLen]
	}
	err := d.decode()
	if err == nil {
		return nil
	}
	*in = Inst{}
	if len(code) >= maxLen {
		return ErrUnknown // more bytes do not help
	}
	return err
}

func (d *decoder) decode() error {
	if err := d.prefixes(); err != nil {
		return err
	}
	follows, err := d.opcode()
	if err != nil {
		return err
	}
	here := uint8(d.pos)
	d.starts[ModRM], d.starts[SIB], d.starts[Disp] = here, here, here
	immediate, err := d.operands(follows)
	if err != nil {
		return err
	}
	d.starts[Imm] = uint8(d.pos)
	d.pos += immediate
	if d.pos > len(d.code) {
		return ErrTruncated
	}
	d.len = uint8(d.pos)
	return nil
}

// prefixes reads legacy prefixes and REX. A REX counts only directly before the opcode.
func (d *decoder) prefixes() error {
	for ; d.pos < len(d.code); d.pos++ {
		switch b := d.code[d.pos]; kinds[b] {
		case rexPrefix:
			d.rex, d.starts[REX] = b, uint8(d.pos)
			continue
		case legacyPrefix:
			d.legacy(b)
		default:
			if d.rex == 0 {
				d.starts[REX] = uint8(d.pos)
			}
			return nil
		}
		d.rex = 0
	}
	return ErrTruncated
}

// legacy takes note of a prefix. Those of segments change nothing here.
func (d *decoder) legacy(b byte) {
	switch b {
	case 0x66:
		d.size16 = true
	case 0x67:
		d.address4 = true
	case 0xf2:
		d.repne, d.other = true, true
	case 0xf0, 0xf3:
		d.other = true
	}
}

// next reads one byte.
func (d *decoder) next() (byte, error) {
	if d.pos == len(d.code) {
		return 0, ErrTruncated
	}
	d.pos++
	return d.code[d.pos-1], nil
}

// opcode reads VEX and EVEX, escape bytes and the opcode, and says what follows.
func (d *decoder) opcode() (follows byte, err error) {
	d.starts[Opcode] = uint8(d.pos)
	if d.Op, err = d.next(); err != nil {
		return 0, err
	}
	switch d.Op {
	case 0x0f:
		return d.escaped()
	case 0x62, 0xc4, 0xc5:
		return d.vector()
	case 0x8f: // POP, and XOP where the map would be the reg field of a ModRM byte other than 0
		if d.pos < len(d.code) && Map(d.code[d.pos]&0x1f) >= XOP8 {
			return d.vector()
		}
	}
	return oneByte[d.Op], nil
}

// escaped reads what follows 0f.
func (d *decoder) escaped() (follows byte, err error) {
	if d.Op, err = d.next(); err != nil {
		return 0, err
	}
	switch d.Op {
	case 0x38:
		d.Map, follows = Map0F38, modRM
	case 0x3a:
		d.Map, follows = Map0F3A, modRMimm8
	default:
		d.Map = Map0F
		return twoByte[d.Op], nil
	}
	d.Op, err = d.next()
	return follows, err
}

// vector reads what follows the first byte of VEX, XOP or EVEX (SDM volume 2, 2.3.5 and 2.7.1; APM volume 6, 1.2.5), and the
// opcode.
func (d *decoder) vector() (follows byte, err error) {
	if d.rex != 0 || d.size16 || d.other {
		return 0, ErrUnknown // these prefixes fault before it
	}
	prefix, payload := d.Op, 1
	switch prefix {
	case 0xc4, 0x8f:
		payload = 2
	case 0x62:
		payload = 3
	}
	p := d.code[d.pos:]
	if len(p) <= payload {
		return 0, ErrTruncated
	}
	d.flags |= vector
	d.pos += payload + 1
	d.starts[Opcode] = uint8(d.pos - 1)
	d.Op, d.Map = p[payload], Map0F
	if prefix != 0xc5 {
		d.Map = Map(p[0] & 0x1f)
		d.rex = ^p[0] >> 5 & 1 // the base register's highest bit, inverted there
	}
	if prefix == 0x62 {
		d.Map &= 0xf
		if p[1]&4 == 0 {
			return 0, ErrUnknown
		}
	}
	return d.afterVector(prefix)
}

// afterVector says what follows the opcode, by the kind of the prefix and the map that it names.
func (d *decoder) afterVector(prefix byte) (follows byte, err error) {
	switch {
	case d.Map == Map0F && d.Op == 0x77 && prefix != 0x62: // VZEROUPPER
		return nothing, nil
	case d.Map == Map0F && vectorImm8(d.Op), d.Map == Map0F3A, d.Map == XOP8 && prefix == 0x8f:
		return modRMimm8, nil
	case d.Map == Map0F, d.Map == Map0F38, d.Map == XOP9 && prefix == 0x8f, (d.Map == Map5 || d.Map == Map6) && prefix == 0x62:
		return modRM, nil
	case d.Map == XOPA && prefix == 0x8f:
		return modRMimm32, nil
	}
	return 0, ErrUnknown
}

// operands reads ModRM, SIB and displacement, if they follow, and says how long the immediate is.
func (d *decoder) operands(follows byte) (immediate int, err error) {
	switch follows {
	case unknown:
		return 0, ErrUnknown
	case modRM, control, modRMimm8, modRMimm32, testImm8, testImm32, extrq:
		return d.withModRM(follows)
	case address:
		d.pos += choose(8, 4, d.address4)
		if d.pos > len(d.code) {
			return 0, ErrTruncated
		}
		return 0, nil
	case rel8:
		d.flags |= branch
		return 1, nil
	case rel32:
		d.flags |= branch
		return 4, nil
	case imm8:
		return 1, nil
	case imm16:
		return 2, nil
	case imm16imm8:
		return 3, nil
	case imm32:
		return d.size(), nil
	case imm64:
		return choose(d.size(), 8, d.wide()), nil
	}
	return 0, nil // nothing
}

// withModRM is operands for what has a ModRM byte.
func (d *decoder) withModRM(follows byte) (immediate int, err error) {
	m, err := d.next()
	if err != nil {
		return 0, err
	}
	mod, reg := m>>6, m>>3&7
	if d.Map == OneByte && !d.defined(m) {
		return 0, ErrUnknown
	}
	d.starts[SIB], d.starts[Disp] = uint8(d.pos), uint8(d.pos)
	if mod != 3 && follows != control {
		if err := d.memory(mod, m&7); err != nil {
			return 0, err
		}
	}
	switch follows {
	case modRMimm8:
		return 1, nil
	case modRMimm32:
		if d.Map == OneByte && d.Op == 0xc7 && reg == 7 { // XBEGIN
			d.flags |= branch
		}
		return d.size(), nil
	case testImm8:
		return choose(0, 1, reg < 2), nil
	case testImm32:
		return choose(0, d.size(), reg < 2), nil
	case extrq:
		return choose(0, 2, d.size16 || d.repne), nil
	}
	return 0, nil
}

// defined says that an opcode of one byte is an instruction with this ModRM byte.
func (d *decoder) defined(m byte) bool {
	reg, register := m>>3&7, m>>6 == 3
	switch d.Op {
	case 0x8f: // POP; the others are XOP
		return reg == 0
	case 0xc6, 0xc7: // MOV, XABORT, XBEGIN
		return reg == 0 || m == 0xf8
	case 0xfe: // INC, DEC
		return reg < 2
	case 0xff: // INC, DEC, CALL, CALL far, JMP, JMP far, PUSH
		return reg != 7 && !(register && (reg == 3 || reg == 5))
	}
	return true
}

// memory reads SIB and displacement of a memory operand (SDM volume 2, tables 2-2 and 2-3).
func (d *decoder) memory(mod, rm byte) error {
	base := rm
	if rm == 4 {
		sib, err := d.next()
		if err != nil {
			return err
		}
		base = sib & 7
		d.starts[Disp] = uint8(d.pos)
		if base == 4 && d.rex&1 == 0 {
			d.flags |= onStack
		}
	}
	switch {
	case mod == 1:
		d.pos++
	case mod == 2, base == 5:
		d.pos += 4
	}
	if mod == 0 && rm == 5 {
		d.flags |= ripRelative
	}
	if d.pos > len(d.code) {
		return ErrTruncated
	}
	return nil
}

// wide says that REX.W is set.
func (d *decoder) wide() bool { return d.rex&8 != 0 }

// size is that of an immediate of 32 bits, or of 16 with a prefix.
func (d *decoder) size() int { return choose(4, 2, d.size16 && !d.wide()) }

// choose is n, or other if that holds.
func choose(n, other int, holds bool) int {
	if holds {
		return other
	}
	return n
}
