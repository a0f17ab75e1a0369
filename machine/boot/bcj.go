package boot

// decodeBCJ undoes, in place, what XZ's x86 filter did to the code in b, which begins at position start of the filter's
// count. The encoder turned the relative operands of calls (E8) and jumps (E9) into absolute ones, so that equal targets
// look equal to the compressor (The .xz File Format 1.2.1, section 5.3.2).
//
// An operand is touched only when its top byte is 00 or FF, as that of a short distance is. An opcode may also lie
// inside what could be the operand of an earlier one that was left alone. Encoder and decoder see different bytes there; the
// rules for a distance of 1 to 3 keep them in step.
func decodeBCJ(b []byte, start uint32) {
	const operand = 4
	var near uint8 // bit n: byte pos-1-n is an opcode that was left alone
	pos := 0
	for i := 0; i+operand < len(b); i++ {
		if b[i]&^1 != 0xe8 {
			continue
		}
		near = near << (i - pos) & 7
		back, clear := leftAlone(near)
		if clear && signByte(b[i+operand]) && (back == 0 || !signByte(b[i+operand-back])) {
			next := start + uint32(i) + 1 + operand
			le.PutUint32(b[i+1:], relative(le.Uint32(b[i+1:]), next, back))
			i += operand
			near, pos = 0, i+1
			continue
		}
		near, pos = near<<1|1, i+1
	}
}

// leftAlone says how far back the one opcode lies that was left alone (0: there is none), and false when there are more.
func leftAlone(near uint8) (back int, clear bool) {
	switch near {
	case 0, 1, 2:
		return int(near), true
	case 4:
		return 3, true
	}
	return 0, false
}

// signByte says whether b looks like the top byte of a small signed number.
func signByte(b byte) bool { return b == 0x00 || b == 0xff }

// relative makes the absolute operand of an instruction that ends at position next relative. Where an opcode lies back bytes
// before it, the byte of the result that is that one's top byte must not look like a sign; if it does, the encoder stored
// the complement of the bits below. Once is enough: the byte then is the complement of the operand's own, which is no sign.
func relative(operand, next uint32, back int) uint32 {
	distance := operand - next
	if back > 0 && signByte(byte(distance>>(24-8*back))) {
		distance = (distance ^ (1<<(32-8*back) - 1)) - next
	}
	return uint32(int32(distance<<7) >> 7) // 25 bits, sign-extended
}
