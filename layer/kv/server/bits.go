package server

import (
	"bytes"
	"math/bits"

	"usui/layer/kv/resp"
)

func bitCommands() []command {
	return []command{
		{"setbit", 4, "write denyoom", 1, 1, 1, setBit},
		{"getbit", 3, "readonly fast", 1, 1, 1, getBit},
		{"bitcount", -2, "readonly", 1, 1, 1, bitCount},
		{"bitpos", -3, "readonly", 1, 1, 1, bitPos},
		{"bitop", -4, "write denyoom", 2, -1, 1, bitOp},
		{"bitfield", -2, "write denyoom", 1, 1, 1, func(k *call) { k.bitField(false) }},
		{"bitfield_ro", -2, "readonly fast", 1, 1, 1, func(k *call) { k.bitField(true) }},
	}
}

// bitOffset reads the number of a bit, 0 being the most significant one of the first byte. Behind # it is counted in fields of width bits.
func (k *call) bitOffset(arg []byte, width int64) (int64, bool) {
	unit := int64(1)
	if rest, ok := bytes.CutPrefix(arg, []byte("#")); ok && width > 0 {
		arg, unit = rest, width
	}
	limit := int64(k.s.maxBulk()) * 8
	n, ok := resp.ParseInt(arg)
	if !ok || n < 0 || n >= limit || n*unit >= limit {
		k.fail("ERR bit offset is not an integer or out of range")
		return 0, false
	}
	return n * unit, true
}

// bitAt is a bit of p, which goes on with zeros.
func bitAt(p []byte, at int64) byte {
	if at>>3 >= int64(len(p)) {
		return 0
	}
	return p[at>>3] >> (7 - at&7) & 1
}

// long makes a copy of a value in k.scratch, with zeros behind it up to n bytes.
func (k *call) long(value []byte, n int64) {
	k.scratch = append(k.scratch[:0], value...)
	if more := n - int64(len(value)); more > 0 {
		k.scratch = append(k.scratch, make([]byte, more)...)
	}
}

func setBit(k *call) {
	at, ok := k.bitOffset(k.args[2], 0)
	if !ok {
		return
	}
	bit, ok := resp.ParseInt(k.args[3])
	if !ok || bit&^1 != 0 {
		k.fail("ERR bit is not an integer or out of range")
		return
	}
	e, _, ok := k.get(k.args[1])
	if !ok {
		return
	}
	old := bitAt(e.Value, at)
	if at>>3 < int64(len(e.Value)) && int64(old) == bit {
		k.w.Int(bit)
		return
	}
	k.long(e.Value, at>>3+1)
	k.scratch[at>>3] = k.scratch[at>>3]&^(1<<(7-at&7)) | byte(bit)<<(7-at&7)
	if k.put(k.args[1], k.scratch, e.Expire) {
		k.w.Int(int64(old))
	}
}

func getBit(k *call) {
	at, ok := k.bitOffset(k.args[2], 0)
	if !ok {
		return
	}
	if e, _, ok := k.get(k.args[1]); ok {
		k.w.Int(int64(bitAt(e.Value, at)))
	}
}

// bitRange makes the first and the last bit of a range of a value with n bytes from two arguments, in bytes or bits. The range is empty if
// the last one comes first.
func bitRange(n, first, last int64, inBits bool) (from, to int64) {
	if inBits {
		n *= 8
	}
	if first < 0 {
		first = max(0, n+first)
	}
	if last < 0 {
		last = max(0, n+last)
	}
	last = min(last, n-1)
	if inBits {
		return first, last
	}
	if first > last { // and might overflow
		return 1, 0
	}
	return first * 8, last*8 + 7
}

// isBit reads the unit of a range, and answers if it is none.
func (k *call) isBit(arg []byte) (inBits, ok bool) {
	switch {
	case is(arg, "BIT"):
		return true, true
	case is(arg, "BYTE"):
		return false, true
	}
	k.fail(errSyntax)
	return false, false
}

// countBits counts those between two, which are part of it.
func countBits(p []byte, from, to int64) (n int64) {
	for at := from; at <= to; {
		if at&7 == 0 && at+7 <= to {
			n += int64(bits.OnesCount8(p[at>>3]))
			at += 8
			continue
		}
		n += int64(bitAt(p, at))
		at++
	}
	return n
}

func bitCount(k *call) {
	e, was, ok := k.get(k.args[1])
	if !was { // whatever the other arguments are
		if ok {
			k.w.Int(0)
		}
		return
	}
	from, to := int64(0), int64(len(e.Value))*8-1
	switch len(k.args) {
	case 2:
	case 4, 5:
		first, ok1 := k.integer(k.args[2])
		if !ok1 {
			return
		}
		last, ok2 := k.integer(k.args[3])
		if !ok2 {
			return
		}
		if first < 0 && last < 0 && first > last {
			k.w.Int(0)
			return
		}
		inBits := false
		if len(k.args) == 5 {
			if inBits, ok = k.isBit(k.args[4]); !ok {
				return
			}
		}
		from, to = bitRange(int64(len(e.Value)), first, last, inBits)
	default:
		k.fail(errSyntax)
		return
	}
	k.w.Int(countBits(e.Value, from, to))
}

// findBit returns the first place of a bit between two others, -1 if it is not there.
func findBit(p []byte, bit byte, from, to int64) int64 {
	none := byte(0xff) // a byte without it
	if bit == 1 {
		none = 0
	}
	for at := from; at <= to; at++ {
		for at&7 == 0 && at+7 <= to && p[at>>3] == none {
			at += 8
		}
		if at <= to && bitAt(p, at) == bit {
			return at
		}
	}
	return -1
}

func bitPos(k *call) {
	bit, ok := k.integer(k.args[2])
	switch {
	case !ok:
		return
	case bit != 0 && bit != 1:
		k.fail("ERR The bit argument must be 1 or 0.")
		return
	}
	e, was, ok := k.get(k.args[1])
	if !was { // zeros without end, whatever the other arguments are
		if ok {
			k.w.Int(-bit)
		}
		return
	}
	n := int64(len(e.Value))
	first, last, inBits := int64(0), n-1, false
	if len(k.args) > 6 {
		k.fail(errSyntax)
		return
	}
	if len(k.args) > 3 {
		if first, ok = k.integer(k.args[3]); !ok {
			return
		}
	}
	if len(k.args) == 6 {
		if inBits, ok = k.isBit(k.args[5]); !ok {
			return
		}
	}
	if len(k.args) > 4 {
		if last, ok = k.integer(k.args[4]); !ok {
			return
		}
	}
	from, to := bitRange(n, first, last, inBits)
	switch at := findBit(e.Value, byte(bit), from, to); {
	case at < 0 && bit == 0 && len(k.args) < 5 && from <= to: // the zeros behind the value count, unless an end is given
		k.w.Int(n * 8)
	default:
		k.w.Int(at)
	}
}

func bitOp(k *call) {
	var combine func(a, b byte) byte
	switch op := k.args[1]; {
	case is(op, "AND"):
		combine = func(a, b byte) byte { return a & b }
	case is(op, "OR"):
		combine = func(a, b byte) byte { return a | b }
	case is(op, "XOR"):
		combine = func(a, b byte) byte { return a ^ b }
	case is(op, "NOT"):
		if len(k.args) != 4 {
			k.fail("ERR BITOP NOT must be called with a single source key.")
			return
		}
	default:
		k.fail(errSyntax)
		return
	}
	result := k.scratch[:0]
	for i, key := range k.args[3:] {
		e, _, ok := k.get(key)
		if !ok {
			return
		}
		if i == 0 {
			result = append(result, e.Value...)
			continue
		}
		if more := len(e.Value) - len(result); more > 0 {
			result = append(result, make([]byte, more)...)
		}
		for at := range result {
			b := byte(0)
			if at < len(e.Value) {
				b = e.Value[at]
			}
			result[at] = combine(result[at], b)
		}
	}
	if combine == nil {
		for at := range result {
			result[at] = ^result[at]
		}
	}
	k.scratch = result
	if len(result) == 0 {
		if _, ok := k.remove(k.args[2]); !ok {
			return
		}
	} else if !k.put(k.args[2], result, 0) {
		return
	}
	k.w.Int(int64(len(result)))
}
