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
	opExtDevice   = 0x82
	opNotify      = 0x86

	methodSerialized = 1 << 3
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

func notify(seg string, value uint64) term {
	return join(term{opNotify}, term(seg), integer(value))
}
