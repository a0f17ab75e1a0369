package scan

import (
	"fmt"
	"math/bits"

	"usui/layer/blind/terminator"
)

// Options say what to look for. The zero value finds terminator.Light.
type Options struct {
	Classes     terminator.Set // 0: terminator.Light
	Definitions Definitions
	Arch        string // for [File]: amd64, arm64, or "" for what the file says
	Format      Format // for File: how to read it
	All         bool   // list all unintended terminators, and not only those that the program's author may have chosen

	// Own says of an offender that the engine has it on its own account: it is counted and not listed. nil: there is none.
	Own func(Offender) bool
}

// classes is Classes, or what it is by default.
func (o Options) classes() terminator.Set {
	if o.Classes == 0 {
		return terminator.Light
	}
	return o.Classes
}

// Code scans code of one program. functions are sorted by their offsets and do not overlap; code outside of them is scanned, too.
// If there are none, tables are not told from code. Offenders name a function by its index in functions.
func Code(arch terminator.Arch, code []byte, functions []Function, o Options) (Report, error) {
	r, err := newReport(arch, o)
	if err != nil {
		return r, err
	}
	if err := r.add(arch, segment{code: code, functions: functions}, o); err != nil {
		return Report{}, err
	}
	r.finish()
	return r, nil
}

// segment is code that stands together, as in one section of a file.
type segment struct {
	address   uint64 // of its first byte, where the file says so
	code      []byte
	functions []Function
}

// finder finds the first terminator of a set at or behind an offset.
type finder func(s terminator.Set, code []byte, off int) (terminator.Hit, bool)

// add scans a segment into the report.
func (r *Report) add(arch terminator.Arch, seg segment, o Options) error {
	if err := apart(seg.functions, len(seg.code)); err != nil {
		return err
	}
	find := func(s terminator.Set, code []byte, off int) (terminator.Hit, bool) { return s.Next(arch, code, off) }
	if o.Definitions == ROPgadget {
		find = newSearches().next
	}
	t := tallier{Report: r, segment: seg, all: o.All, own: o.Own, base: r.Size.Functions}
	r.Size.Code += len(seg.code)
	r.Size.Functions += len(seg.functions)
	t.run(arch, find, o.classes())
	return nil
}

// apart checks what Code demands of functions.
func apart(functions []Function, size int) error {
	end := 0
	for i, f := range functions {
		if f.Off < end || f.Size < 0 || f.Off > size || f.Size > size-f.Off {
			return fmt.Errorf("function %d is at %#x and has %d bytes: it overlaps the one before, or leaves the %d bytes of code", i, f.Off, f.Size, size)
		}
		end = f.Off + f.Size
	}
	return nil
}

// tallier brings terminators and pieces of code together.
type tallier struct {
	*Report
	segment
	all  bool
	own  func(Offender) bool
	base int // how many functions other segments had
}

func (t *tallier) run(arch terminator.Arch, find finder, classes terminator.Set) {
	s := sweep{arch: arch, code: t.code, functions: t.functions}
	hit, ok := find(classes, t.code, 0)
	var (
		before   piece // of a terminator that goes on in the next one
		function int   // likewise
		crossing bool
	)
	for p := &s.piece; s.next(); {
		t.measure(p)
		if crossing { // its last byte is here
			t.count(hit, &before, p, function)
			hit, ok = find(classes, t.code, hit.Off+1)
			crossing = false
		}
		for ok && hit.Off < p.end {
			if hit.Off+hit.Len > p.end {
				before, function, crossing = *p, s.function, true
				break
			}
			t.count(hit, p, p, s.function)
			hit, ok = find(classes, t.code, hit.Off+1)
		}
	}
}

// measure adds a piece to the sizes.
func (t *tallier) measure(p *piece) {
	switch {
	case p.decoded, p.field == Operation:
		t.Size.Instructions++
	case p.field == Unknown:
		t.Size.Unknown += p.end - p.start
	default:
		t.Size.Data += p.end - p.start
	}
}

// count adds a terminator that begins in one piece and ends in another, or in the same.
func (t *tallier) count(h terminator.Hit, begins, ends *piece, function int) {
	class := bits.TrailingZeros8(uint8(h.Class))
	if begins.is(h.Off) {
		t.Intended[class]++
		return
	}
	last := h.Off + h.Len - 1
	var w Where
	w.First, _, _ = begins.at(h.Off)
	w.Last, _, _ = ends.at(last)
	t.unintended[w.First][w.Last][class]++
	if !t.all && !w.Chosen() {
		return
	}
	o := Offender{Function: -1, Off: h.Off, Address: t.address + uint64(h.Off), Class: h.Class, Where: w}
	if function >= 0 {
		o.Function, o.Name = t.base+function, t.functions[function].Name
	}
	o.Parts = append(o.Parts, t.part(begins, h.Off))
	if w.Crossing() || begins != ends {
		o.Parts = append(o.Parts, t.part(ends, last))
	}
	switch {
	case t.own != nil && t.own(o):
		t.Own++
	case len(t.Offenders) == maxOffenders:
		t.Unlisted++
	default:
		t.Offenders = append(t.Offenders, o)
	}
}

// part is the field that has the byte at an offset.
func (t *tallier) part(p *piece, off int) Part {
	field, start, end := p.at(off)
	return Part{Field: field, Instruction: p.start, Off: start, Value: t.code[start:end:end]}
}
