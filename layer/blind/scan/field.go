package scan

import "usui/layer/blind/x86"

// Field says what a byte of code is for, and with that, who chose it.
type Field uint8

// The fields. Of the first three, and of what is not decoded, we must fear that the author of the program chose the bytes.
const (
	Imm       Field = iota // an immediate: the program's constants, and offset+size in bounds checks
	Disp                   // a displacement from a register other than RSP: the program's static offsets, and the engine's own structures
	Data                   // constants between or behind the instructions: vectors, masks of shuffles
	Unknown                // bytes that are no instruction and that none refers to
	Relative               // the target of a branch, the address of data, an entry of a jump table: where things lie
	Frame                  // a displacement from RSP: how many values a function keeps
	Operation              // prefixes, opcode, ModRM, SIB: operations and registers; on arm64, instructions

	numFields
)

var fieldNames = [numFields]string{"imm", "disp", "data", "unknown", "relative", "frame", "operation"}

// String is the field's name in reports.
func (f Field) String() string { return fieldNames[f] }

// Chosen says that the program's author may have chosen the bytes as a constant. Those are what blinding is for.
func (f Field) Chosen() bool { return f <= Unknown }

// Where is the fields of a terminator's first and last byte.
type Where struct{ First, Last Field }

// Crossing says that it lies in two fields.
func (w Where) Crossing() bool { return w.First != w.Last }

// Chosen says that one of the bytes may be chosen by the program's author.
func (w Where) Chosen() bool { return w.First.Chosen() || w.Last.Chosen() }

// String is one name, or two as in "imm+operation".
func (w Where) String() string {
	if w.Crossing() {
		return w.First.String() + "+" + w.Last.String()
	}
	return w.First.String()
}

// MarshalText implements [encoding.TextMarshaler].
func (w Where) MarshalText() ([]byte, error) { return []byte(w.String()), nil }

// MarshalText implements [encoding.TextMarshaler].
func (f Field) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// piece is a stretch of code of one kind: an instruction, or bytes that are none.
type piece struct {
	start, end int
	field      Field    // of all bytes, if it is no instruction of amd64
	decoded    bool     // it is one:
	inst       x86.Inst // its layout
}

// at is the field of the byte at an offset in the code, and from where to where it reaches.
func (p *piece) at(off int) (f Field, start, end int) {
	if !p.decoded {
		return p.field, p.start, p.end
	}
	part := p.inst.At(off - p.start)
	start, end = p.inst.Range(part)
	return p.meaning(part), p.start + start, p.start + end
}

// meaning is what a field of the instruction is for.
func (p *piece) meaning(part x86.Field) Field {
	switch part {
	case x86.Imm:
		if p.inst.Branch() {
			return Relative
		}
		return Imm
	case x86.Disp:
		switch {
		case p.inst.RIPRelative():
			return Relative
		case p.inst.OnStack():
			return Frame
		}
		return Disp
	}
	return Operation
}

// is says that the terminator at an offset is the instruction itself.
func (p *piece) is(off int) bool {
	if !p.decoded {
		return p.field == Operation
	}
	start, _ := p.inst.Range(x86.Opcode)
	return off == p.start+start && !p.inst.Vector()
}
