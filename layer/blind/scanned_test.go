package blind

import (
	"context"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"

	"usui/layer/blind/scan"
	"usui/layer/blind/terminator"
	"usui/layer/blind/wasm"
	"usui/layer/blind/wasmtest"
)

// TestLeaks holds what is an error of a scan's report.
func TestLeaks(t *testing.T) {
	var syscalls scan.Tally
	syscalls[2] = 1
	if syscalls.Of(terminator.Syscall) != 1 {
		t.Fatal("the third of a tally is not system calls")
	}
	offender := func(function int) []scan.Offender {
		return []scan.Offender{{Function: function, Class: terminator.Ret, Where: scan.Where{First: scan.Disp, Last: scan.Disp}}}
	}
	for _, tt := range []struct {
		found scan.Report
		want  string
	}{
		{scan.Report{}, ""},
		{scan.Report{Own: 1 << 30}, ""},
		{scan.Report{Unlisted: 1}, "1 instructions more than a scan lists"},
		{scan.Report{Intended: syscalls}, "1 system calls are instructions"},
		{scan.Report{Offenders: offender(0)}, "function 0: code still holds"},
		{scan.Report{Offenders: offender(-1)}, "between functions: code still holds"},
	} {
		w, err := newRewriter(one(0, nil, nil), Options{}.withDefaults())
		if err != nil {
			t.Fatal(err)
		}
		report := Report{}
		w.learn(tt.found)
		w.classify(&report, tt.found)
		err = w.leaks(&report, tt.found)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("leaks: %v, want %q in it", err, tt.want)
		}
	}
}

// TestTheEnginesNumbersHideNothing: they are counted, however many there are, and listed nowhere.
func TestTheEnginesNumbersHideNothing(t *testing.T) {
	const n = 3000
	var code []byte
	for range n {
		code = wasm.AppendOp(wasm.AppendIndex(code, wasm.OpLocalGet, 0), 0xa8) // i32.trunc_f32_s
		code = append(code, byte(wasm.OpDrop))
	}
	_, report, err := Rewrite(t.Context(), one(0, []wasm.ValType{wasm.F32}, code), Options{Arch: "amd64"})
	if err != nil || report.Scanned && (report.Residual[Engine] < n || report.Residual.Chosen() > 0) {
		t.Errorf("Rewrite: %v, left in code: %v", err, report.Residual)
	}
}

// TestWhatWazeroSaysOfARewrittenModuleIsKept: neither its errors nor its panics go further, because they may quote bytes of keys.
func TestWhatWazeroSaysOfARewrittenModuleIsKept(t *testing.T) {
	ctx := context.Background()
	r := wazero.NewRuntimeWithConfig(ctx, compilerConfig(AllFeatures))
	defer r.Close(ctx)
	for name, module := range map[string][]byte{
		"invalid":       one(wasm.I64, nil, wasm.AppendI32(nil, 0xc3)),
		"makes a panic": one(0, nil, typedSelect),
	} {
		if _, err := compileModule(ctx, r, module); err != errCompile {
			t.Errorf("%s: %v, want %v", name, err, errCompile)
		}
	}
}

// typedSelect selects one of two references to functions, and drops it. wazero takes the 70 of their type for an instruction.
var typedSelect = []byte("\xd0\x70\xd0\x70\x41\x01\x1c\x01\x63\x70\x1a")

// TestTwoReadingsAreRefused: modules that wazero takes for valid and would read otherwise than the rewriter, or could not compile.
func TestTwoReadingsAreRefused(t *testing.T) {
	constant := wasm.AppendI32(nil, 0xc3050f)
	for _, tt := range []struct{ name, code, want string }{
		{"reference as the type of a block", "\x02\xe3\x7f\x70\xd0\x70" + string(constant) + "\x1a\x0b\x1a", "type -29 at 0x1 is not in its shortest form"},
		{"reference as that of a loop", "\x03\xe4\xff\x7f\x70\xd2\x00\x0b\x1a", "type -28 at 0x1 is not in its shortest form"},
		{"heap type of a block", "\x02\x63\xf0\x7f\xd0\x70\x0b\x1a", "type -16 at 0x2 is not in its shortest form"},
		{"empty block", "\x02\xc0\x7f\x0b", "type -64 at 0x1 is not in its shortest form"},
		{"select", string(typedSelect), "select of a reference to a type of its own"},
	} {
		for _, arch := range []string{"amd64", "arm64"} {
			wantRefusal(t, one(0, nil, []byte(tt.code)), Options{Arch: arch}, tt.want)
		}
		if err := validate(t.Context(), one(0, nil, []byte(tt.code)), AllFeatures); err != nil {
			t.Errorf("%s: the module does not show what it should: %v", tt.name, err)
		}
	}
}

// TestKeysBehindManyGlobals: where offsets of the keys' own globals hold returns, the keys move.
func TestKeysBehindManyGlobals(t *testing.T) {
	for _, n := range []int{3095, 3104, 3110, 3128, 3230, 3310} {
		m := wasmtest.Module{Funcs: []wasmtest.Func{{Name: "f", Type: wasmtest.Type{Results: []wasm.ValType{wasm.I32}}, Code: wasm.AppendI32(nil, 0xc3050f)}}}
		for range n {
			m.Globals = append(m.Globals, []byte("\x7e\x01\x42\x00\x0b"))
		}
		rewritten := rewriteAndScan(t, m.Bytes(), Options{})
		callOn(t, rewritten, func(engine string, results []uint64, err error) {
			if err != nil || results[0] != 0xc3050f {
				t.Errorf("%d globals: %s: f() = %x, %v", n, engine, results, err)
			}
		})
	}
}
