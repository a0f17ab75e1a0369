package blind

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"

	"usui/layer/blind/scan"
	"usui/layer/blind/terminator"
	"usui/layer/blind/wasm"
	"usui/layer/blind/wasmtest"
)

// TestEntryCodeHoldsNothing: wazero compiles entry code for each type, used or not, which no file of its cache holds. So it is read from memory,
// for types as large as they may be.
func TestEntryCodeHoldsNothing(t *testing.T) {
	if runtime.GOARCH != "amd64" || runtime.GOOS != "linux" {
		t.Log("the entry code of amd64 is looked at, through Linux's /proc")
		return
	}
	for _, v := range []wasm.ValType{wasm.I32, wasm.I64, wasm.F64, wasm.V128} {
		params, results := slices.Repeat([]wasm.ValType{v}, wasm.MaxParams), slices.Repeat([]wasm.ValType{v}, wasm.MaxResults)
		code := entryCode(t, wasmtest.Type{Params: params, Results: results})
		r, err := scan.Code(terminator.AMD64, code, nil, scan.Options{All: true})
		if err != nil {
			t.Fatal(err)
		}
		if r.Size.Instructions < 4*wasm.MaxParams {
			t.Fatalf("types of %#x: %d instructions are not the entry code", v, r.Size.Instructions)
		}
		for _, o := range r.Offenders {
			if o.Where != (scan.Where{First: scan.Operation, Last: scan.Operation}) {
				t.Errorf("types of %#x: %+v", v, o)
			}
		}
	}
}

// entryCode compiles a module with that type, and returns the largest code that appeared in memory and is in no file.
func entryCode(t *testing.T, typ wasmtest.Type) (code []byte) {
	t.Helper()
	m := wasmtest.Module{Funcs: []wasmtest.Func{{Name: "f"}, {Type: typ, Code: []byte{byte(wasm.OpUnreachable)}}}}
	ctx := context.Background()
	r := wazero.NewRuntimeWithConfig(ctx, compilerConfig(AllFeatures))
	defer r.Close(ctx)
	before := executable(t)
	blinded, _, err := Rewrite(ctx, m.Bytes(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	compiled, err := r.CompileModule(ctx, blinded)
	if err != nil {
		t.Fatal(err)
	}
	defer compiled.Close(ctx)
	for at, mapped := range executable(t) {
		if !bytes.Equal(before[at], mapped) && len(mapped) > len(code) {
			code = mapped
		}
	}
	return bytes.TrimRight(code, "\x00")
}

// executable returns the code of this process that is from no file, by addresses.
func executable(t *testing.T) map[string][]byte {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	memory, err := os.Open("/proc/self/mem")
	if err != nil {
		t.Fatal(err)
	}
	defer memory.Close()
	code := map[string][]byte{}
	for s := bufio.NewScanner(bytes.NewReader(maps)); s.Scan(); {
		fields := strings.Fields(s.Text())
		if len(fields) != 5 || !strings.Contains(fields[1], "x") {
			continue
		}
		var begin, end int64
		if _, err := fmt.Sscanf(fields[0], "%x-%x", &begin, &end); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, end-begin)
		if _, err := memory.ReadAt(b, begin); err != nil {
			continue // it is gone again
		}
		code[fields[0]] = b
	}
	return code
}

// TestNumbersOfEntryCode holds the same by arithmetic, for any mixture of types: displacements are sums of eights and sixteens, in one byte or in four, and
// the byte before them is a SIB byte (24: R12 or RSP) or the ModRM byte of what makes room on the stack (ec).
func TestNumbersOfEntryCode(t *testing.T) {
	const largest = 16 * (wasm.MaxParams + wasm.MaxResults)
	for _, p := range []Policy{Light, Ret, Branches} {
		set := p.set() &^ terminator.Direct
		for d := 0; d <= largest; d += 8 {
			for _, before := range []byte{0x24, 0xec} {
				code := append([]byte{0, before}, bytesOf(uint64(d), 4)...)
				if !set.Strict(terminator.AMD64, code) || d < 0x80 && !set.Strict(terminator.AMD64, code[:3]) {
					t.Errorf("%v: displacement %#x holds or begins a terminator", p, d)
				}
			}
		}
	}
	if terminator.Light.Clean(terminator.AMD64, bytesOf(0xc200, 4)) || largest >= 0xc200 {
		t.Errorf("displacements up to %#x reach the first one that holds a return", largest)
	}
}
