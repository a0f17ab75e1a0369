package wasm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"strings"
)

// Rewriter writes a module again with other bodies and with more globals.
type Rewriter struct {
	m       *Module
	globals []byte // encoded, behind those of the module
	added   int
}

// NewRewriter returns one for m.
func NewRewriter(m *Module) *Rewriter { return &Rewriter{m: m} }

// AddGlobal adds a mutable global of 64 bits that nothing exports, and returns its index.
func (w *Rewriter) AddGlobal(value uint64) uint32 {
	w.globals = append(w.globals, byte(I64), 1)
	w.globals = append(AppendI64(w.globals, value), byte(OpEnd))
	w.added++
	return uint32(w.m.Globals + w.added - 1)
}

// Body is what becomes of one function.
type Body struct {
	Locals []ValType // behind those that the function has
	Code   []byte    // instructions, the end included; nil leaves the function as it is
}

// errLarge is a module that grew beyond what its format can say.
var errLarge = errors.New("the rewritten module would exceed 4 GiB")

// Write returns the module with the body that body returns for each of its functions, called in order, once each. What body
// returns is copied before the next call. Globals may be added until the last call.
func (w *Rewriter) Write(body func(i int) (Body, error)) ([]byte, error) {
	// The code is first, because bodies add globals, which stand before it.
	code, err := w.code(body)
	if err != nil {
		return nil, err
	}
	const heads = 1 + 5 // identifier and length of a section
	size := len(preamble) + len(code) + len(w.globals) + 3*heads
	for _, s := range w.m.sections {
		if s.id != Code {
			size += heads + len(s.body)
		}
	}
	out := make([]byte, 0, size)
	out = append(out, preamble...)
	done := w.added == 0
	for _, s := range w.m.sections {
		if !done && s.id != Global && s.id != Custom && behindGlobals(s.id) {
			out = w.appendGlobals(out, nil)
			done = true
		}
		switch {
		case s.id == Code:
			out = append(out, byte(Code))
			out = AppendU32(out, uint32(len(code)))
			out = append(out, code...)
		case s.id == Global && !done:
			out = w.appendGlobals(out, s.body)
			done = true
		case s.id == Custom && speaksOfCode(s.body):
		default:
			out = append(out, byte(s.id))
			out = AppendU32(out, uint32(len(s.body)))
			out = append(out, s.body...)
		}
	}
	if !done {
		out = w.appendGlobals(out, nil)
	}
	return out, nil
}

// behindGlobals reports whether the section of that identifier follows the globals.
func behindGlobals(id Section) bool { return id > Global && id != Tag }

// code returns the content of the code section.
func (w *Rewriter) code(body func(i int) (Body, error)) ([]byte, error) {
	size := 0
	for _, f := range w.m.Functions {
		size += len(f.Decl) + len(f.Code) + paddedSize
	}
	code := AppendU32(make([]byte, 0, size+size/32), uint32(len(w.m.Functions)))
	for i := range w.m.Functions {
		f := &w.m.Functions[i]
		b, err := body(i)
		if err != nil {
			return nil, err
		}
		at := len(code)
		code = append(code, make([]byte, paddedSize)...)
		if b.Code == nil {
			code = append(append(code, f.Decl...), f.Code...)
		} else {
			code = append(appendLocals(code, f, b.Locals), b.Code...)
		}
		if len(code) > math.MaxUint32 {
			return nil, errLarge
		}
		setPadded(code[at:], uint32(len(code)-at-paddedSize))
	}
	return code, nil
}

// appendLocals appends the function's declaration of locals and more of them.
func appendLocals(b []byte, f *Func, more []ValType) []byte {
	groups, n := binary.Uvarint(f.Decl)
	runs := 0
	for i, t := range more {
		if i == 0 || more[i-1] != t {
			runs++
		}
	}
	b = AppendU32(b, uint32(groups)+uint32(runs))
	b = append(b, f.Decl[n:]...)
	for len(more) > 0 {
		run := 1
		for run < len(more) && more[run] == more[0] {
			run++
		}
		b = append(AppendU32(b, uint32(run)), byte(more[0]))
		more = more[run:]
	}
	return b
}

// appendGlobals appends the section of globals: those in body, and the added ones.
func (w *Rewriter) appendGlobals(b, body []byte) []byte {
	count := uint64(0)
	if body != nil {
		var n int
		count, n = binary.Uvarint(body)
		body = body[n:]
	}
	head := AppendU32(nil, uint32(count)+uint32(w.added))
	b = append(b, byte(Global))
	b = AppendU32(b, uint32(len(head)+len(body)+len(w.globals)))
	return append(append(append(b, head...), body...), w.globals...)
}

// speaksOfCode reports whether a custom section holds offsets into code, which no longer fit.
func speaksOfCode(body []byte) bool {
	r := &reader{bytes: body}
	name := string(r.take(r.u32()))
	for _, prefix := range []string{".debug_", "reloc.", "metadata.code."} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return name == "linking" || name == "sourceMappingURL" || bytes.Equal([]byte(name), []byte("external_debug_info"))
}
