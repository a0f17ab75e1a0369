package server

import "usui/layer/kv/resp"

// overflow is what a field does with a number that does not fit.
type overflow int

const (
	wrap overflow = iota
	saturate
	refuse
)

// fieldOp is one operation of BITFIELD.
type fieldOp struct {
	name     byte // of G(ET), S(ET) and I(NCRBY)
	overflow overflow
	field    field
	at       int64 // the first bit
	operand  int64
}

// field is a kind of whole number: signed with up to 64 bits, or unsigned with up to 63.
type field struct {
	signed bool
	bits   uint
}

// read takes a field out of p, which goes on with zeros.
func (f field) read(p []byte, at int64) int64 {
	var n uint64
	for i := range int64(f.bits) {
		n = n<<1 | uint64(bitAt(p, at+i))
	}
	return f.wrap(n)
}

// write puts the lower bits of n into p.
func (f field) write(p []byte, at, n int64) {
	for i := range int64(f.bits) {
		bit := byte(uint64(n) >> (int64(f.bits) - 1 - i) & 1)
		p[(at+i)>>3] = p[(at+i)>>3]&^(1<<(7-(at+i)&7)) | bit<<(7-(at+i)&7)
	}
}

// wrap is what is left of n in a field.
func (f field) wrap(n uint64) int64 {
	unused := 64 - f.bits
	if f.signed {
		return int64(n<<unused) >> unused
	}
	return int64(n << unused >> unused)
}

// bounds are the least and the greatest number.
func (f field) bounds() (least, most int64) {
	if f.signed {
		most = int64(uint64(1)<<(f.bits-1) - 1)
		return -most - 1, most
	}
	return 0, int64(uint64(1)<<f.bits - 1)
}

// add returns old + by as the field has it, and false if that does not fit and is to be refused. An old that is not of the field, as the operand of
// SET may be, does not fit either. For an unsigned field, Redis takes a negative one for a very large one.
func (f field) add(old, by int64, o overflow) (int64, bool) {
	least, most := f.bounds()
	sum := old + by
	above := old > most || by > 0 && (sum < old || sum > most) || !f.signed && old < 0
	below := !above && (old < least || by < 0 && (sum > old || sum < least))
	switch {
	case !above && !below:
		return sum, true
	case o == refuse:
		return 0, false
	case o == wrap:
		return f.wrap(uint64(sum)), true
	case above:
		return most, true
	}
	return least, true
}

// fieldOf reads a type such as i16 or u8, and answers if it is none.
func (k *call) fieldOf(arg []byte) (f field, ok bool) {
	if len(arg) > 1 && (arg[0] == 'i' || arg[0] == 'u') {
		f.signed = arg[0] == 'i'
		most := int64(63)
		if f.signed {
			most = 64
		}
		if n, ok := resp.ParseInt(arg[1:]); ok && n >= 1 && n <= most {
			f.bits = uint(n)
			return f, true
		}
	}
	k.fail("ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.")
	return f, false
}

// fieldOps reads the operations, and answers if they make no sense. end is behind the last bit that is written.
func (k *call) fieldOps() (ops []fieldOp, end int64, ok bool) {
	var o overflow
	for args := k.args[2:]; len(args) > 0; {
		op := fieldOp{overflow: o}
		switch word, more := args[0], len(args)-1; {
		case is(word, "GET") && more >= 2:
			op.name = 'G'
		case is(word, "SET") && more >= 3:
			op.name = 'S'
		case is(word, "INCRBY") && more >= 3:
			op.name = 'I'
		case is(word, "OVERFLOW") && more >= 1:
			switch {
			case is(args[1], "WRAP"):
				o = wrap
			case is(args[1], "SAT"):
				o = saturate
			case is(args[1], "FAIL"):
				o = refuse
			default:
				k.fail("ERR Invalid OVERFLOW type specified")
				return nil, 0, false
			}
			args = args[2:]
			continue
		default:
			k.fail(errSyntax)
			return nil, 0, false
		}
		if op.field, ok = k.fieldOf(args[1]); !ok {
			return nil, 0, false
		}
		if op.at, ok = k.bitOffset(args[2], int64(op.field.bits)); !ok {
			return nil, 0, false
		}
		args = args[3:]
		if op.name != 'G' {
			if op.operand, ok = k.integer(args[0]); !ok {
				return nil, 0, false
			}
			args = args[1:]
			end = max(end, op.at+int64(op.field.bits))
		}
		ops = append(ops, op)
	}
	return ops, end, true
}

func (k *call) bitField(readOnly bool) {
	ops, end, ok := k.fieldOps()
	if !ok {
		return
	}
	if readOnly && end > 0 {
		k.fail("ERR BITFIELD_RO only supports the GET subcommand")
		return
	}
	e, _, ok := k.get(k.args[1])
	if !ok {
		return
	}
	value := e.Value
	if end > 0 {
		k.long(e.Value, (end+7)/8)
		value = k.scratch
	}
	start, changed := len(k.w.Out), len(value) != len(e.Value)
	k.w.Array(len(ops))
	for _, op := range ops {
		old := op.field.read(value, op.at)
		now, reply, fits := old, old, true
		switch op.name {
		case 'S':
			now, fits = op.field.add(op.operand, 0, op.overflow)
		case 'I':
			now, fits = op.field.add(old, op.operand, op.overflow)
			reply = now
		}
		if !fits {
			k.w.Null()
			continue
		}
		k.w.Int(reply)
		if now != old {
			op.field.write(value, op.at, now)
			changed = true
		}
	}
	if !changed {
		return
	}
	if err := k.l.store.Put(k.args[1], value, e.Expire); err != nil {
		k.w.Out = k.w.Out[:start]
		k.wrote(err)
		return
	}
	k.wrote(nil)
}
