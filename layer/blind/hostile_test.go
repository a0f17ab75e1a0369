package blind

import (
	"bytes"
	"context"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"usui/layer/blind/terminator"
	"usui/layer/blind/wasm"
	"usui/layer/blind/wasmtest"
)

// one returns a module of one function "f" without parameters.
func one(result wasm.ValType, locals []wasm.ValType, code []byte) []byte {
	f := wasmtest.Func{Name: "f", Locals: locals, Code: code}
	if result != 0 {
		f.Type.Results = []wasm.ValType{result}
	}
	m := wasmtest.Module{Funcs: []wasmtest.Func{f}, Pages: 1}
	return m.Bytes()
}

// rewriteAndScan rewrites and compiles, and fails if anything chosen is left.
func rewriteAndScan(t *testing.T, module []byte, o Options) []byte {
	t.Helper()
	if runtime.GOARCH != "amd64" {
		o.Arch, o.Unscanned = "amd64", true
	}
	rewritten, report, err := Rewrite(context.Background(), module, o)
	if err != nil {
		t.Fatalf("Rewrite: %v", err)
	}
	if !o.Unscanned && (!report.Scanned || report.Residual.Chosen() > 0) {
		t.Errorf("scanned %v, left in code: %v", report.Scanned, report.Residual)
	}
	return rewritten
}

// callOn instantiates a module on each engine and calls f.
func callOn(t *testing.T, module []byte, check func(engine string, results []uint64, err error)) {
	t.Helper()
	ctx := context.Background()
	for _, e := range engines {
		r := wazero.NewRuntimeWithConfig(ctx, e.config().WithCoreFeatures(AllFeatures))
		instance, err := r.Instantiate(ctx, module)
		if err != nil {
			t.Fatalf("%s: %v", e.name, err)
		}
		results, err := instance.ExportedFunction("f").Call(ctx)
		check(e.name, results, err)
		r.Close(ctx)
	}
}

func TestTenThousandBadConstants(t *testing.T) {
	var code []byte
	want := uint64(0)
	code = wasm.AppendI64(code, 0)
	for i := range uint64(10_000) {
		v := 0xc30f05c3_00c20000 | i<<48 ^ i
		want += v
		code = wasm.AppendOp(wasm.AppendI64(code, v), wasm.OpI64Add)
	}
	rewritten := rewriteAndScan(t, one(wasm.I64, nil, code), Options{})
	callOn(t, rewritten, func(engine string, results []uint64, err error) {
		if err != nil || results[0] != want {
			t.Errorf("%s: f() = %x, %v, want %#x", engine, results, err, want)
		}
	})
}

func TestJumpTableOfReturns(t *testing.T) {
	for _, n := range []int{0xc1, 0xc3, 0xcf} {
		code := []byte{byte(wasm.OpBlock), 0x40}
		code = wasm.AppendI32(code, 7)
		code = wasm.AppendIndex(code, wasm.OpBrTable, uint32(n))
		code = append(code, make([]byte, n+1)...)
		code = append(code, byte(wasm.OpEnd))
		rewritten := rewriteAndScan(t, one(wasm.I32, nil, wasm.AppendI32(code, 9)), Options{})
		callOn(t, rewritten, func(engine string, results []uint64, err error) {
			if err != nil || results[0] != 9 {
				t.Errorf("br_table of %#x: %s: f() = %v, %v", n, engine, results, err)
			}
		})
	}

	w, err := newRewriter(one(0, nil, nil), Options{}.withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	table := wasm.AppendIndex(nil, wasm.OpBrTable, 0xc3c3)
	table = append(table, bytes.Repeat([]byte{0x81, 0}, 0xc3c3)...) // labels 1, and the default 2, in two bytes each
	original := wasm.NewScanner(append(table, 0x82, 0))
	original.Next()
	f := &function{w: w}
	if err := f.appendPadded(original.Instr()); err != nil {
		t.Fatal(err)
	}
	padded := wasm.NewScanner(f.out)
	if !padded.Next() || padded.Pos() != len(f.out) || padded.Instr().Index != 0xc400 || !bytes.HasSuffix(f.out, bytes.Repeat([]byte{0x82, 0}, 0xc400-0xc3c3+1)) {
		t.Errorf("br_table of 0xc3c3 became one of %#x: %v", padded.Instr().Index, padded.Err())
	}
	// A count that is dirty in its third byte would take 65,536 labels more.
	err = f.appendPadded(&wasm.Instr{Index: 0xc30000})
	if err == nil || !strings.Contains(err.Error(), "br_table of 12779520 labels") {
		t.Errorf("br_table of 0xc30000: error %v", err)
	}
}

func wantRefusal(t *testing.T, module []byte, o Options, want string) {
	t.Helper()
	if _, _, err := Rewrite(context.Background(), module, o); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("Rewrite: error %v, want %q in it", err, want)
	}
}

// TestLargeFrames: 60 KB of locals that all live across a call cannot be laid out without returns in their offsets.
func TestLargeFrames(t *testing.T) {
	const n = 7700
	locals := make([]wasm.ValType, n)
	var code []byte
	for i := range locals {
		locals[i] = wasm.I64
		code = wasm.AppendMem(wasm.AppendI32(code, uint32(8*i)), 0x29, wasm.MemArg{}) // i64.load
		code = wasm.AppendIndex(code, wasm.OpLocalSet, uint32(i))
	}
	code = append(code, byte(wasm.OpMemorySize), 0, byte(wasm.OpMemoryGrow), 0, byte(wasm.OpDrop))
	code = wasm.AppendI64(code, 0)
	for i := range locals {
		code = wasm.AppendOp(wasm.AppendIndex(code, wasm.OpLocalGet, uint32(i)), wasm.OpI64Add)
	}
	module := one(wasm.I64, locals, code)
	wantRefusal(t, module, Options{}, "7700 locals: its stack frame may reach 61600 bytes")
	_, report, err := Rewrite(context.Background(), module, Options{LargeFrames: true})
	if err != nil || report.Scanned && report.Residual[Frame] == 0 {
		t.Errorf("with LargeFrames: %v, left in code: %v", err, report.Residual)
	}
}

// TestKeysCannotBeNamed: an index that is out of range in the original is one of a key in the rewritten module.
func TestKeysCannotBeNamed(t *testing.T) {
	for index := range uint32(firstKeys + 2) {
		get := wasm.AppendOp(wasm.AppendIndex(wasm.AppendI64(nil, 0xc3), wasm.OpGlobalGet, index), wasm.OpI64Xor)
		wantRefusal(t, one(wasm.I64, nil, get), Options{}, "invalid module")
		set := wasm.AppendIndex(wasm.AppendI64(nil, 0xc3), wasm.OpGlobalSet, index)
		wantRefusal(t, one(0, nil, set), Options{}, "invalid module")
	}
}

func TestIndicesThatCodeWouldHold(t *testing.T) {
	funcs := make([]wasmtest.Func, 0xc4)
	for i := range funcs {
		funcs[i] = wasmtest.Func{Name: wasmtest.Name(i)}
	}
	funcs[0].Code = append(wasm.AppendIndex(nil, wasm.OpRefFunc, 0xc3), byte(wasm.OpDrop))
	m := wasmtest.Module{Funcs: funcs}
	wantRefusal(t, m.Bytes(), Options{}, "function 0: ref.func 195: code would hold this index")
}

func TestNotModules(t *testing.T) {
	valid := one(wasm.I32, nil, wasm.AppendI32(nil, 0xc3))
	for n := range valid {
		if _, _, err := Rewrite(context.Background(), valid[:n], Options{Unscanned: true}); err == nil && n > 8 {
			if _, err := wasm.Parse(valid[:n]); err != nil {
				t.Errorf("Rewrite of the first %d of %d bytes: no error", n, len(valid))
			}
		}
	}
	wantRefusal(t, []byte("\x7fELF"), Options{}, "not a WebAssembly module")
	wantRefusal(t, valid, Options{Arch: "riscv64"}, "riscv64")
	wantRefusal(t, one(wasm.I32, nil, []byte("\xfd\x80\x02")), Options{}, "invalid module")
}

// TestKeysStayOutOfCode looks for each key's bytes, and for the constants that they blind, in the bodies.
func TestKeysStayOutOfCode(t *testing.T) {
	var code []byte
	secrets := []uint64{0xc3c3c3c3_11223344, 0xcafe_0f05_1234_5678}
	code = wasm.AppendI64(code, secrets[0])
	code = wasm.AppendOp(wasm.AppendI64(code, secrets[1]), wasm.OpI64Add)
	w, err := prepare(context.Background(), one(wasm.I64, nil, code), Options{}.withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range w.keys.list {
		secrets = append(secrets, k.value)
	}
	body := w.functions[0].body.Code
	for s := wasm.NewScanner(body); s.Next(); {
		for _, secret := range secrets {
			if s.Instr().Op == wasm.OpI64Const && s.Instr().Value == secret {
				t.Errorf("the body has a constant that it should not have")
			}
		}
	}
	if n := len(w.keys.list); n < firstKeys {
		t.Errorf("%d keys, want %d or more", n, firstKeys)
	}
}

// TestKeys holds that no key and nothing blinded has a terminator, for constants that are made to be hard.
func TestKeys(t *testing.T) {
	for _, set := range []terminator.Set{terminator.Ret, terminator.Light, terminator.All} {
		for _, arch := range []terminator.Arch{terminator.AMD64, terminator.ARM64} {
			k := keys{set: set, arch: arch, random: Options{}.withDefaults().random}
			for i := range uint64(2000) {
				v, n := i*0x9e3779b97f4a7c15, 4+4*int(i%2)
				got, err := k.forValue(v, n)
				if err != nil {
					t.Fatal(err)
				}
				if !set.Clean(arch, bytesOf(got.value, 8)) || !set.Strict(arch, bytesOf(got.value^v, n)) {
					t.Fatalf("%v, %v: a key does not fit the constant %#x", set, arch, v)
				}
			}
			if len(k.list) > 200 {
				t.Errorf("%v, %v: %d keys for 2000 constants", set, arch, len(k.list))
			}
		}
	}
}

// TestFloatsKeepTheirBits: signalling NaNs, payloads and signs come out as they were written.
func TestFloatsKeepTheirBits(t *testing.T) {
	for _, bits := range []uint32{0x7fa0c3c3, 0xffc3c2ff, 0x7f80c300, 0x80000000, 0xc3c3c3c3, 0x7fc000c3} {
		code := binary.LittleEndian.AppendUint32([]byte{byte(wasm.OpF32Const)}, bits)
		rewritten := rewriteAndScan(t, one(wasm.F32, nil, code), Options{Policy: All, Unscanned: true})
		callOn(t, rewritten, func(engine string, results []uint64, err error) {
			if err != nil || uint32(results[0]) != bits {
				t.Errorf("f32 %#x: %s: f() = %x, %v", bits, engine, results, err)
			}
		})
	}
	for _, bits := range []uint64{0x7ff4_c3c3_0f05_0001, 0xfff8_0000_0000_00c3, 0x7ff0_0000_c300_0000, 1 << 63, math.Float64bits(-0.1) | 0xc3} {
		code := binary.LittleEndian.AppendUint64([]byte{byte(wasm.OpF64Const)}, bits)
		rewritten := rewriteAndScan(t, one(wasm.F64, nil, code), Options{})
		callOn(t, rewritten, func(engine string, results []uint64, err error) {
			if err != nil || results[0] != bits {
				t.Errorf("f64 %#x: %s: f() = %x, %v", bits, engine, results, err)
			}
		})
	}
}

// TestOffsetsTrapAtTheEndOfMemory walks addresses around each boundary: of the memory, of 4 GiB, and of the part that is added.
func TestOffsetsTrapAtTheEndOfMemory(t *testing.T) {
	ctx := context.Background()
	for _, op := range []wasm.Op{0x2d, 0x2f, 0x28, 0x29, 0x3a, 0x37, wasm.OpV128Load, wasm.OpV128Store} { // 1 to 16 bytes
		access, _ := op.Access()
		for _, offset := range []uint32{0xc3, 0xc3 - access.Size, 0xc2ff, 0xffc3, 0x10000 - access.Size, 0x00c30000, 0xc3c3c3c3, 0xffffffc3, 0xffffffff} {
			var code []byte
			code = wasm.AppendIndex(code, wasm.OpLocalGet, 0)
			for _, above := range access.Above {
				code = appendZero(code, above)
			}
			code = wasm.AppendMem(code, op, wasm.MemArg{Offset: uint64(offset)})
			if access.Above == nil {
				code = wasm.AppendOp(code, wasm.OpDrop)
			}
			m := wasmtest.Module{Pages: 1, Funcs: []wasmtest.Func{{Name: "f", Type: wasmtest.Type{Params: []wasm.ValType{wasm.I32}}, Code: code}}}
			rewritten := rewriteAndScan(t, m.Bytes(), Options{Unscanned: offset != 0xc3})
			for _, e := range engines {
				r := wazero.NewRuntimeWithConfig(ctx, e.config())
				instance, err := r.Instantiate(ctx, rewritten)
				if err != nil {
					t.Fatal(err)
				}
				for _, address := range around(offset, access.Size) {
					_, err := instance.ExportedFunction("f").Call(ctx, api.EncodeU32(address))
					inside := uint64(address)+uint64(offset)+uint64(access.Size) <= 0x10000
					if (err == nil) != inside || err != nil && !strings.Contains(err.Error(), "out of bounds memory access") {
						t.Errorf("%s: Op(%#x) offset %#x at %#x: error %v, want one: %v", e.name, uint16(op), offset, address, err, !inside)
					}
				}
				r.Close(ctx)
			}
		}
	}
}

func appendZero(b []byte, t wasm.ValType) []byte {
	switch t {
	case wasm.I32:
		return wasm.AppendI32(b, 0)
	case wasm.I64:
		return wasm.AppendI64(b, 0)
	}
	return wasm.AppendV128(b, wasm.OpV128Const, [16]byte{})
}

// around returns addresses near those where something changes.
func around(offset, size uint32) (list []uint32) {
	for _, at := range []uint32{0, 0x10000, 0x10000 - offset, -offset, ^uint32(0xc3) + 1, 1 << 31} {
		for d := -2 * int(size); d <= 2*int(size); d++ {
			list = append(list, at+uint32(d))
		}
	}
	return list
}

// TestSplitOffset: the parts of an offset make the whole, hold nothing, and leave an address that saturates outside of a memory of 4 GiB: the end of
// the access is then 1<<32 - 1 + rest + size.
func TestSplitOffset(t *testing.T) {
	w, err := newRewriter(one(0, nil, nil), Options{}.withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	blinded := 0
	for range 20_000 {
		size := uint32(1) << r.IntN(5)
		offset := uint64(r.Uint32())>>(8*r.IntN(4))&^0xff00 | 0xc300
		s := w.splitOffset(offset, size)
		if s.rest+uint64(s.added) != offset || math.MaxUint32+s.rest+uint64(size) <= 1<<32 {
			t.Fatalf("splitOffset(%#x, %d) = %+v", offset, size, s)
		}
		if w.dirtyOffset(s.rest, size) || !s.blind && !w.cleanNumber(uint64(s.added)) {
			t.Fatalf("splitOffset(%#x, %d) = %+v, which is not clean", offset, size, s)
		}
		if s.blind {
			blinded++
		}
	}
	if blinded > 5000 { // small ones have few parts
		t.Errorf("%d of 20000 offsets found no clean parts", blinded)
	}
}
