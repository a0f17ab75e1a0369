package blind

import (
	"context"
	"os"
	"path/filepath"
	"testing"

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
