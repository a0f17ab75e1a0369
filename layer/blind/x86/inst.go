package x86

// Field is a part of an instruction.
type Field uint8

// The fields, in the order in which they stand. Any but Opcode may be absent.
const (
	Prefix Field = iota // legacy prefixes, and a REX that another prefix makes void
	REX                 // REX, VEX, XOP or EVEX, all of its bytes
	Opcode              // with the escape bytes 0f, 0f 38, 0f 3a
	ModRM
	SIB
	Disp // displacement; or the address of a MOV between memory and the accumulator
	Imm  // immediate, or the target of a relative branch

	numFields
)

// String is the field's name in messages.
func (f Field) String() string {
	return [numFields]string{"prefix", "rex", "opcode", "modrm", "sib", "disp", "imm"}[f]
}

// Inst is the layout of one instruction, which [Inst.Decode] reads. It is valid for the bytes that it was read from.
type Inst struct {
	starts [numFields]uint8
	len    uint8
	flags  flags

	Map Map  // which opcode map
	Op  byte // the opcode within the map
}

// Map is an opcode map: the one-byte opcodes, or those behind escape bytes.
type Map uint8

// The opcode maps, by their numbers in VEX, XOP and EVEX prefixes.
const (
	OneByte Map = iota
	Map0F
	Map0F38
	Map0F3A
	_
	Map5 // EVEX only: half-precision floating point
	Map6 // likewise
	_
	XOP8 // XOP, of AMD processors from 2011 to 2017, with an immediate of 8 bits
	XOP9 // without one
	XOPA // with one of 32 bits
)

type flags uint8

const (
	ripRelative flags = 1 << iota
	branch
	onStack
	vector
)

// Len is the length of the instruction in bytes.
func (in *Inst) Len() int { return int(in.len) }

// Range is where a field stands in the instruction: from start to before end; both are equal if it has none.
func (in *Inst) Range(f Field) (start, end int) {
	if f == Imm {
		return int(in.starts[f]), int(in.len)
	}
	return int(in.starts[f]), int(in.starts[f+1])
}

// At is the field that the byte at an offset in the instruction belongs to.
func (in *Inst) At(off int) Field {
	f := Imm
	for f > Prefix && off < int(in.starts[f]) {
		f--
	}
	return f
}

// RIPRelative says that the displacement counts from the end of the instruction.
func (in *Inst) RIPRelative() bool { return in.flags&ripRelative != 0 }

// Branch says that the immediate is the target of a branch and counts from the end of the instruction.
func (in *Inst) Branch() bool { return in.flags&branch != 0 }

// OnStack says that the displacement is added to RSP.
func (in *Inst) OnStack() bool { return in.flags&onStack != 0 }

// Vector says that the instruction has a VEX, XOP or EVEX prefix, and so is another one than Op is in the same map without it.
func (in *Inst) Vector() bool { return in.flags&vector != 0 }
