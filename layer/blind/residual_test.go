package blind

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"usui/layer/blind/scan"
	"usui/layer/blind/wasm"
	"usui/layer/blind/wasmtest"
)

// publicModules are programs of four compilers, as wazero publishes them.
var publicModules = []string{
	"imports/wasi_snapshot_preview1/testdata/cargo-wasi/wasi.wasm",    // Rust
	"imports/wasi_snapshot_preview1/example/testdata/tinygo/cat.wasm", // TinyGo
	"imports/wasi_snapshot_preview1/example/testdata/zig-cc/cat.wasm", // C
	"experimental/testdata/cpp_exceptions.wasm",                       // C++
}

// TestNothingChosenIsLeft holds the promise on real programs: with any keys, no terminator lies in what a program's constants reach.
func TestNothingChosenIsLeft(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Log("constants of arm64 code are looked at in the first stage")
		return
	}
	found := 0
	for _, name := range publicModules {
		module, err := os.ReadFile(filepath.Join(wazeroSource(t), name))
		if err != nil {
			t.Fatal(err)
		}
		before, _ := nothingChosenIsLeft(t, name, module, 2)
		found += before
	}
	if found == 0 {
		t.Error("the original modules have no terminator in a constant: the test does not show what it should")
	}
}

// nothingChosenIsLeft rewrites a module a number of times, with other keys each time. It returns how many terminators there were before, and bytes of code.
func nothingChosenIsLeft(t *testing.T, name string, module []byte, times int) (before, code int) {
	t.Helper()
	original := scanned(t, module)
	for _, o := range original.Offenders {
		if !new(findings).enginesOwn(o) {
			before++
		}
	}
	for range times {
		_, report, err := Rewrite(context.Background(), module, Options{LargeFrames: true})
		if err != nil || !report.Scanned || report.Residual.Chosen() != 0 {
			t.Errorf("%s: %v; %+v", name, err, report)
		}
	}
	return before, original.Size.Code
}

// TestMemoryOfARewrite holds the bound on what the first stage allocates, all in all: three times the module, and 80 bytes for each function.
func TestMemoryOfARewrite(t *testing.T) {
	program, err := os.ReadFile(filepath.Join(wazeroSource(t), "imports/wasi_snapshot_preview1/testdata/zig-cc/wasi.wasm"))
	if err != nil {
		t.Fatal(err)
	}
	const n = 100_000
	empty := wasmtest.Module{Funcs: make([]wasmtest.Func, n)}
	const nested = 600
	nest := slices.Concat(bytes.Repeat([]byte{byte(wasm.OpLoop), 0x40}, nested), bytes.Repeat([]byte{byte(wasm.OpEnd)}, nested))
	loops := one(0, nil, bytes.Repeat(nest, 1000))
	for name, module := range map[string][]byte{"a program": program, "empty functions": empty.Bytes(), "nested loops": loops} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		w, err := newRewriter(module, Options{}.withDefaults())
		if err != nil {
			t.Fatal(err)
		}
		if err := w.treatAll(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, _, err := w.assemble(nil); err != nil {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		if got, most := after.TotalAlloc-before.TotalAlloc, uint64(3*len(module)+80*len(w.m.Functions)); got > most {
			t.Errorf("%s: %d bytes were allocated for a module of %d with %d functions, more than %d", name, got, len(module), len(w.m.Functions), most)
		}
	}
}

// scanned compiles a module as it is and scans its code.
func scanned(t *testing.T, module []byte) scan.Report {
	t.Helper()
	ctx := context.Background()
	c, err := newCompiler(ctx, compilerConfig(AllFeatures), true)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close(ctx)
	compiled, report, err := c.compile(ctx, module, scan.Options{})
	if err != nil {
		t.Fatal(err)
	}
	compiled.Close(ctx)
	return report
}
