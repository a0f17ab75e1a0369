package blind

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"usui/layer/blind/wasm"
	"usui/layer/blind/wasmtest"
)

// engines are those that modules are compared on.
var engines = []struct {
	name   string
	config func() wazero.RuntimeConfig
}{
	{"compiler", wazero.NewRuntimeConfigCompiler},
	{"interpreter", wazero.NewRuntimeConfigInterpreter},
}

// effect is what a call did.
type effect struct {
	results []uint64
	trap    string
	memory  []byte
}

// TestRandomFunctionsDoTheSame compares 10,000 random functions with what they are rewritten to.
func TestRandomFunctionsDoTheSame(t *testing.T) { compareRandom(t, 1, 10_000) }

// compareRandom makes modules from seeds on, until they have that many functions. Each is rewritten by one policy; every fourth rewrite
// of those that have a second stage goes through it.
func compareRandom(t *testing.T, seed uint64, functions int) {
	const each = 100
	var (
		mu    sync.Mutex
		total Stats
	)
	t.Run("seeds", func(t *testing.T) {
		for i := range functions / each {
			t.Run(fmt.Sprint(seed+uint64(i)), func(t *testing.T) {
				t.Parallel()
				p := []Policy{Light, Branches, Light, All}[i%4]
				stats := compareModule(t, wasmtest.Random(seed+uint64(i), each), each, Options{Policy: p, Unscanned: i%4 > 0})
				mu.Lock()
				defer mu.Unlock()
				total.add(stats)
			})
		}
	})
	t.Logf("treated: %+v", total)
	for name, n := range map[string]int{
		"blinded": total.Blinded, "hoisted": total.Hoisted, "masked": total.Masked,
		"split": total.Split, "shuffled": total.Shuffles, "padded": total.Padded,
	} {
		if n == 0 {
			t.Errorf("nothing was %s: the test does not show what it should", name)
		}
	}
}

// compareModule compares a module of n functions with its rewrite, on each engine.
func compareModule(t *testing.T, module []byte, n int, o Options) Stats {
	rewritten, report, err := Rewrite(context.Background(), module, o)
	if err != nil {
		t.Fatalf("Rewrite by %v: %v", o.Policy, err)
	}
	if o.Policy == Light && !o.Unscanned && report.Residual.Chosen() > 0 {
		t.Errorf("left in code: %v", report.Residual)
	}
	for _, e := range engines {
		what := fmt.Sprintf("%v on the %s", o.Policy, e.name)
		compareEffects(t, what, effects(t, e.config, rewritten, n), effects(t, e.config, module, n))
	}
	return report.Stats
}

func compareEffects(t *testing.T, what string, got, want []effect) {
	t.Helper()
	for i := range want {
		g, w := got[i], want[i]
		if g.trap != w.trap || !sameResults(g.results, w.results) {
			t.Errorf("%s: call %d = %x, %q, want %x, %q", what, i, g.results, g.trap, w.results, w.trap)
		} else if !bytes.Equal(g.memory, w.memory) {
			t.Errorf("%s: call %d left another memory", what, i)
		}
	}
}

// sameResults compares results of RandomType. A NaN that was computed may have any payload.
func sameResults(got, want []uint64) bool {
	if len(got) != len(want) {
		return false
	}
	for i, t := range wasmtest.RandomType.Results[:len(want)] {
		nan := false
		switch t {
		case wasm.F32:
			nan = isNaN32(got[i]) && isNaN32(want[i])
		case wasm.F64:
			nan = math.IsNaN(math.Float64frombits(got[i])) && math.IsNaN(math.Float64frombits(want[i]))
		}
		if got[i] != want[i] && !nan {
			return false
		}
	}
	return true
}

func isNaN32(bits uint64) bool { return math.IsNaN(float64(math.Float32frombits(uint32(bits)))) }

// effects calls each of n functions, with arguments that depend on its number, in one instance.
func effects(t *testing.T, config func() wazero.RuntimeConfig, module []byte, n int) []effect {
	t.Helper()
	ctx := context.Background()
	r := wazero.NewRuntimeWithConfig(ctx, config().WithCoreFeatures(AllFeatures))
	defer r.Close(ctx)
	instance, err := r.Instantiate(ctx, module)
	if err != nil {
		t.Fatalf("instantiate: %v", err)
	}
	var list []effect
	for i := range n {
		f := instance.ExportedFunction(wasmtest.Name(i))
		for _, x := range []uint64{uint64(i), math.MaxUint64 << i} {
			results, err := f.Call(ctx, api.EncodeU32(uint32(x)), x*0x9e3779b97f4a7c15, api.EncodeF32(float32(x)), api.EncodeF64(1/float64(x)))
			e := effect{results: results}
			if err != nil {
				e.trap, _, _ = strings.Cut(err.Error(), "\n")
			}
			if memory, ok := instance.Memory().Read(0, instance.Memory().Size()); ok && i%10 == 9 {
				e.memory = bytes.Clone(memory)
			}
			list = append(list, e)
		}
	}
	return list
}
