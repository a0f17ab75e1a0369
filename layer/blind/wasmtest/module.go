package wasmtest

import (
	"fmt"

	"usui/layer/blind/wasm"
)

// Type is the type of a function.
type Type struct{ Params, Results []wasm.ValType }

// Func is a function, which is exported by its name unless that is empty.
type Func struct {
	Name   string
	Type   Type
	Locals []wasm.ValType
	Code   []byte // without the end
}

// Module is a module with at most one memory, which is exported as "memory".
type Module struct {
	Funcs    []Func
	Pages    uint32   // the memory's minimum; 0: there is none
	MaxPages uint32   // 0: as many as there are
	Tags     []uint32 // of exceptions: each has the type of the function with that number
	Globals  [][]byte // encoded: type, mutability, expression
	Data     []byte   // at address 0
}

// Bytes encodes the module.
func (m *Module) Bytes() []byte {
	b := []byte("\x00asm\x01\x00\x00\x00")
	count := wasm.AppendU32(nil, uint32(len(m.Funcs)))
	types, funcs, code := count, append([]byte(nil), count...), append([]byte(nil), count...)
	types = append([]byte(nil), types...)
	for i, f := range m.Funcs {
		types = appendTypes(appendTypes(append(types, 0x60), f.Type.Params), f.Type.Results)
		funcs = wasm.AppendU32(funcs, uint32(i))
		body := wasm.AppendU32(nil, uint32(len(f.Locals)))
		for _, t := range f.Locals {
			body = append(body, 1, byte(t))
		}
		body = append(append(body, f.Code...), byte(wasm.OpEnd))
		code = append(wasm.AppendU32(code, uint32(len(body))), body...)
	}
	b = appendSection(b, wasm.Type, types)
	b = appendSection(b, wasm.Function, funcs)
	if m.Pages > 0 {
		b = appendSection(b, wasm.Memory, wasm.AppendU32(wasm.AppendU32([]byte{1, 1}, m.Pages), max(m.Pages, m.MaxPages)))
	}
	if len(m.Tags) > 0 {
		tags := wasm.AppendU32(nil, uint32(len(m.Tags)))
		for _, t := range m.Tags {
			tags = wasm.AppendU32(append(tags, 0), t)
		}
		b = appendSection(b, wasm.Tag, tags)
	}
	if len(m.Globals) > 0 {
		globals := wasm.AppendU32(nil, uint32(len(m.Globals)))
		for _, g := range m.Globals {
			globals = append(globals, g...)
		}
		b = appendSection(b, wasm.Global, globals)
	}
	b = appendSection(b, wasm.Export, m.exports())
	b = appendSection(b, wasm.Code, code)
	if len(m.Data) > 0 {
		data := []byte{1, 0, byte(wasm.OpI32Const), 0, byte(wasm.OpEnd)}
		b = appendSection(b, wasm.Data, append(wasm.AppendU32(data, uint32(len(m.Data))), m.Data...))
	}
	return b
}

func (m *Module) exports() []byte {
	var list []byte
	n := uint32(0)
	export := func(name string, kind byte, index int) {
		n++
		list = append(wasm.AppendU32(list, uint32(len(name))), name...)
		list = wasm.AppendU32(append(list, kind), uint32(index))
	}
	for i, f := range m.Funcs {
		if f.Name != "" {
			export(f.Name, 0, i)
		}
	}
	if m.Pages > 0 {
		export("memory", 2, 0)
	}
	return append(wasm.AppendU32(nil, n), list...)
}

func appendTypes(b []byte, types []wasm.ValType) []byte {
	b = wasm.AppendU32(b, uint32(len(types)))
	for _, t := range types {
		b = append(b, byte(t))
	}
	return b
}

func appendSection(b []byte, id wasm.Section, content []byte) []byte {
	return append(wasm.AppendU32(append(b, byte(id)), uint32(len(content))), content...)
}

// Name is the name of the n-th function of a random module.
func Name(n int) string { return fmt.Sprintf("f%d", n) }
