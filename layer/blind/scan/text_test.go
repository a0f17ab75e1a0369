package scan

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"usui/layer/blind/terminator"
)

// example is code with one terminator in each row.
func example(t testing.TB) Report {
	t.Helper()
	code := join([]byte{0xb8, 0x0f, 0x05, 0xc3, 0x00}, []byte{0x81, 0xff, 0x10, 0, 0, 0}, []byte{0x48, 0x89, 0xc3}, []byte{0xe8, 0xc3, 0, 0, 0, 0xc3})
	r, err := Code(terminator.AMD64, code, []Function{{"f\n", 0, len(code)}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestTextOfAReport(t *testing.T) {
	r := example(t)
	var got strings.Builder
	if err := r.WriteText(&got, 2); err != nil {
		t.Fatal(err)
	}
	const want = `raw, amd64: 20 bytes of code in 1 functions, 5 instructions, 0 bytes of data, 0 bytes not decoded

terminators      ret  indirect  syscall  
intended         1    0         0        the program's own returns, calls and system calls
chosen           1    1         1        in bytes that the program's author may have chosen: blinding should leave none
  imm            1    0         1        constants of the program, and of bounds checks
  disp           0    0         0        static offsets of loads and stores, and the engine's structures
  data           0    0         0        vector constants, shuffle masks
  unknown        0    0         0        bytes that could not be decoded
  operation+imm  0    1         0        one byte in each
left             2    0         0        not chosen as constants, and not changed by blinding
  relative       1    0         0        targets of branches, addresses of data, jump tables
  frame          0    0         0        places in the stack frame
  operation      1    0         0        operations and registers

2 of 3 unintended terminators, with the bytes of the field that they are in:
0x1  syscall  function 0, "f\n"  imm 0f 05 c3 00
0x3  ret      function 0, "f\n"  imm 0f 05 c3 00
`
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if err := r.WriteText(failing{}, 0); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("to a writer that fails: %v", err)
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, io.ErrShortWrite }

func TestJSONOfAReport(t *testing.T) {
	r := example(t)
	r.Offenders = r.Offenders[2:]
	var got, want bytes.Buffer
	if err := r.WriteJSON(&got); err != nil {
		t.Fatal(err)
	}
	const text = `{"version":1,"format":"raw","arch":"amd64","definitions":"own","classes":"ret,indirect,syscall",
"size":{"code":20,"functions":1,"instructions":5,"data":0,"unknown":0},
"intended":{"direct":0,"indirect":0,"ret":1,"syscall":0},
"unintended":[
{"where":"imm","chosen":true,"count":{"direct":0,"indirect":0,"ret":1,"syscall":1}},
{"where":"relative","chosen":false,"count":{"direct":0,"indirect":0,"ret":1,"syscall":0}},
{"where":"operation+imm","chosen":true,"count":{"direct":0,"indirect":1,"ret":0,"syscall":0}},
{"where":"operation","chosen":false,"count":{"direct":0,"indirect":0,"ret":1,"syscall":0}}],
"offenders":[{"function":0,"name":"f\n","off":6,"address":6,"class":"indirect","where":"operation+imm","parts":[
{"field":"operation","instruction":5,"off":6,"value":"ff"},{"field":"imm","instruction":5,"off":7,"value":"10000000"}]}],"unlisted":0}`
	if err := json.Indent(&want, []byte(text), "", "  "); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want.String()+"\n", got.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// run runs the command.
func run(t *testing.T, args ...string) (out string, err error) {
	t.Helper()
	var c command
	f := flag.NewFlagSet("scan", flag.ContinueOnError)
	c.flags(f)
	if err := f.Parse(args); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	err = c.run(t.Context(), strings.NewReader("\xc3"), &b, f.Args())
	return b.String(), err
}

func TestCommand(t *testing.T) {
	path := filepath.Join(t.TempDir(), "code")
	if err := os.WriteFile(path, []byte{0xb8, 0xc3, 0, 0, 0, 0x0f, 0xc3, 0x01, 0xeb, 0xeb, 0xc3}, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ args, want string }{
		{"--raw --arch amd64", "imm            1    0         0"},
		{"--raw --arch amd64", "intended         1"},
		{"--format raw --arch amd64 --list -1 --all", "2 of 2 unintended"},
		{"--raw --arch amd64 --classes ret,direct", "terminators      ret  direct"},
		{"--raw --arch amd64 --classes all --definitions ropgadget --json", `"definitions": "ropgadget"`},
		{"--raw --arch amd64 --json", `"value": "c3000000"`},
		{"--raw --arch arm64", "raw, arm64: 11 bytes"},
	} {
		out, err := run(t, append(strings.Fields(tt.args), path)...)
		if got := strings.Join(strings.Fields(out), " "); err != nil || !strings.Contains(got, strings.Join(strings.Fields(tt.want), " ")) {
			t.Errorf("scan %s: %v, %q, want %q", tt.args, err, out, tt.want)
		}
	}
	if out, err := run(t, "--raw", "--arch", "amd64", "-"); err != nil || !strings.Contains(out, "1 bytes of code") {
		t.Errorf("scan of standard input: %v, %q", err, out)
	}
	for _, tt := range []struct{ args, want string }{
		{"", "scan takes one file, not 0"},
		{"a b", "scan takes one file, not 2"},
		{"--raw --format elf a", "--raw and --format elf exclude each other"},
		{"--arch mips a", `architecture "mips"`},
		{"--list -5 --raw --arch amd64 a", "--list -5: want a number of lines, or -1 for all"},
		{"--raw " + path, "for which architecture it is: name that with --arch"},
		{"/dev/zero", "is a device"},
		{"--format pe a", `format "pe": want wazero, elf, jitdump, raw or auto`},
		{"--classes jump a", `class "jump"`},
		{"--definitions ropper a", `definitions "ropper": want own or ropgadget`},
		{path, "neither a file of wazero's cache"},
		{path + ".none", "no such file"},
	} {
		if _, err := run(t, strings.Fields(tt.args)...); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("scan %s: %v, want %q", tt.args, err, tt.want)
		}
	}
}
