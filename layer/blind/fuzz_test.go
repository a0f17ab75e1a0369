package blind

import (
	"context"
	"math/rand/v2"
	"testing"

	"usui/layer/blind/wasm"
	"usui/layer/blind/wasmtest"
)

// FuzzRewrite holds that no bytes make a rewrite panic, and that what is rewritten without an error is valid again.
func FuzzRewrite(f *testing.F) {
	f.Add(wasmtest.Random(1, 1), uint8(Light))
	f.Add(wasmtest.Random(2, 2), uint8(All))
	f.Add(one(wasm.I32, nil, wasm.AppendI32(nil, 0xc3)), uint8(Branches))
	f.Fuzz(func(t *testing.T, module []byte, policy uint8) {
		// The keys are the same for the same input, so that its coverage nearly is. Validation's is not quite: run it with -fuzzminimizetime 5x.
		o := Options{Policy: Policy(policy) % (None + 1), Unscanned: true, random: rand.NewChaCha8([32]byte{})}
		rewritten, _, err := Rewrite(context.Background(), module, o)
		if err != nil {
			return
		}
		if err := validate(context.Background(), rewritten, AllFeatures); err != nil {
			t.Errorf("the rewritten module: %v", err)
		}
	})
}

// FuzzSameBehaviour holds that random functions do the same when they are rewritten.
func FuzzSameBehaviour(f *testing.F) {
	f.Add(uint64(1), uint8(Light))
	f.Fuzz(func(t *testing.T, seed uint64, policy uint8) {
		compareModule(t, wasmtest.Random(seed, 4), 4, Options{Policy: Policy(policy) % (None + 1), Unscanned: seed%4 > 0})
	})
}
