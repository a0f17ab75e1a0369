package blind

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/tetratelabs/wazero"

	"usui/layer/blind/wasm"
)

// TestRuntimeLeavesNoFiles: the code that wazero's cache writes is gone before a module runs, and the folder when the runtime is closed.
func TestRuntimeLeavesNoFiles(t *testing.T) {
	ctx := context.Background()
	r, err := NewRuntime(ctx, wazero.NewRuntimeConfig(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	dir := r.compiler.dir
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder of the cache: %v, %v, want mode 0700", info, err)
	}
	compiled, report, err := r.Blind(ctx, one(wasm.I32, nil, wasm.AppendI32(nil, 0xc3)))
	if err != nil || report.Blinded != 1 {
		t.Fatalf("Blind: %+v, %v", report, err)
	}
	if files, _ := filepath.Glob(filepath.Join(dir, "*", "*")); len(files) > 0 {
		t.Errorf("files are left: %v", files)
	}
	if err := compiled.Close(ctx); err != nil {
		t.Error(err)
	}
	if err := r.Close(ctx); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the folder is still there: %v", err)
	}
}

// leftFolders returns what compilers of this process have left.
func leftFolders(t *testing.T) []string {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(memoryFolder(), fmt.Sprintf("usui-blind-%d-*", os.Getpid())))
	if err != nil {
		t.Fatal(err)
	}
	return left
}

// slow is a module that takes wazero's compiler a quarter of a second or more.
func slow() []byte {
	const labels = 10_000
	var code []byte
	for range 4 {
		code = append(code, byte(wasm.OpBlock), 0x40)
		code = wasm.AppendIndex(wasm.AppendI32(code, 7), wasm.OpBrTable, labels)
		code = append(append(code, make([]byte, labels+1)...), byte(wasm.OpEnd))
	}
	return one(0, nil, code)
}

// TestCompilingStopsWithItsContext: at once, with the cause if time is over, and without a file left. The runtime is of use afterwards.
func TestCompilingStopsWithItsContext(t *testing.T) {
	before := runtime.NumGoroutine()
	defer func() { // what was left behind would take time and memory of other tests
		for runtime.NumGoroutine() > before {
			runtime.Gosched()
		}
	}()
	module, cause := slow(), errors.New("too late")
	for _, tt := range []struct {
		name string
		end  func() (context.Context, context.CancelFunc)
		want error
	}{
		{"time", func() (context.Context, context.CancelFunc) {
			return context.WithTimeoutCause(t.Context(), 20*time.Millisecond, cause)
		}, cause},
		{"signal", func() (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancelCause(t.Context())
			time.AfterFunc(20*time.Millisecond, func() { cancel(errors.New("a signal")) })
			return ctx, func() { cancel(nil) }
		}, context.Canceled},
	} {
		ctx, stop := tt.end()
		if _, _, err := Rewrite(ctx, module, Options{}); !errors.Is(err, tt.want) {
			t.Errorf("%s: Rewrite: %v, want %v", tt.name, err, tt.want)
		}
		stop()
		if left := leftFolders(t); len(left) > 0 {
			t.Errorf("%s: Rewrite left %v", tt.name, left)
		}
	}

	r, err := NewRuntime(t.Context(), wazero.NewRuntimeConfig(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close(context.Background())
	ctx, stop := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer stop()
	if _, _, err := r.Blind(ctx, module); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Blind: %v, want %v", err, context.DeadlineExceeded)
	}
	_, report, err := r.Blind(t.Context(), one(wasm.I32, nil, wasm.AppendI32(nil, 0xc3)))
	if err != nil || report.Code == 0 || report.Code > 4096 {
		t.Errorf("Blind while another compilation was left behind: %d bytes of code, %v", report.Code, err)
	}
}

// TestTheSameModuleTwice: what wazero has in memory it does not compile again, and shows no code of.
func TestTheSameModuleTwice(t *testing.T) {
	ctx := t.Context()
	r, err := NewRuntime(ctx, wazero.NewRuntimeConfig(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close(context.Background())
	for range 2 {
		_, report, err := r.Blind(ctx, one(wasm.I32, nil, wasm.AppendI32(nil, 1)))
		if err != nil || !report.Scanned || report.Code == 0 {
			t.Errorf("Blind: scanned %v, %d bytes of code, %v", report.Scanned, report.Code, err)
		}
	}
	interpreter, err := NewRuntime(ctx, wazero.NewRuntimeConfigInterpreter(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer interpreter.Close(context.Background())
	if _, report, err := interpreter.Blind(ctx, one(0, nil, nil)); err == nil || !strings.Contains(err.Error(), "no machine code") {
		t.Errorf("Blind without a compiler: %+v, %v, want an error", report, err)
	}
}

// TestPoliciesWithoutAScanHaveNoFolder: their code is in no file at any time.
func TestPoliciesWithoutAScanHaveNoFolder(t *testing.T) {
	for _, o := range []Options{{Policy: All}, {Policy: None}, {Unscanned: true}} {
		r, err := NewRuntime(t.Context(), wazero.NewRuntimeConfig(), o)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.CompileModule(t.Context(), one(0, nil, nil)); err != nil {
			t.Error(err)
		}
		if left := leftFolders(t); len(left) > 0 {
			t.Errorf("%+v: there is %v", o, left)
		}
		if err := r.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// TestKeysAreFresh: the same module becomes another one each time.
func TestKeysAreFresh(t *testing.T) {
	module := one(wasm.I32, nil, wasm.AppendI32(nil, 0xc3))
	seen := map[string]bool{}
	for range 3 {
		b, _, err := Rewrite(context.Background(), module, Options{Unscanned: true})
		if err != nil {
			t.Fatal(err)
		}
		seen[string(b)] = true
	}
	if len(seen) != 3 {
		t.Errorf("3 rewrites have %d results", len(seen))
	}
}

func TestParseDir(t *testing.T) {
	tests := []struct {
		in   string
		want Dir
		ok   bool
	}{
		{".", Dir{".", ".", false}, true},
		{"/srv:ro", Dir{"/srv", "/srv", true}, true},
		{"/srv:/data", Dir{"/srv", "/data", false}, true},
		{"/srv:/data:ro", Dir{"/srv", "/data", true}, true},
		{"", Dir{}, false},
		{":/data", Dir{}, false},
		{"/srv:", Dir{}, false},
		{"/srv::ro", Dir{}, false},
		{"a:x:y", Dir{}, false},
		{"a:x:y:ro", Dir{}, false},
	}
	for _, tt := range tests {
		if got, err := ParseDir(tt.in); (err == nil) != tt.ok || tt.ok && got != tt.want {
			t.Errorf("ParseDir(%q) = %+v, %v, want %+v, ok %v", tt.in, got, err, tt.want, tt.ok)
		}
	}
}

func TestPolicies(t *testing.T) {
	for p := range None + 1 {
		if got, err := ParsePolicy(p.String()); got != p || err != nil {
			t.Errorf("ParsePolicy(%q) = %v, %v", p, got, err)
		}
	}
	if _, err := ParsePolicy("dark"); err == nil {
		t.Error(`ParsePolicy("dark"): no error`)
	}
	tests := []struct {
		constant string
		want     string // policies that blind it
	}{
		{"\x00\x00\x00\x00", ""},
		{"\x01\x00\x00\x00", "all "},
		{"\xff\xff\xff\xff", "all "},
		{"\xc3\x00\x00\x00", "light ret branches all "},
		{"\x0f\x05\x00\x00", "light branches all "},
		{"\xff\x25\x00\x00", "light branches all "},
		{"\xeb\xfe\x00\x00", "branches all "},
		{"\x11\x22\x33\x00", "chakra all "},
		{"\x11\x22\xcf\x44", "light ret branches chakra all "},
	}
	for _, tt := range tests {
		got := ""
		for p := range None + 1 {
			if p.wants(0, []byte(tt.constant)) {
				got += p.String() + " "
			}
		}
		if got != tt.want {
			t.Errorf("constant %x is blinded by %q, want %q", tt.constant, got, tt.want)
		}
	}
}
