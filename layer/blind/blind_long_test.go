//go:build long

package blind

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestLongRandomFunctionsDoTheSame compares 100,000 random functions that the short test does not have.
func TestLongRandomFunctionsDoTheSame(t *testing.T) { compareRandom(t, 1_000_000, 100_000) }

// TestLongSpecificationTests runs all scripts under each policy on each engine.
func TestLongSpecificationTests(t *testing.T) {
	for p := range None {
		for _, e := range engines {
			t.Run(fmt.Sprintf("%v/%s", p, e.name), func(t *testing.T) {
				t.Parallel()
				specification(t, e.config, func(int) Policy { return p })
			})
		}
	}
}

// longKeys is how many times the long test rewrites each module.
const longKeys = 20

// TestLongNothingChosenIsLeft holds the promise of TestNothingChosenIsLeft for all programs that wazero publishes, the kernels, and tools of Go.
func TestLongNothingChosenIsLeft(t *testing.T) {
	modules := map[string][]byte{"kernels": buildKernels(t)}
	publishedPrograms(t, modules)
	for _, tool := range []string{"cmd/gofmt", "cmd/nm"} {
		modules[tool] = buildTool(t, tool)
	}
	code, found := 0, 0
	for name, module := range modules {
		t.Run(name, func(t *testing.T) {
			before, size := nothingChosenIsLeft(t, name, module, longKeys)
			code, found = code+size, found+before
		})
	}
	t.Logf("%d modules, %d bytes of code, %d terminators in constants before", len(modules), code, found)
	if len(modules) < 30 || code < 20<<20 {
		t.Errorf("%d modules with %d bytes of code, want 30 with 20 MiB or more", len(modules), code)
	}
}

// publishedPrograms adds the programs among wazero's tests and examples, without the specification's many small ones.
func publishedPrograms(t *testing.T, modules map[string][]byte) {
	root := wazeroSource(t)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".wasm") || strings.Contains(path, "spectest") {
			return err
		}
		module, err := os.ReadFile(path)
		if _, _, failed := Rewrite(t.Context(), module, Options{Policy: None}); failed == nil { // some are there to be refused
			modules[strings.TrimPrefix(path, root+"/")] = module
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func buildTool(t *testing.T, name string) []byte {
	out := filepath.Join(t.TempDir(), filepath.Base(name)+".wasm")
	build := exec.Command("go", "build", "-o", out, name)
	build.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", name, err, text)
	}
	module, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return module
}
