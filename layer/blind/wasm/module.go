package wasm

import (
	"bytes"
	"errors"
	"fmt"
)

// Section is a section's identifier.
type Section byte

// Sections, in the order of their identifiers (chapter 5.5.2).
const (
	Custom Section = iota
	Type
	Import
	Function
	Table
	Memory
	Global
	Export
	Start
	Element
	Code
	Data
	DataCount
	Tag
)

// preamble begins every module: the magic number and version 1.
var preamble = []byte("\x00asm\x01\x00\x00\x00")

// MaxLocals bounds the locals of one function, as browsers do (WebAssembly JavaScript Interface, implementation limits). An engine
// allocates them by a number that costs the module nothing.
const MaxLocals = 50_000

// MaxLabels and MaxDepth bound what costs an engine more than its bytes tell. MaxLabels is browsers' (V8's kV8MaxWasmFunctionBrTableSize,
// SpiderMonkey's MaxBrTableElems): a label takes wazero's compiler 25 us. No engine that we know bounds how deep blocks are nested,
// but wazero's compiler takes time by its square: 1.5 s for this depth, six minutes for 50 times that. Compilers nest a
// block for each case of a switch (LLVM) or each call in a function (Go): hundreds, seldom thousands.
const (
	MaxLabels = 65_520
	MaxDepth  = 10_000
)

// Module is a parsed module. It refers to the bytes that it was made of.
type Module struct {
	ImportedFunctions int
	ImportedGlobals   int
	Globals           int // the imported ones included
	Functions         []Func

	sections []section
	params   []uint32 // how many each type has
	declared []uint32 // types of the module's own functions
}

// section is a section with its content, as a part of the module's bytes.
type section struct {
	id   Section
	body []byte
}

// Func is one function of the module's own.
type Func struct {
	Params int
	Locals int    // behind the parameters
	Decl   []byte // how the body declares its locals
	Code   []byte // instructions, the end included
}

// Parse reads a module's sections and the outline of its functions. The result refers to b.
func Parse(b []byte) (*Module, error) {
	if !bytes.HasPrefix(b, preamble) {
		if bytes.HasPrefix(b, preamble[:4]) {
			return nil, errors.New("not a WebAssembly module of version 1 (a component, perhaps)")
		}
		return nil, errors.New("not a WebAssembly module: it does not begin with \\0asm")
	}
	m := &Module{}
	r := &reader{bytes: b, pos: len(preamble)}
	var seen [Tag + 1]bool
	for r.left() > 0 {
		at := r.pos
		id := Section(r.byte())
		body := r.take(r.u32())
		if r.err != nil {
			return nil, fmt.Errorf("section %d at %#x: %w", id, at, r.err)
		}
		if id <= Tag && id != Custom && seen[id] {
			return nil, fmt.Errorf("section %d at %#x: it is the second one", id, at)
		}
		if id <= Tag {
			seen[id] = true
		}
		m.sections = append(m.sections, section{id, body})
		if err := m.parse(id, body); err != nil {
			return nil, fmt.Errorf("section %d at %#x: %w", id, at, err)
		}
	}
	if len(m.Functions) != len(m.declared) {
		return nil, fmt.Errorf("%d functions are declared and %d have a body", len(m.declared), len(m.Functions))
	}
	return m, nil
}

func (m *Module) parse(id Section, body []byte) error {
	r := &reader{bytes: body}
	switch id {
	case Type:
		m.parseTypes(r)
	case Import:
		m.parseImports(r)
	case Function:
		n := r.count(1)
		m.declared = make([]uint32, 0, n)
		for range n {
			m.declared = append(m.declared, r.u32())
		}
	case Table:
		r.elements(3, r.table)
	case Memory:
		r.elements(2, r.limits)
	case Global:
		r.elements(4, func() {
			r.global()
			m.Globals++
		})
	case Export:
		r.elements(3, r.export)
	case Start, DataCount:
		r.u32()
	case Element:
		r.elements(2, r.elementSegment)
	case Code:
		m.parseCode(r)
	case Data:
		r.elements(2, r.dataSegment)
	case Tag:
		r.elements(2, r.tag)
	case Custom:
		if name := string(r.take(r.u32())); name == "name" {
			r.names()
		}
		return r.err
	default:
		return errors.New("unknown kind of section")
	}
	if r.err == nil && r.left() > 0 {
		return fmt.Errorf("%d bytes behind the last element", r.left())
	}
	return r.err
}

func (m *Module) parseTypes(r *reader) {
	m.params = make([]uint32, 0, r.left()/3) // the shortest type has three bytes
	r.elements(2, func() {
		form := r.byte()
		if form != recursive {
			m.parseType(r, form)
			return
		}
		r.elements(3, func() { m.parseType(r, r.byte()) })
	})
}

// recursive begins a group of types that name each other. Those of functions are in use without the rest of garbage collection.
const recursive = 0x4e

func (m *Module) parseType(r *reader, form byte) {
	switch form {
	case 0x60:
		params := r.count(1)
		for range params {
			r.valueType()
		}
		r.elements(1, r.valueType)
		m.params = append(m.params, params)
	case 0x4f, 0x50, 0x5e, 0x5f: // sub-types, arrays, structures
		r.fail(fmt.Errorf("type %#x is of the garbage-collection proposal, which is not supported", form))
	default:
		r.fail(fmt.Errorf("type %#x is unknown", form))
	}
}

// valueType reads one and refuses none that is in its shortest form: an engine has validated or will.
func (r *reader) valueType() { r.blockType() }

func (m *Module) parseImports(r *reader) {
	for range r.count(4) {
		r.take(r.u32())
		r.take(r.u32())
		switch kind := r.byte(); kind {
		case 0: // function
			r.u32()
			m.ImportedFunctions++
		case 1: // table
			r.valueType()
			r.limits()
		case 2: // memory
			r.limits()
		case 3: // global
			r.valueType()
			r.byte()
			m.ImportedGlobals++
			m.Globals++
		case 4: // tag
			r.byte()
			r.u32()
		default:
			r.fail(fmt.Errorf("import of unknown kind %#x", kind))
		}
		if r.err != nil {
			return
		}
	}
}

func (r *reader) limits() {
	flags := r.byte()
	if flags > 3 {
		r.fail(fmt.Errorf("limits %#x are of the memory64 or custom-page-sizes proposal, which is not supported", flags))
		return
	}
	r.u32()
	if flags&1 != 0 {
		r.u32()
	}
}

func (m *Module) parseCode(r *reader) {
	n := r.count(3)
	m.Functions = make([]Func, 0, min(int(n), len(m.declared)))
	for range n {
		i := len(m.Functions)
		body := &reader{bytes: r.take(r.u32())}
		if r.err != nil {
			return
		}
		var f Func
		if i >= len(m.declared) {
			r.fail(errors.New("more bodies than declared functions"))
			return
		}
		if t := m.declared[i]; uint64(t) < uint64(len(m.params)) {
			f.Params = int(m.params[t])
		} else {
			r.fail(fmt.Errorf("function %d has type %d of %d", m.ImportedFunctions+i, t, len(m.params)))
			return
		}
		f.Locals = body.locals()
		if body.err != nil {
			r.fail(fmt.Errorf("function %d: %w", m.ImportedFunctions+i, body.err))
			return
		}
		f.Decl, f.Code = body.bytes[:body.pos], body.bytes[body.pos:]
		m.Functions = append(m.Functions, f)
	}
}

// locals reads the declaration of a body's locals and returns how many there are.
func (r *reader) locals() int {
	n := uint64(0)
	for range r.count(2) {
		n += uint64(r.u32())
		r.valueType()
		if n > MaxLocals {
			r.fail(fmt.Errorf("more than %d locals are not supported", MaxLocals))
			return 0
		}
	}
	return int(n)
}
