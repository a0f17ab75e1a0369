package blind

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"strings"
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

// compareRandom makes modules from seeds on, until they have that many functions.
func compareRandom(t *testing.T, seed uint64, functions int) {
	const each = 100
	policies := []Policy{Light, Branches, All}
	var blinded Stats
	for i := range functions / each {
		module := wasmtest.Random(seed+uint64(i), each)
		for _, e := range engines {
			want := effects(t, e.config, module, each)
			p := policies[i%len(policies)]
			rewritten, report, err := Rewrite(context.Background(), module, Options{Policy: p, Unscanned: e.name == "interpreter"})
			if err != nil {
				t.Fatalf("seed %d: Rewrite by %v: %v", seed+uint64(i), p, err)
			}
			blinded.add(report.Stats)
			compareEffects(t, fmt.Sprintf("seed %d, %v on the %s", seed+uint64(i), p, e.name), effects(t, e.config, rewritten, each), want)
		}
		if t.Failed() {
			return
		}
	}
	t.Logf("treated: %+v", blinded)
	for name, n := range map[string]int{
		"blinded": blinded.Blinded, "hoisted": blinded.Hoisted, "masked": blinded.Masked,
		"split": blinded.Split, "shuffles": blinded.Shuffles, "padded": blinded.Padded,
	} {
		if n == 0 {
			t.Errorf("nothing was %s: the test does not show what it should", name)
		}
	}
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
