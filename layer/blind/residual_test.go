package blind

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"usui/layer/blind/scan"
	"usui/layer/blind/terminator"
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
		before := scanned(t, module)
		for _, o := range before.Offenders {
			if !new(findings).enginesOwn(o) {
				found++
			}
		}
		for range 2 { // the keys differ each time
			_, report, err := Rewrite(context.Background(), module, Options{})
			if err != nil || !report.Scanned || report.Residual.Chosen() != 0 || report.Residual[Frame] != 0 {
				t.Errorf("%s: %v; %+v", name, err, report)
			}
		}
	}
	if found == 0 {
		t.Error("the original modules have no terminator in a constant: the test does not show what it should")
	}
}

// scanned compiles a module as it is and scans its code.
func scanned(t *testing.T, module []byte) scan.Report {
	t.Helper()
	ctx := context.Background()
	c, err := newCompiler(ctx, AllFeatures)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close(ctx)
	compiled, report, err := c.compile(ctx, module, terminator.Light)
	if err != nil {
		t.Fatal(err)
	}
	compiled.Close(ctx)
	return report
}
