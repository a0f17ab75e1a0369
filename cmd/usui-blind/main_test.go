package main

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"usui/layer/blind/wasm"
	"usui/layer/blind/wasmtest"
)

// TestMain makes this test binary the program "usui-blind" of the scripts.
func TestMain(m *testing.M) { testscript.Main(m, map[string]func(){"usui-blind": main}) }

// TestScripts runs testdata/script: the program as its user sees it. Besides testscript's own commands there are
//
//	module NAME          writes a small module with the constant c3050f
//	unhex FROM TO        makes bytes of a file of hexadecimal digits
//	mode FILE MODE       wants the file to have these permissions
//	json                 wants standard output to be one JSON value
//	oneline              wants standard error to be one line
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireUniqueNames:  true,
		RequireExplicitExec: true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"module": module, "mode": mode, "json": isJSON, "oneline": isOneLine, "unhex": unhex,
		},
	})
}

func module(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: module NAME")
	}
	m := wasmtest.Module{Funcs: []wasmtest.Func{{
		Name: "gadget", Type: wasmtest.Type{Results: []wasm.ValType{wasm.I32}}, Code: wasm.AppendI32(nil, 0xc3050f),
	}}}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), m.Bytes(), 0o644))
}

// unhex turns a file of hexadecimal digits, white space and comments from ";" on into bytes.
func unhex(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: unhex FROM TO")
	}
	var digits strings.Builder
	for line := range strings.Lines(ts.ReadFile(args[0])) {
		code, _, _ := strings.Cut(line, ";")
		digits.WriteString(strings.Join(strings.Fields(code), ""))
	}
	b, err := hex.DecodeString(digits.String())
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), b, 0o644))
}

func mode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: mode FILE MODE")
	}
	info, err := os.Stat(filepath.Clean(ts.MkAbs(args[0])))
	ts.Check(err)
	if got := info.Mode().Perm().String(); got != args[1] {
		ts.Fatalf("%s has mode %s, want %s", args[0], got, args[1])
	}
}

func isJSON(ts *testscript.TestScript, neg bool, args []string) {
	if !json.Valid([]byte(ts.ReadFile("stdout"))) {
		ts.Fatalf("stdout is not JSON")
	}
}

func isOneLine(ts *testscript.TestScript, neg bool, args []string) {
	text := ts.ReadFile("stderr")
	if n := len(text); n < 2 || text[n-1] != '\n' || strings.Count(text, "\n") != 1 {
		ts.Fatalf("stderr is not one line: %q", text)
	}
}
