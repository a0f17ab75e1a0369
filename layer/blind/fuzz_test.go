package blind

import (
	"context"
	"math/rand/v2"
	"testing"

	"github.com/tetratelabs/wazero"

	"usui/layer/blind/wasm"
	"usui/layer/blind/wasmtest"
)

// FuzzRewrite holds that no bytes make a rewrite panic, and that what is rewritten without an error is valid again.
func FuzzRewrite(f *testing.F) {
	f.Add(wasmtest.Random(1, 1), uint8(Light))
	f.Add(wasmtest.Random(2, 2), uint8(All))
	f.Add(one(wasm.I32, nil, wasm.AppendI32(nil, 0xc3)), uint8(Branches))
	f.Fuzz(rewriteHolds)
}

// FuzzBody is FuzzRewrite for one function, whose bytes no length around them binds.
func FuzzBody(f *testing.F) {
	constant := string(wasm.AppendI32(nil, 0xc3050f)) + "\x1a"
	for _, code := range []string{
		constant,
		"\x02\x40" + constant + "\x0b", "\x03\x7f\x41\x00\x0b\x1a", "\x20\x00\x04\x70\xd0\x70\x05\xd2\x00\x0b\x1a", // block, loop, if
		"\x02\x63\x70\xd0\x70" + constant + "\x0b\x1a", "\x02\x64\x70\xd2\x00\x0b\x1a", "\x02\x63\x00\xd0\x00\x0b\x1a", "\x02\x00" + constant + "\x0b", // types of references
		"\x02\xe3\x7f\x70\xd0\x70" + constant + "\x0b\x1a", "\x02\xc0\x7f\x0b", // overlong ones
		"\xd0\x70\xd0\x70\x41\x01\x1c\x01\x70\x1a", string(typedSelect), "\xd0\x00\xd1\x1a", // select, ref.is_null
		"\x1f\x40\x00" + constant + "\x0b", "\x02\x40\x20\x00\x0e\x02\x00\x01\x00\x0b", // try_table, br_table
		"\x20\x00\x28\x02\xc3\x86\x03\x1a", "\x20\x04\x20\x04\xfd\x0d\xc3\x05\x0f\x05\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x1a", // an offset, a shuffle
	} {
		f.Add([]byte(code), uint8(Light))
		f.Add([]byte(code), uint8(All))
	}
	locals := []wasm.ValType{wasm.I32, wasm.I64, wasm.F32, wasm.F64, wasm.V128, 0x70, 0x6f}
	f.Fuzz(func(t *testing.T, code []byte, policy uint8) { rewriteHolds(t, one(0, locals, code), policy) })
}

func rewriteHolds(t *testing.T, module []byte, policy uint8) {
	// The keys are the same for the same input, so that its coverage nearly is. Validation's is not quite: run it with -fuzzminimizetime 5x.
	o := Options{Policy: Policy(policy) % (None + 1), Unscanned: true, random: rand.NewChaCha8([32]byte{})}
	ctx := context.Background()
	rewritten, _, err := Rewrite(ctx, module, o)
	if err != nil {
		return
	}
	if err := validate(ctx, rewritten, AllFeatures); err != nil {
		t.Errorf("the rewritten module: %v", err)
	}
	if err := validate(ctx, spaced(t, module), AllFeatures); err != nil {
		t.Errorf("wazero cuts it into other instructions: %v", err)
	}
	const small = 2048 // bytes, so that compiling takes little time
	if len(module) > small {
		return
	}
	r := wazero.NewRuntimeWithConfig(ctx, compilerConfig(AllFeatures))
	defer r.Close(ctx)
	if _, err := compileModule(ctx, r, rewritten); err != nil {
		t.Errorf("the rewritten module is valid, but: %v", err)
	}
}

// spaced returns the module with a nop in front of each instruction: valid for an engine that sees the same instructions.
func spaced(t *testing.T, module []byte) []byte {
	t.Helper()
	m, err := wasm.Parse(module)
	if err != nil {
		t.Fatal(err)
	}
	out, err := wasm.NewRewriter(m).Write(func(i int) (wasm.Body, error) {
		var code []byte
		for s := wasm.NewScanner(m.Functions[i].Code); s.Next(); {
			code = append(append(code, byte(wasm.OpNop)), s.Instr().Bytes...)
		}
		return wasm.Body{Code: code}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// FuzzSameBehaviour holds that random functions do the same when they are rewritten.
func FuzzSameBehaviour(f *testing.F) {
	f.Add(uint64(1), uint8(Light))
	f.Fuzz(func(t *testing.T, seed uint64, policy uint8) {
		compareModule(t, wasmtest.Random(seed, 4), 4, Options{Policy: Policy(policy) % (None + 1), Unscanned: seed%4 > 0})
	})
}
