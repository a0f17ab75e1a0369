package blind

import (
	"strings"
	"testing"

	"usui/layer/blind/wasm"
	"usui/layer/blind/wasmtest"
)

// appendTrying appends what throws twice within two try_tables, the second time behind the inner one, and adds 1 to local 0 once both were caught. Another
// try_table is in it that cannot be reached.
func appendTrying(b []byte) []byte {
	try := []byte{byte(wasm.OpBlock), 0x40, byte(wasm.OpTryTable), 0x40, 1, 2, 0} // catch_all 0: the block
	throw, end := []byte{byte(wasm.OpThrow), 0}, byte(wasm.OpEnd)
	b = append(b, try...)
	b = append(b, try...)
	b = append(append(b, throw...), end, end)
	b = append(b, throw...)
	b = append(append(append(b, try...), throw...), end, end, end, end)
	b = wasm.AppendI32(wasm.AppendIndex(b, wasm.OpLocalGet, 0), 1)
	return wasm.AppendIndex(wasm.AppendOp(b, wasm.OpI32Add), wasm.OpLocalSet, 0)
}

// TestManyTryTables: code holds the numbers of try_tables, and those with c2 to cf in them are skipped.
func TestManyTryTables(t *testing.T) {
	number := wasmtest.Type{Results: []wasm.ValType{wasm.I32}}
	for _, tt := range []struct{ before, functions, times int }{
		{0, 1, 120}, {1, 1, 120}, {0, 200, 1}, {1, 15, 20},
	} {
		want := uint32(tt.functions * tt.times)
		m := wasmtest.Module{Tags: []uint32{0}, Funcs: []wasmtest.Func{{}}}
		f := wasmtest.Func{Name: "f", Type: number, Code: wasm.AppendI32(nil, 0xc3)} // is itself written again after a scan
		for i := range tt.functions {
			f.Code = wasm.AppendOp(wasm.AppendIndex(f.Code, wasm.OpCall, uint32(i+1)), wasm.OpI32Add)
			g := wasmtest.Func{Type: number, Locals: []wasm.ValType{wasm.I32}}
			if i == 0 {
				for range tt.before {
					g.Code = append(g.Code, emptyTry...)
				}
			}
			for range tt.times {
				g.Code = appendTrying(g.Code)
			}
			g.Code = wasm.AppendIndex(g.Code, wasm.OpLocalGet, 0)
			m.Funcs = append(m.Funcs, g)
		}
		m.Funcs = append(m.Funcs, f)
		rewritten := rewriteAndScan(t, m.Bytes(), Options{})
		callOn(t, rewritten, func(engine string, results []uint64, err error) {
			if err != nil || uint32(results[0]) != 0xc3+want {
				t.Errorf("%+v: %s: f() = %#x, %v, want %#x", tt, engine, results, err, 0xc3+want)
			}
		})
	}
}

// TestTryTablesKeepTheirNumbers: in a compilation of some functions, every try_table has the number that it has in the whole module.
func TestTryTablesKeepTheirNumbers(t *testing.T) {
	number := wasmtest.Type{Results: []wasm.ValType{wasm.I32}}
	m := wasmtest.Module{Tags: []uint32{0}, Funcs: []wasmtest.Func{{}}}
	for range 100 {
		code := wasm.AppendIndex(appendTrying(appendTrying(nil)), wasm.OpLocalGet, 0)
		m.Funcs = append(m.Funcs, wasmtest.Func{Type: number, Locals: []wasm.ValType{wasm.I32}, Code: code})
	}
	w, err := newRewriter(m.Bytes(), Options{Arch: "amd64"}.withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	if err := w.treatAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	if w.nextTry <= 400 || w.functions[49].stats.Tries == 0 {
		t.Fatalf("%d try_tables, none in front of those of function 49", w.nextTry)
	}
	for only := range m.Funcs {
		module, _, err := w.assemble(map[int]bool{only: true})
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range scanned(t, module).Offenders {
			t.Errorf("with function %d: %+v", only, o)
		}
	}
}

// TestNumbersOfTryTables holds which numbers are skipped.
func TestNumbersOfTryTables(t *testing.T) {
	try := wasm.Instr{Op: wasm.OpTryTable, Bytes: []byte("\x1f\x40\x01\x02\x00"), Imm: 1, Index: 1}
	for _, tt := range []struct {
		policy Policy
		next   uint32
		pads   int
		fails  bool
	}{
		{Light, 0xc1, 0, false}, {Light, 0xc2, 2, false}, {Light, 0xca, 2, false}, {Light, 0xcf, 1, false}, {None, 0xc2, 0, false},
		{Light, 0x10ff, 1, false}, {Light, 0xc200, 2 * 256, false}, {Light, 0xc20000, 0, true},
	} {
		w, err := newRewriter(one(0, nil, nil), Options{Arch: "amd64", Policy: tt.policy}.withDefaults())
		if err != nil {
			t.Fatal(err)
		}
		numbers := (&function{w: w, firstTry: tt.next}).tryNumbers()
		pads, err := numbers.number(w, &try)
		if tt.fails {
			if err == nil || !strings.Contains(err.Error(), "control-flow instructions; split the module") {
				t.Errorf("%#x: error %v", tt.next, err)
			}
		} else if err != nil || pads != tt.pads {
			t.Errorf("%v: in front of number %#x: %d, %v, want %d", tt.policy, tt.next, pads, err, tt.pads)
		}
	}
}
