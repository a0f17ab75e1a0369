package acpi

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
)

var le = binary.LittleEndian

// Opcodes (ACPI 6.5 section 20.2, table 20.1).
const (
	opZero        = 0x00
	opOne         = 0x01
	opName        = 0x08
	opBytePrefix  = 0x0a
	opWordPrefix  = 0x0b
	opDWordPrefix = 0x0c
	opString      = 0x0d
	opQWordPrefix = 0x0e
	opScope       = 0x10
	opBuffer      = 0x11
	opPackage     = 0x12
	opMethod      = 0x14
	opExt         = 0x5b
	opExtRegion   = 0x80
	opExtField    = 0x81
	opExtDevice   = 0x82
	opArg0        = 0x68
	opArg1        = 0x69
	opStore       = 0x70
	opAnd         = 0x7b
	opNotify      = 0x86
	opEqual       = 0x93
	opIf          = 0xa0

	methodSerialized = 1 << 3
	regionIO         = 1 // section 20.2.5.2, RegionSpace: I/O ports
	accessDWord      = 3 // FieldFlags: read and written 32 bits at a time
	registerBits     = 32
)

// term is encoded AML.
type term []byte

func join(ts ...term) term { return slices.Concat(ts...) }

// integer is the shortest encoding of a constant (section 20.2.3).
func integer(v uint64) term {
	switch {
	case v == 0:
		return term{opZero}
	case v == 1:
		return term{opOne}
	case v <= math.MaxUint8:
		return term{opBytePrefix, byte(v)}
	case v <= math.MaxUint16:
		return le.AppendUint16(term{opWordPrefix}, uint16(v))
	case v <= math.MaxUint32:
		return le.AppendUint32(term{opDWordPrefix}, uint32(v))
	}
	return le.AppendUint64(term{opQWordPrefix}, v)
}

// text is a string constant of ASCII without zeros.
func text(s string) term { return append(append(term{opString}, s...), 0) }

// eisaID packs a name such as PNP0A08: three letters of 5 bits, four hexadecimal digits, in big-endian order (section 19.6.35).
func eisaID(id string) term {
	var product uint16
	fmt.Sscanf(id[3:], "%X", &product) // ids are constants of this package; a test reads each back
	vendor := uint16(id[0]-'@')<<10 | uint16(id[1]-'@')<<5 | uint16(id[2]-'@')
	packed := [4]byte{byte(vendor >> 8), byte(vendor), byte(product >> 8), byte(product)}
	return append(term{opDWordPrefix}, packed[:]...)
}

// sized is an opcode, the package length that counts itself and all that follows, and the content (section 20.2.4). The
// length has 6 bits in one byte, or 4 bits in the first of up to four bytes, whose top two bits count the others.
func sized(op []byte, content term) term {
	n := len(content) + 1
	if n <= 0x3f {
		return join(op, term{byte(n)}, content)
	}
	length := term{0}
	for limit := 1 << 12; ; limit <<= 8 {
		n++
		length = append(length, 0)
		if n < limit {
			break
		}
	}
	length[0] = byte(len(length)-1)<<6 | byte(n&0xf)
	for i, rest := 1, n>>4; i < len(length); i, rest = i+1, rest>>8 {
		length[i] = byte(rest)
	}
	return join(op, length, content)
}

// name gives an object a name of four characters.
func name(seg string, object term) term { return join(term{opName}, term(seg), object) }

func pack(elements ...term) term {
	return sized([]byte{opPackage}, join(term{byte(len(elements))}, join(elements...)))
}

func buffer(b []byte) term {
	return sized([]byte{opBuffer}, join(integer(uint64(len(b))), b))
}

func scope(path string, content ...term) term {
	return sized([]byte{opScope}, join(term(path), join(content...)))
}

func device(seg string, content ...term) term {
	return sized([]byte{opExt, opExtDevice}, join(term(seg), join(content...)))
}

func method(seg string, flags byte, body ...term) term {
	return sized([]byte{opMethod}, join(term(seg), term{flags}, join(body...)))
}

// The arguments of the method that they stand in.
var (
	arg0 = term{opArg0}
	arg1 = term{opArg1}
)

// ports names n I/O ports from port on.
func ports(seg string, port uint16, n byte) term {
	return join(term{opExt, opExtRegion}, term(seg), term{regionIO}, integer(uint64(port)), integer(uint64(n)))
}

// registers names the 32-bit registers of a region, which follow each other from its start.
func registers(region string, segs ...string) term {
	list := join(term(region), term{accessDWord})
	for _, seg := range segs {
		list = join(list, term(seg), term{registerBits}) // encoded as a package length is: up to 63 it stands for itself
	}
	return sized([]byte{opExt, opExtField}, list)
}

// notify tells the driver of a device.
func notify(seg string, value term) term { return join(term{opNotify}, term(seg), value) }

// store writes value to a register.
func store(value term, seg string) term { return join(term{opStore}, value, term(seg)) }

func and(a, b term) term { return join(term{opAnd}, a, b, term{opZero}) } // the result is stored nowhere

func equal(a, b term) term { return join(term{opEqual}, a, b) }

// when runs body if condition is not zero.
func when(condition term, body ...term) term {
	return sized([]byte{opIf}, join(condition, join(body...)))
}

// call calls a method.
func call(path string, args ...term) term { return join(term(path), join(args...)) }
