package scan

import (
	"bufio"
	"bytes"
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/tetratelabs/wazero"

	"usui/host/need"
	"usui/layer/blind/terminator"
)

// body is a function of one i32 parameter and one i32 result, by its code without the end.
type body []byte

// module is a Wasm module with a memory and some functions.
func module(bodies ...body) []byte {
	section := func(id byte, content ...byte) []byte {
		return append(append([]byte{id}, uleb(uint64(len(content)))...), content...)
	}
	n := uleb(uint64(len(bodies)))
	functions, code := bytes.Clone(n), bytes.Clone(n)
	for _, b := range bodies {
		functions = append(functions, 0)
		b = append(append(body{0}, b...), 0x0b) // no locals, end
		code = append(append(code, uleb(uint64(len(b)))...), b...)
	}
	return join([]byte("\x00asm\x01\x00\x00\x00"), section(1, 1, 0x60, 1, 0x7f, 1, 0x7f), section(3, functions...), section(5, 1, 0, 1), section(10, code...))
}

func uleb(v uint64) (b []byte) {
	for ; v >= 0x80; v >>= 7 {
		b = append(b, byte(v)|0x80)
	}
	return append(b, byte(v))
}

// compile gives wazero's cache file for a module.
func compile(t testing.TB, wasm []byte) string {
	t.Helper()
	dir := t.TempDir()
	cache, err := wazero.NewCompilationCacheWithDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer cache.Close(t.Context())
	r := wazero.NewRuntimeWithConfig(t.Context(), wazero.NewRuntimeConfigCompiler().WithCompilationCache(cache))
	defer r.Close(t.Context())
	if _, err := r.CompileModule(t.Context(), wasm); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "wazero-*", "*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("wazero's cache has the files %q, %v, want one", files, err)
	}
	return files[0]
}

// constants are functions with one constant each, and what becomes of it on amd64.
var constants = []struct {
	name  string
	body  body
	field Field
	value []byte
}{
	{"i32.const", body{0x41, 0x8f, 0x8a, 0x8c, 0x06}, Imm, []byte{0x0f, 0x05, 0xc3, 0x00}},
	{"i64.const", body{0x42, 0x8f, 0x8a, 0x8c, 0x86, 0xc0, 0xf8, 0xb0, 0x61, 0xa7}, Imm, []byte{0x0f, 0x05, 0xc3}},
	{"f32.const", body{0x43, 0x00, 0xc3, 0x05, 0x40, 0xbc}, Imm, []byte{0x00, 0xc3, 0x05, 0x40}},
	{"f64.const", body{0x44, 0, 1, 2, 3, 0xcb, 5, 6, 0x40, 0xbd, 0xa7}, Imm, []byte{0, 1, 2, 3, 0xcb, 5, 6, 0x40}},
	{"v128.const", body{0xfd, 0x0c, 1, 2, 3, 4, 5, 6, 0xff, 0xd0, 1, 2, 3, 4, 5, 6, 7, 8, 0xfd, 0x1b, 0}, Data, []byte{1, 2, 3, 4, 5, 6, 0xff, 0xd0, 1, 2, 3, 4, 5, 6, 7, 8}},
	{"offset", body{0x20, 0, 0x28, 2, 0x8f, 0x8a, 0x8c, 0x06}, Disp, []byte{0x0f, 0x05, 0xc3, 0x00}},
	{"offset and size", body{0x20, 0, 0x28, 2, 0xbf, 0x01}, Imm, []byte{0xc3, 0, 0, 0}},
	{"shift", body{0x20, 0, 0xad, 0x42, 0xc3, 0x01, 0x86, 0xa7}, Imm, []byte{0xc3}},
	{"shuffle", join(body{0x41, 0, 0xfd, 0x0f, 0x41, 1, 0xfd, 0x0f, 0xfd, 0x0d, 0x0f, 0x05}, make([]byte, 14), body{0xfd, 0x1b, 0}), Data,
		[]byte{0x0f, 0x05, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}},
}

// branches is a br_table of 300 targets, each of which is one of three blocks.
func branches() body {
	b := body{0x02, 0x40, 0x02, 0x40, 0x02, 0x40, 0x20, 0, 0x0e} // block block block local.get br_table
	b = append(b, uleb(300)...)
	for i := range 300 {
		b = append(b, byte(i%3))
	}
	return append(b, 0, 0x0b, 0x41, 1, 0x0f, 0x0b, 0x41, 2, 0x0f, 0x0b, 0x41, 3)
}

// constantModule is all of them, and the branches.
func constantModule() []byte {
	var bodies []body
	for _, c := range constants {
		bodies = append(bodies, c.body)
	}
	return module(append(bodies, branches())...)
}

// TestConstantsInWazerosCode compiles a constant of each kind and finds it where it is, with its value.
func TestConstantsInWazerosCode(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("need amd64: wazero compiles for the host")
	}
	r, err := File(compile(t, constantModule()), Options{})
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range constants {
		found := false
		for _, o := range r.Offenders {
			for _, p := range o.Parts {
				found = found || o.Function == i && p.Field == c.field && bytes.HasPrefix(p.Value, c.value)
			}
		}
		if !found {
			t.Errorf("%s: no offender in function %d is %v with % x; there are %+v", c.name, i, c.field, c.value, r.Offenders)
		}
	}
	// 301 entries of the table, two vectors of 16 bytes for the shuffle, and one.
	if least := 301*8 + 3*16; r.Size.Unknown != 0 || r.Size.Data < least || r.Size.Data > least+16*len(constants) {
		t.Errorf("%+v, want no unknown bytes and %d of data, with some for padding", r.Size, least)
	}
}

// gadgets are the terminators that ROPgadget finds in code, by the offsets of their opcodes.
func gadgets(t *testing.T, code []byte) map[int]bool {
	t.Helper()
	program := need.Tool(t, "ROPgadget", "python3-ropgadget")
	path := filepath.Join(t.TempDir(), "code")
	if err := os.WriteFile(path, code, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "--binary", path, "--rawArch=x86", "--rawMode=64", "--rawEndian=little", "--all", "--depth=2")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v", cmd, err)
	}
	found := map[int]bool{}
	for s := bufio.NewScanner(bytes.NewReader(out)); s.Scan(); {
		address, gadget, ok := strings.Cut(s.Text(), " : ")
		at, err := strconv.ParseUint(address, 0, 32)
		if !ok || err != nil {
			continue // a heading
		}
		off := int(at)
		if strings.Contains(gadget, " ; ") { // with an instruction of one byte before it, for it takes no less than a depth of two
			off++
		}
		for prefix(code[off]) {
			off++
		}
		if code[off] != 0xcd || code[off+1] == 0x80 { // else it is INT, taken for a gadget because its operand looks like a return
			found[off] = true
		}
	}
	return found
}

// prefix says that a byte stands before an opcode.
func prefix(b byte) bool {
	return b&0xf0 == 0x40 || slices.Contains([]byte{0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3}, b)
}

// TestTerminatorsAreThoseOfROPgadget compares the sets of addresses, in code of Go and of wazero.
func TestTerminatorsAreThoseOfROPgadget(t *testing.T) {
	samples := map[string][]byte{}
	cache, err := os.ReadFile(compile(t, constantModule()))
	if err != nil {
		t.Fatal(err)
	}
	p, err := parseWazero(cache)
	if err != nil {
		t.Fatal(err)
	}
	samples["wazero"] = p.segments[0].code
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	text, err := f.Section(".text").Data()
	if err != nil {
		t.Fatal(err)
	}
	samples["this program"] = text[:min(len(text), 512<<10)]
	samples["operands that hide others"] = []byte{
		0xc2, 0xc2, 0xc2, 0xc3, 0xc2, 0xff, 0x50, 0xff, 0x50, 0x41, 0xff, 0x50, 0xff, 0x50, 0x00, 0xe9, 0xe9, 0xe9, 0xeb, 0xeb, 0xeb, 0xeb, 0x00,
		0x65, 0xff, 0x15, 0x10, 0x00, 0x00, 0x00, 0xf2, 0xc3, 0xf2, 0xc2, 0xf2, 0xc2, 0xc3, 0x00, 0xf2, 0xff, 0xe0, 0x41, 0xff, 0xd0, 0x0f, 0x05,
		0x0f, 0x34, 0x0f, 0x07, 0xcf, 0xcd, 0x80, 0xca, 0xcb, 0xca, 0xff, 0x94, 0x24, 0xff, 0x14, 0x24, 0x24, 0xff, 0x54, 0x24, 0xff, 0x10, 0xc2,
	}
	for name, code := range samples {
		want := gadgets(t, code)
		r, err := Code(terminator.AMD64, code, nil, Options{Classes: terminator.All, Definitions: ROPgadget, All: true})
		if err != nil {
			t.Fatal(err)
		}
		got := map[int]bool{}
		for _, o := range r.Offenders {
			got[o.Off] = true
		}
		s := newSearches()
		for h, ok := s.next(terminator.All, code, 0); ok; h, ok = s.next(terminator.All, code, h.Off+1) {
			got[h.Off] = true // the intended ones, too
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-ROPgadget +scan):\n%s", name, diff)
		}
		if total(&r) != len(want) {
			t.Errorf("%s: counted %d terminators, ROPgadget %d", name, total(&r), len(want))
		}
		t.Logf("%s: %d terminators in %d bytes", name, len(want), len(code))
	}
}
